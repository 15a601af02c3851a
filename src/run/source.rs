//! The targets of a run.

use std::path::Path;

use super::spec::{Order, Spec};
use crate::error::{Error, Result, Setting};
use crate::targets::{self, Options, Reader};

/// Opens a list in the order that the spec asks for. `order_matters` is false if the list is only counted.
///
/// # Errors
/// When it cannot be read.
pub fn open(path: &Path, spec: &Spec, options: Options, order_matters: bool) -> Result<Reader> {
    match spec.order {
        Order::Random if order_matters => Reader::open_scattered(path, options, spec.seed),
        _ => Reader::open(path, options),
    }
}

/// The digest of the list, if it can be read more than once.
pub fn digest(list: Option<&Path>, own: bool, reader: &Reader) -> Result<Option<String>> {
    match list {
        _ if own => Ok(reader.digest()),
        Some(path) if path.as_os_str() != "-" => targets::file_digest(path),
        _ => Ok(None),
    }
}

/// The error of a run without targets.
pub fn none() -> Error {
    Error::needs(Setting::Targets, "no targets")
}
