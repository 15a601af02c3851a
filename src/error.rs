//! What can go wrong, in two kinds, and the exit code of each.
//!
//! A [`Diagnostic`] is a mistake that the author of a file can mend: it has a place in the
//! text, says what is wrong and what to write instead, and comes in a [`Report`] with every
//! other one of the same file. An [`Error`] is anything else that stops a command; its text is a
//! lowercase fragment that names the operation and its object.
//!
//! Imports nothing from this crate.

use std::fmt;
use std::io;
use std::ops::Range;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How the program ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// An operation failed; the message names it.
    Failed = 1,
    /// Bad input (command line, measurement, target list): nothing was run, nothing changed.
    BadInput = 2,
    /// The run ended, but something was lost: packets the capture dropped, flows the table
    /// evicted, or records that do not add up. The results say which.
    Lossy = 3,
    /// A lab run ended and a condition was not the known truth.
    Untrue = 4,
    /// A signal ended the run early; the records finished so far are written.
    Interrupted = 5,
}

impl Exit {
    /// Every exit code with its meaning, in order: help and README are written from this.
    pub const ALL: [(Exit, &'static str); 6] = [
        (Exit::Done, "everything was done"),
        (Exit::Failed, "an operation failed; the message names it"),
        (Exit::BadInput, "bad input: nothing was run, nothing was changed"),
        (Exit::Lossy, "the run ended, but something was lost (the summary says what)"),
        (Exit::Untrue, "a lab run gave a condition that is not the known truth"),
        (Exit::Interrupted, "a signal ended the run; what was finished is written"),
    ];
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What stopped a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked for something that cannot be; the text says what to do instead.
    #[error("{0}")]
    Usage(String),
    /// Mistakes in a file, each with its place.
    #[error("{0}")]
    File(Box<Report>),
    /// The operating system refused an operation.
    #[error("{operation}: {source}")]
    Os {
        /// What was being done, to what: `"set sysctl net.ipv4.tcp_ecn to 1"`.
        operation: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The exit code for a command that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Usage(_) | Error::File(_) => Exit::BadInput,
            Error::Os { .. } | Error::Failed(_) => Exit::Failed,
        }
    }

    /// An error of a library, in the words "operation: what it said".
    pub fn failed(operation: impl fmt::Display, why: impl fmt::Display) -> Self {
        Error::Failed(format!("{operation}: {why}"))
    }
}

/// Names the operation that an I/O error interrupted.
pub trait Doing<T> {
    /// `doing(|| format!("open {path}"))`: the fragment that stands before the error's text.
    fn doing<S: Into<String>>(self, operation: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, operation: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::Os { operation: operation().into(), source: source.into() })
    }
}

/// One mistake in a file, with its place and its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, `E0107`.
    pub code: &'static str,
    /// Bytes of the text that are wrong.
    pub span: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// A short note under the place, may be empty.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// All mistakes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file as the user named it.
    pub origin: String,
    /// Its text.
    pub text: String,
    /// The mistakes, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        Error::File(Box::new(report))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{}: {}", self.origin, diagnostic.message)?;
        }
        Ok(())
    }
}
