//! Errors in two kinds, and the exit code of each.
//!
//! A [`Diagnostic`] is a mistake that the author of a file can fix: it has a place in the text, says what is wrong
//! and what to write instead, and comes in a [`Report`] with all others of the same file. An [`Error`] is anything
//! else that stops a command; its text is a lowercase fragment that names the operation and its object.
//!
//! Imports [`printable`](crate::printable) only.

mod kind;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use crate::printable::{is_plain, line, lines};

pub use kind::ErrorKind;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// An operation failed, or a thread panicked; the message names it.
    Failed = 1,
    /// Bad input (command line, measurement, target list), or something that this host lacks (a capability, a
    /// program, a route, a kernel parameter): nothing was sent, and the host is unchanged.
    BadInput = 2,
    /// The run ended, but something was lost: packets dropped by the capture, flows evicted from the table, or
    /// targets that do not add up to records and skipped targets. The results say which.
    Lossy = 3,
    /// A lab run ended, and a condition differs from the known truth.
    Untrue = 4,
    /// A signal ended the command early; the finished records of a run are written.
    Interrupted = 5,
}

impl Exit {
    /// Every exit code with its meaning, in order: help and README are generated from this.
    pub const ALL: [(Exit, &'static str); 6] = [
        (Exit::Done, "everything was done"),
        (Exit::Failed, "an operation failed, or the program has a defect; the message names it"),
        (
            Exit::BadInput,
            "bad input, or this host lacks something that is needed: nothing was sent, and the host is unchanged",
        ),
        (Exit::Lossy, "the run ended, but something was lost (the summary says what)"),
        (Exit::Untrue, "a lab run gave a condition that differs from the known truth"),
        (
            Exit::Interrupted,
            "a signal ended the command; the finished records of a run are written",
        ),
    ];
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The reason that a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked for something impossible; the text says what to do instead.
    #[error("{0}")]
    Usage(String),
    /// Mistakes in a file, each with its place.
    #[error("{0}")]
    File(Box<Report>),
    /// The operating system refused an operation.
    #[error("{operation}: {source}{}", remedy(source))]
    Os {
        /// The operation and its object: `"set sysctl net.ipv4.tcp_ecn to 1"`.
        operation: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An operation needs a setting that the caller did not make, or another one. The front end says how it is made.
    #[error("{operation}")]
    NeedsSetting {
        /// What cannot be done, and why.
        operation: String,
        /// The setting.
        setting: Setting,
    },
    /// A signal ended the command.
    #[error("{operation}: {name} ended it")]
    Signal {
        /// The operation, and what did not happen: `"run ecn: nothing was sent"`.
        operation: String,
        /// The signal: `SIGTERM`.
        name: String,
        /// Its number.
        number: i32,
    },
    /// A condition that a program can act on, found before anything was sent: bad input.
    #[error("{text}")]
    Refused {
        /// The condition.
        kind: ErrorKind,
        /// The operation, and why it cannot be done.
        text: String,
    },
    /// A condition that a program can act on, which made an operation fail.
    #[error("{text}")]
    Stopped {
        /// The condition.
        kind: ErrorKind,
        /// The operation, and why it failed.
        text: String,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

/// A setting that a front end makes, each in its own way: a command line by an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The permission to run the programs of a measurement.
    AllowCommands,
    /// The folder for journals of changes to this host.
    State,
    /// The number of connections in flight at the same time.
    Concurrency,
    /// The targets of a run.
    Targets,
    /// The targets of a run, as a file that can be read again.
    TargetFile,
    /// The maximum number of packets per target.
    MaxPackets,
    /// The source ports of a run.
    SourcePorts,
    /// The interface to watch.
    Interface,
    /// The resolvers of names.
    Resolvers,
    /// The user that a process becomes.
    User,
    /// The privileges of the process.
    Rights,
    /// Where results go.
    Output,
    /// The packet filter.
    Filter,
}

/// A signal came before the awaited event: the source of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signal came first")]
pub struct Interrupted;

impl Error {
    /// Whether a signal ended the operation.
    pub fn is_interrupt(&self) -> bool {
        match self {
            Error::Os { source, .. } => {
                source.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
            }
            _ => false,
        }
    }

    /// The exit code for a command that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            _ if self.is_interrupt() => Exit::Interrupted,
            Error::NeedsSetting { setting: Setting::State, .. } => Exit::Failed,
            Error::Usage(_)
            | Error::File(_)
            | Error::NeedsSetting { .. }
            | Error::Refused { .. } => Exit::BadInput,
            Error::Os { .. } | Error::Stopped { .. } | Error::Failed(_) => Exit::Failed,
            Error::Signal { .. } => Exit::Interrupted,
        }
    }

    /// The error of a library, as "operation: its message".
    pub fn failed(operation: impl fmt::Display, why: impl fmt::Display) -> Self {
        Error::Failed(format!("{operation}: {why}"))
    }
}

/// Reasons why a write failed for lack of space, and what to do. They are one kind of error: a run that cannot write
/// stops gracefully, and what it has written is intact.
static NO_ROOM: &[(io::ErrorKind, &str)] = &[
    (io::ErrorKind::StorageFull, "make room on the disk"),
    (io::ErrorKind::QuotaExceeded, "remove files of this user or ask for a larger quota"),
    (
        io::ErrorKind::FileTooLarge,
        "raise the limit of a file's size (RLIMIT_FSIZE, `ulimit -f`), or choose another file system",
    ),
    (
        io::ErrorKind::ReadOnlyFilesystem,
        "the file system is mounted read-only: choose another place",
    ),
];

/// EIO: the device failed.
const DEVICE_FAILED: i32 = 5;

/// The hint for an error, if there is one; else empty.
fn remedy(source: &io::Error) -> String {
    let known = NO_ROOM.iter().find(|(kind, _)| *kind == source.kind()).map(|(_, remedy)| *remedy);
    let device = "the device failed: see the kernel's log (`dmesg`)";
    let known = known.or((source.raw_os_error() == Some(DEVICE_FAILED)).then_some(device));
    known.map_or(String::new(), |remedy| format!("; {remedy}"))
}

/// Names the operation that an I/O error interrupted.
pub trait Doing<T> {
    /// `doing(|| format!("open {path}"))`: the fragment before the error's text.
    fn doing<S: Into<String>>(self, operation: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, operation: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::Os { operation: operation().into(), source: source.into() })
    }
}

