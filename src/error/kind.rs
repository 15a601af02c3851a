//! Kinds of errors: what a program that starts runs can act on.

use std::io;

use super::{Error, Setting};

/// A condition that a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another run holds the network namespace, its source ports or the output. Try again when it has ended.
    Busy,
    /// The disk or a quota is full, or the file has its maximum size.
    DiskFull,
    /// There is no target to probe, or no packet can be sent.
    NothingToSend,
    /// The target list was changed during the run.
    ListChanged,
    /// The output belongs to another run, or results of different runs were given.
    OtherRun,
    /// The process lacks a capability.
    MissingCapability,
    /// A program that the measurement needs is not installed.
    MissingProgram,
    /// A setting is missing, or must be changed.
    NeedsSetting,
    /// The input is wrong in another way.
    BadInput,
    /// A signal ended the operation.
    Interrupted,
    /// Anything else.
    Other,
}

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            _ if self.is_interrupt() => ErrorKind::Interrupted,
            Error::Refused { kind, .. } | Error::Stopped { kind, .. } => *kind,
            Error::NeedsSetting { setting: Setting::Targets, .. } => ErrorKind::NothingToSend,
            Error::NeedsSetting { setting: Setting::Rights, .. } => ErrorKind::MissingCapability,
            Error::NeedsSetting { .. } => ErrorKind::NeedsSetting,
            Error::Usage(_) | Error::File(_) => ErrorKind::BadInput,
            Error::Signal { .. } => ErrorKind::Interrupted,
            Error::Os { source, .. } if is_full(source.kind()) => ErrorKind::DiskFull,
            Error::Os { .. } | Error::Failed(_) => ErrorKind::Other,
        }
    }

    /// Bad input of a kind that a program can act on.
    pub fn refused(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error::Refused { kind, text: text.into() }
    }

    /// A failure of a kind that a program can act on.
    pub fn stopped(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error::Stopped { kind, text: text.into() }
    }

    /// An operation that needs a setting.
    pub fn needs(setting: Setting, operation: impl Into<String>) -> Self {
        Error::NeedsSetting { operation: operation.into(), setting }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_error_does_not_depend_on_its_text() {
        // ENOSPC, EDQUOT, EFBIG, and ENOENT.
        for (number, kind) in [
            (28, ErrorKind::DiskFull),
            (122, ErrorKind::DiskFull),
            (27, ErrorKind::DiskFull),
            (2, ErrorKind::Other),
        ] {
            let source = io::Error::from_raw_os_error(number);
            assert_eq!(Error::Os { operation: "write x".into(), source }.kind(), kind);
        }
        let none = Error::needs(Setting::Targets, "no targets");
        assert_eq!(none.kind(), ErrorKind::NothingToSend);
        assert_eq!(Error::Usage("disk full".into()).kind(), ErrorKind::BadInput);
    }
}
