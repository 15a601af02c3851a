//! What a line means: NDJSON, CSV with a header or without, or what another tool writes.
//!
//! The first line that is neither empty nor a comment decides. NDJSON begins with `{`, or with `[` alone on a line,
//! as masscan writes it. Words separated by blanks are another tool's output ([`tool`]). Everything else is CSV:
//! [`columns`] knows its columns from a header or from the shape of the first record, and rejects the list if it does
//! not understand them.
//!
//! A quoted CSV field ends on the line on which it began, so a stray quote costs one line and not the rest of the
//! list.

mod columns;
mod delimited;
mod members;
mod ndjson;
mod origin;
mod roles;
pub mod tool;

use std::borrow::Cow;
use std::sync::Arc;

use super::address;
use super::cell::Cell;
use super::raw::{Raw, Want};
use super::refusal::shown;
use delimited::Csv;
use tool::Words;

/// The hint for a JSON array.
const ARRAY: &str = "a JSON array; give one object a line (`jq -c '.[]'` makes it so)";

/// The parts of a line, not checked yet.
pub struct Line<'a> {
    addr: Result<Cow<'a, str>, String>,
    port: Option<Cow<'a, str>>,
    /// Further addresses, each with its own port if it has one.
    also: Vec<(String, Option<String>)>,
    name: Option<String>,
    /// A URL that gives host and port.
    url: Option<Cow<'a, str>>,
    /// Whether the line is a resolver's answer: if it has no address, its name need not be looked up again.
    answered: bool,
    rest: Vec<(Arc<str>, Cell)>,
}

impl<'a> Line<'a> {
    fn new() -> Self {
        Self {
            addr: Ok("".into()),
            port: None,
            also: Vec::new(),
            name: None,
            url: None,
            answered: false,
            rest: Vec::new(),
        }
    }

    /// The checked line, or the reason that it cannot be used.
    fn raw(mut self, want: Want, default_port: Option<u16>) -> Result<Raw, String> {
        if let Some(url) = self.url.take() {
            self.follow(&url)?;
        }
        let Self { addr, port, also, name, answered, rest, .. } = self;
        let missing = addr.as_ref().is_ok_and(|addr| addr.is_empty());
        let addr = match want {
            Want::Names if name.is_none() => return Err("no name (domain or name)".into()),
            Want::Names => None,
            Want::Targets if missing && !answered => {
                let Some(name) = &name else { return Err("no address (dip, ip or addr)".into()) };
                super::check_name(name)?;
                None
            }
            Want::Addresses if missing => {
                let names = ": `pathspider targets resolve` resolves names";
                let remedy = if name.is_some() { names } else { "" };
                return Err(format!("no address (dip, ip or addr){remedy}"));
            }
            Want::Targets | Want::Addresses => Some(address::address(&addr?)?),
        };
        let port = match port.filter(|text| !text.trim().is_empty()) {
            Some(text) => address::port(&text)?,
            None => match default_port {
                Some(port) => port,
                None if want == Want::Targets => {
                    return Err("no port, and no default port was given".into());
                }
                None => 0,
            },
        };
        let also = match want {
            Want::Names => Vec::new(),
            Want::Targets | Want::Addresses => tool::further(&also, port)?,
        };
        if want == Want::Targets && !also.is_empty() {
            return Err(format!(
                "{} targets on one line: `pathspider targets filter` gives each a line of its own",
                also.len() + 1
            ));
        }
        Ok(Raw { line: 0, addr, port, also, name, rest })
    }

    /// Takes host and port from a URL, unless the line gives them itself.
    fn follow(&mut self, url: &str) -> Result<(), String> {
        let (host, port) = origin::host_and_port(url)?;
        match &self.port {
            Some(own) if address::port(own)? != port => {
                return Err(format!("port {} and {} differ", shown(own), shown(url)));
            }
            _ => self.port = Some(port.to_string().into()),
        }
        match origin::address(host) {
            Some(addr) if self.addr.as_ref().is_ok_and(|own| own.is_empty()) => {
                self.addr = Ok(addr.to_owned().into());
            }
            None if self.name.is_none() => self.name = Some(host.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// How lines are parsed.
pub enum Format {
    /// One JSON object per line.
    Ndjson,
    /// A JSON array with its brackets and commas on lines of their own or at line ends; whether an object was read.
    Array(bool),
    /// One CSV record per line.
    Csv(Box<Csv>),
    /// Words separated by blanks.
    Words(Words),
}

impl Format {
    /// Detects the format by the first significant line, and returns whether this line has no target.
    ///
    /// # Errors
    /// The reason that such a list cannot be read.
    pub fn of_first_line(line: &str, want: Want) -> Result<(Self, bool), String> {
        let start = line.trim_start();
        if start.starts_with('{') {
            return Ok((Format::Ndjson, false));
        }
        if let Some(after) = start.strip_prefix('[') {
            match after.trim_start() {
                "" => return Ok((Format::Array(false), true)),
                after if after.starts_with(['{', '"']) => return Err(ARRAY.into()),
                _ => {}
            }
        }
        if let Some(words) = Words::of(line) {
            words.check(want)?;
            return Ok((Format::Words(words), false));
        }
        let csv = Csv::new(line, want)?;
        let is_header = csv.has_header();
        Ok((Format::Csv(Box::new(csv)), is_header))
    }

    /// The names of the other columns that are known before any target.
    pub fn header(&self) -> Vec<Arc<str>> {
        match self {
            Format::Csv(csv) => csv.header(),
            Format::Ndjson | Format::Array(_) | Format::Words(_) => Vec::new(),
        }
    }

    /// Whether a line after the first has no target by design, such as a bracket.
    pub fn is_between(&self, line: &str) -> bool {
        matches!(self, Format::Array(_)) && matches!(line.trim(), "[" | "]" | "," | "{finished: 1}")
    }

    /// The reason that the whole list cannot be read, shown by a line that was rejected: an array whose first object
    /// spans several lines.
    pub fn rejects_all(&self) -> Option<&'static str> {
        matches!(self, Format::Array(false)).then_some(ARRAY)
    }

    /// Whether earlier lines change the meaning of later ones, so that each must be [noted](Self::note) if lines are
    /// read out of order.
    pub fn has_memory(&self) -> bool {
        matches!(self, Format::Words(_))
    }

    /// Records what a line says about later ones.
    pub fn note(&mut self, line: &str) {
        if let Format::Words(words) = self {
            words.note(line);
        }
    }

    /// Parses a line; the error is the reason that it cannot be used.
    pub fn read(
        &mut self,
        line: &str,
        want: Want,
        default_port: Option<u16>,
    ) -> Result<Raw, String> {
        match self {
            Format::Ndjson => ndjson::read(line, want, default_port),
            Format::Array(read) => {
                let object = line.trim().trim_matches(',');
                let raw = ndjson::read(object, want, default_port);
                // A complete object that cannot be used is still one line; half an object means that objects span
                // lines.
                *read |= raw.is_ok() || object.ends_with('}');
                raw
            }
            Format::Csv(csv) => csv.read(line, want, default_port),
            Format::Words(words) => words.read(line)?.raw(want, default_port),
        }
    }
}