/// The severity of a [`Diagnostic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// The file can be used, but probably does not measure what its author means.
    Warning,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One mistake in a file, with its place and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, `E0107`; a warning's code begins with W.
    pub code: &'static str,
    /// The range of bytes that is wrong.
    pub span: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// A short note under the place; may be empty.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Whether it prevents the use of the file, by its code.
    pub fn severity(&self) -> Severity {
        if self.code.starts_with('W') { Severity::Warning } else { Severity::Error }
    }

    /// Whether it prevents the use of the file.
    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }
}

/// All mistakes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file as the user named it.
    pub origin: String,
    /// Its text.
    pub text: String,
    /// The mistakes, ordered by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Further files in the text: where each begins, and its name.
    joined: Vec<(usize, String)>,
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        Error::File(Box::new(report))
    }
}

/// Every code of a [`Diagnostic`], with its meaning. Codes are never reused: people search for them.
pub static CODES: &[(&str, &str)] = &[
    ("E0100", "the file is not TOML"),
    ("E0101", "a key, or a step, that does not exist"),
    ("E0102", "a value of the wrong type"),
    ("E0103", "a required key is missing"),
    ("E0104", "a file of a newer format"),
    ("E0105", "an undefined name in ${...}"),
    ("E0106", "a ${ that is not closed"),
    ("E0107", "a param without a default, or with an invalid name"),
    ("E0108", "a configuration without the preceding one"),
    ("E0109", "more than a measurement may hold"),
    ("E0110", "a calculation in ${...} without a result"),
    ("E0111", "a measurement to extend that cannot be found, or that extends itself"),
    ("E0201", "an unknown function"),
    ("E0202", "a function in a chain whose header it does not read"),
    ("E0203", "a function without its set-up function"),
    ("E0204", "a function listed twice in one chain"),
    ("E0205", "an unknown kind of connection"),
    ("E0206", "an invalid duration"),
    ("E0207", "a timeout of zero, or longer than an hour"),
    ("E0208", "a name that is not a network sysctl"),
    ("E0209", "a step that does nothing, or more than one thing"),
    ("E0210", "a measurement name with other than letters, digits, - and _"),
    ("E0211", "a word that is not one of those allowed there"),
    ("E0212", "an unknown group of functions"),
    ("E0213", "a netfilter rule that is not one rule"),
    ("E0214", "a value out of its bounds"),
    ("E0215", "steps that contradict each other"),
    ("E0216", "a command without a program"),
    ("E0217", "an option that this kind of connection does not have"),
    ("E0218", "a column to keep that the kind of connection does not provide"),
    ("E0219", "an impossible sweep"),
    ("E0220", "an observer column of one's own that cannot be"),
    ("E0301", "a condition name that is not a valid label"),
    ("E0302", "two conditions with the same name"),
    ("E0303", "a condition with none, or several, of compare, first_of and value"),
    ("E0304", "a word that is not a valid label"),
    ("E0305", "a word used twice in a condition"),
    ("E0306", "an entry without when that is not the last one"),
    ("E0307", "a first_of without entries"),
    ("E0308", "a compare that is not between two configurations of the file"),
    ("E0309", "a condition over a sweep whose name does not name the value"),
    ("E0310", "a metric without a value"),
    ("E0311", "a unit that the value of a metric does not have"),
    ("E0320", "a label to locate that no condition gives"),
    ("E0401", "an expression that cannot be parsed"),
    ("E0402", "something that expressions do not support"),
    ("E0403", "an unknown column"),
    ("E0404", "operands of the wrong type"),
    ("E0405", "an expression that is not boolean where a boolean is required"),
    ("E0406", "an expression that is too long or too deep"),
    ("E0407", "an expression that is never true"),
    ("E0501", "a kernel parameter that this kernel does not have"),
    ("E0502", "a value that this kernel rejects"),
    ("E0503", "a program that is not installed"),
    ("E0504", "a congestion control that this kernel does not have"),
    ("E0505", "an nftables rule that nft rejects"),
    ("E0506", "a route or a socket option that this host rejects"),
    ("E0901", "the lab file is not TOML, or has an unknown key or value"),
    ("E0902", "a host of a lab that cannot be built"),
    ("E0903", "a truth that the measurement cannot give"),
    ("E1101", "the campaign file is not TOML, or has an unknown key"),
    ("E1102", "a value in a campaign file that cannot be used"),
    ("E1103", "the file of an agent's owner is not valid"),
    ("W0201", "a TOS byte or traffic class that looks like a DSCP"),
    ("W0202", "steps for one version of IP only"),
    ("W0401", "a comparison with NULL"),
    ("W0402", "a test with the same result in every record"),
    ("W0403", "a duration compared with a number without a unit"),
    ("W0404", "a label for nearly every record"),
];

