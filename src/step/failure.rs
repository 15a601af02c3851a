//! Why a change to the host was not made.

use crate::error::Error;

/// A failed change, and whether there is something to undo.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was changed: there is nothing to undo.
    Unchanged(Error),
    /// Something may have been changed.
    Changed(Error),
}

impl Failure {
    /// The error, without what it says about the host.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Unchanged(error) | Failure::Changed(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Changed(error)
    }
}
