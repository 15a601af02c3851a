//! Mistakes of a file, before and after names are resolved.

use std::ops::Range;

use crate::error::Diagnostic;

/// The place of something that was removed from the document: the keys from the top.
pub(super) type Path = Vec<String>;

/// A mistake with its remedy.
pub(super) fn mistake(
    code: &'static str,
    span: Range<usize>,
    message: &str,
    help: &str,
) -> Diagnostic {
    Diagnostic {
        code,
        span,
        message: message.to_owned(),
        label: String::new(),
        help: Some(help.to_owned()),
    }
}