/// Maximum total length of source lines drawn with their mistakes; further mistakes have only their place.
const MOST_DRAWN: usize = 1 << 20;

impl Report {
    /// The mistakes of one file.
    pub fn new(
        origin: impl Into<String>,
        text: impl Into<String>,
        diagnostics: Vec<Diagnostic>,
    ) -> Self {
        Self { origin: origin.into(), text: text.into(), diagnostics, joined: Vec::new() }
    }

    /// The mistakes of several files whose texts are joined: where each begins, and its name. The first one begins at 0.
    pub fn joined(
        mut files: Vec<(usize, String)>,
        text: String,
        diagnostics: Vec<Diagnostic>,
    ) -> Self {
        let joined = files.split_off(files.len().min(1));
        let origin = files.pop().map(|(_, origin)| origin).unwrap_or_default();
        Self { origin, text, diagnostics, joined }
    }

    /// The file that has a place: its name, and where its text is.
    fn file(&self, at: usize) -> (&str, Range<usize>) {
        let number = self.joined.partition_point(|(start, _)| *start <= at);
        let end = self.joined.get(number).map_or(self.text.len(), |(start, _)| *start);
        match number.checked_sub(1).and_then(|number| self.joined.get(number)) {
            Some((start, origin)) => (origin, *start..end),
            None => (&self.origin, 0..end),
        }
    }

    /// The mistakes that something outside the file causes, in a sentence each: `cause` is what does, such as the value of
    /// a param.
    pub fn blame(&self, cause: &str) -> String {
        let sentences =
            self.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).map(|d| {
                let (file, place) = self.place_in_file(&d.span);
                let help = d.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
                format!("{cause}: {}{help} (used in {file}, line {})", d.message, place.line)
            });
        sentences.collect::<Vec<_>>().join("\n")
    }

    /// The mistakes for people: place, source line with the place underlined, what is wrong, what to write. With
    /// colours for a terminal, or without.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        let starts = [0].into_iter().chain(self.joined.iter().map(|(start, _)| *start));
        let files = starts.map(|start| {
            let (origin, part) = self.file(start);
            (part.clone(), line(origin), Shown::of(&self.text[part]))
        });
        let files: Vec<_> = files.collect();
        let mut drawn = 0;
        for diagnostic in &self.diagnostics {
            let span = within(&self.text, &diagnostic.span);
            let file = files.iter().rev().find(|(part, ..)| part.start <= span.start);
            let Some((part, origin, source)) = file else { continue };
            let (message, label) = (line(&diagnostic.message), line(&diagnostic.label));
            let help = diagnostic.help.as_deref().map(lines);
            let line_start = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
            let line_end =
                self.text[span.end..].find('\n').map_or(self.text.len(), |at| span.end + at);
            drawn += line_end - line_start;
            if drawn > MOST_DRAWN {
                let Place { line, column, .. } = self.place(&span);
                let (word, code) = (diagnostic.severity().as_str(), diagnostic.code);
                out += &format!("{word}[{code}]: {message}\n --> {origin}:{line}:{column}\n");
                let help = help.iter().map(|help| format!("help: {help}\n"));
                out += &(help.collect::<String>() + "\n");
                continue;
            }
            let end = span.end.min(part.end).max(span.start);
            let span = source.span(span.start - part.start..end - part.start);
            let mut place = AnnotationKind::Primary.span(span);
            if !label.is_empty() {
                place = place.label(label.as_ref());
            }
            let source = Snippet::source(source.text.as_ref())
                .path(origin.as_ref())
                .line_start(1)
                .annotation(place);
            let level = match diagnostic.severity() {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let mut group =
                level.primary_title(message.as_ref()).id(diagnostic.code).element(source);
            if let Some(help) = &help {
                group = group.element(Level::HELP.message(help.as_ref()));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    /// The mistakes for programs: one JSON object per line and mistake, with its place in the units of [`Place`].
    pub fn json_lines(&self) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            let (file, place) = self.place_in_file(&diagnostic.span);
            let Place { line, column, end_line, end_column } = place;
            let label = Some(&diagnostic.label).filter(|label| !label.is_empty());
            let object = json!({
                "file": file, "severity": diagnostic.severity().as_str(), "code": diagnostic.code,
                "line": line, "column": column, "end_line": end_line, "end_column": end_column,
                "message": diagnostic.message, "label": label, "help": diagnostic.help,
            });
            out += &format!("{object}\n");
        }
        out
    }

    /// Where a span is, for editors.
    pub fn place(&self, span: &Range<usize>) -> Place {
        self.place_in_file(span).1
    }

    /// The file that has a span, and where in it the span is.
    pub fn place_in_file(&self, span: &Range<usize>) -> (&str, Place) {
        let span = within(&self.text, span);
        let (origin, part) = self.file(span.start);
        let text = &self.text[part.clone()];
        let span = span.start - part.start..span.end.min(part.end).max(span.start) - part.start;
        let position = |at: usize| {
            let before = &text[..at];
            let start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
        };
        let ((line, column), (end_line, end_column)) = (position(span.start), position(span.end));
        (origin, Place { line, column, end_line, end_column })
    }
}

/// A text of lines with control characters escaped.
struct Shown<'a> {
    text: Cow<'a, str>,
    /// The position of each escaped character, and by how many bytes the text is longer up to and including it.
    longer: Vec<(usize, usize)>,
}

impl<'a> Shown<'a> {
    fn of(text: &'a str) -> Self {
        let is_kept = |c: char| is_plain(c) || matches!(c, '\n' | '\t');
        // Lines may end with CR LF.
        let end = |at: usize| text[at..].starts_with("\r\n");
        if text.char_indices().all(|(at, c)| is_kept(c) || end(at)) {
            return Self { text: text.into(), longer: Vec::new() };
        }
        let (mut shown, mut longer, mut sum) = (String::new(), Vec::new(), 0);
        for (at, c) in text.char_indices() {
            if is_kept(c) || end(at) {
                shown.push(c);
                continue;
            }
            let before = shown.len();
            shown.extend(c.escape_debug());
            sum += shown.len() - before - c.len_utf8();
            longer.push((at, sum));
        }
        Self { text: shown.into(), longer }
    }

    /// The span of a piece of the text in the escaped text.
    fn span(&self, span: Range<usize>) -> Range<usize> {
        let place = |at: usize| {
            let before = self.longer.partition_point(|(escaped, _)| *escaped < at);
            at + before.checked_sub(1).map_or(0, |last| self.longer[last].1)
        };
        place(span.start)..place(span.end)
    }
}

/// A place in a text. Lines and columns count from 1, columns in characters (neither bytes nor UTF-16 units); the end
/// is the first character after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// The line of the first character after it.
    pub end_line: usize,
    /// Its column.
    pub end_column: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// Clamps a span to the text and to character boundaries.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    start..text.ceil_char_boundary(span.end.clamp(start, text.len()))
}

/// "did you mean `x`?", if one of the words is near what was written.
pub fn did_you_mean<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, words).map(|word| format!("did you mean `{word}`?"))
}

/// The word nearest to what was written, if it is near enough to be a typo.
pub fn nearest<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    (written.len() <= 200).then_some(())?;
    let lower = written.to_lowercase();
    // A truncated or extended word is as near as one with a typo.
    let prefix =
        |word: &str| !lower.is_empty() && (word.starts_with(&lower) || lower.starts_with(word));
    let far = |word: &str| strsim::damerau_levenshtein(&lower, &word.to_lowercase());
    let distances = words.into_iter().map(|word| (far(word), word));
    let (distance, word) = distances.min_by_key(|(distance, _)| *distance)?;
    // In a short word, two changed letters make another word: udp is not a typo of tcp.
    let letters = written.chars().count();
    let most = if letters < 5 { 1 } else { (letters / 3).max(2) };
    let slip = distance <= most && distance < word.chars().count();
    (slip || (prefix(word) && distance <= 4)).then_some(word)
}

#[cfg(test)]
mod tests;
