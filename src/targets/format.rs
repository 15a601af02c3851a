//! What a line means: NDJSON, or CSV with a header or without.
//!
//! The first line that is not empty and no comment tells: NDJSON if it begins with `{`, else
//! CSV. CSV has a header if one of its fields is a word for the address. Without one the
//! columns are `ip,port,name,rank`, as upstream's 1.x target lists had them.
//!
//! A list of names to resolve is read alike, but must have names, not addresses. Without a header
//! its columns are `name`, `rank,name` or `name,rank`, whichever the first line looks like.
//!
//! A quoted CSV field ends on the line on which it began: a stray quote then costs one line
//! and not the rest of the list.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use super::address;
use super::infer::unique_names;
use super::refusal::shown;

/// The words for each common column; where a line has several of them, the first counts and the
/// others are columns of the list's own.
const ADDRESS_WORDS: [&str; 4] = ["dip", "ip", "addr", "address"];
const PORT_WORDS: [&str; 2] = ["dp", "port"];
const NAME_WORDS: [&str; 4] = ["domain", "name", "host", "hostname"];
/// What CSV without a header means.
const HEADERLESS: [&str; 4] = ["ip", "port", "name", "rank"];

/// What a list must say on every line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// An address or a name, and a port: a list to measure.
    #[default]
    Targets,
    /// An address: a list of targets whose ports may be given later.
    Addresses,
    /// A name: a list to resolve. Addresses are not looked at.
    Names,
}

impl Want {
    /// Whether a first line of these fields is a header.
    fn is_header(self, fields: &[String]) -> bool {
        let has = |words| fields.iter().any(|field| is_word(field, words));
        match self {
            Want::Addresses => has(&ADDRESS_WORDS),
            Want::Names => has(&NAME_WORDS),
            // A target may well be called `host`; then it has an address beside it, or is on a line of its own.
            Want::Targets => {
                let addressed = fields.iter().any(|field| address::address(field).is_ok());
                has(&ADDRESS_WORDS) || has(&NAME_WORDS) && !addressed
            }
        }
    }

    /// What to say of a first line that cannot be used: perhaps it was meant as a header.
    pub fn header_hint(self) -> &'static str {
        match self {
            Want::Targets | Want::Addresses => "a header has a column dip, ip or addr",
            Want::Names => "a header has a column domain or name",
        }
    }
}

/// A line that can be used, its further columns not yet placed.
#[derive(Debug)]
pub struct Raw {
    /// The number of the line, from 1; 0 until the list sets it.
    pub line: u64,
    /// The address, if the line has one; never of a list of names.
    pub addr: Option<IpAddr>,
    /// The port; 0 if neither the line nor a default gives one, which [`Want::Targets`] refuses.
    pub port: u16,
    /// The name, if any.
    pub name: Option<String>,
    /// Everything else, nulls left out.
    pub rest: Vec<(Arc<str>, Cell)>,
}

impl Raw {
    fn new(
        want: Want,
        default_port: Option<u16>,
        addr: Result<Cow<'_, str>, String>,
        port: Option<Cow<'_, str>>,
        name: Option<String>,
        rest: Vec<(Arc<str>, Cell)>,
    ) -> Result<Self, String> {
        let addr = match want {
            Want::Targets if addr.as_ref().is_ok_and(|addr| addr.is_empty()) => {
                let Some(name) = &name else { return Err("no address (dip, ip or addr)".into()) };
                super::check_name(name)?;
                None
            }
            Want::Targets | Want::Addresses => Some(address::address(&addr?)?),
            Want::Names if name.is_none() => return Err("no name (domain or name)".into()),
            Want::Names => None,
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
        Ok(Self { line: 0, addr, port, name, rest })
    }
}

/// A value as the list has it.
#[derive(Debug, Clone)]
pub enum Cell {
    /// A field of a CSV record: its type is what it looks like.
    Csv(String),
    /// A JSON value: its type is what it is. Never null.
    Json(Json),
}

/// How lines are read.
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// One CSV record a line.
    Csv(Box<Csv>),
}

impl Format {
    /// Tells the format by the first line that says anything, and whether this line is a header.
    pub fn of_first_line(line: &str, want: Want) -> Result<(Self, bool), String> {
        let start = line.trim_start();
        if start.starts_with('{') {
            return Ok((Format::Ndjson, false));
        }
        if let Some(after) = start.strip_prefix('[')
            && (after.trim().is_empty() || after.trim_start().starts_with(['{', '"']))
        {
            return Err("a JSON array; give one object a line (`jq -c '.[]'` makes it so)".into());
        }
        let mut splitter = Splitter::new();
        let fields: Vec<String> = match splitter.split(line) {
            Ok(record) => record.iter().map(str::to_owned).collect(),
            Err(_) => Vec::new(), // the line is refused for it when it is read as a record
        };
        let is_header = want.is_header(&fields);
        let columns = match want {
            _ if is_header => fields,
            Want::Targets if !has_a_name_only(&fields) => HEADERLESS.map(str::to_owned).into(),
            Want::Addresses => HEADERLESS.map(str::to_owned).into(),
            Want::Targets | Want::Names => columns_of_names(&fields),
        };
        Ok((Format::Csv(Box::new(Csv::new(splitter, &columns, is_header))), is_header))
    }

    /// The names of further columns that are known before any target.
    pub fn header(&self) -> Vec<Arc<str>> {
        match self {
            Format::Ndjson => Vec::new(),
            // Without a header `rank` is there only if the lines have it.
            Format::Csv(csv) if !csv.has_header => Vec::new(),
            Format::Csv(csv) => (0..csv.names.len())
                .filter(|index| ![csv.addr, csv.port, csv.name].contains(&Some(*index)))
                .map(|index| Arc::clone(&csv.names[index]))
                .collect(),
        }
    }

    /// Reads a line, or says why it cannot be used.
    pub fn read(
        &mut self,
        line: &str,
        want: Want,
        default_port: Option<u16>,
    ) -> Result<Raw, String> {
        match self {
            Format::Ndjson => read_object(line, want, default_port),
            Format::Csv(csv) => csv.read(line, want, default_port),
        }
    }
}

/// The columns of a list of names without a header, by what its first line looks like.
fn columns_of_names(first: &[String]) -> Vec<String> {
    let is_number = |field: &String| field.parse::<f64>().is_ok();
    let columns: &[&str] = match first {
        [] | [_] => &["name"],
        [addr, ..] if address::address(addr).is_ok() => &HEADERLESS,
        [rank, ..] if is_number(rank) => &["rank", "name"],
        _ => &["name", "rank"],
    };
    columns.iter().map(|&name| name.to_owned()).collect()
}

/// Whether a first line without a header begins with a name, or a rank and a name, where others have an address.
fn has_a_name_only(first: &[String]) -> bool {
    let is_name = |field: &String| {
        address::address(field).is_err() && field.contains(|letter: char| letter.is_alphabetic())
    };
    match first {
        [name] => is_name(name),
        [first, second] => is_name(first) || !first.is_empty() && is_name(second),
        _ => false,
    }
}

fn is_word(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Where the first of `words` stands among `names`.
fn position<'a>(words: &[&str], names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    words.iter().find_map(|word| names.clone().position(|name| word.eq_ignore_ascii_case(name)))
}

// --- NDJSON ---------------------------------------------------------------------------------

/// The members of a JSON object in their order; a repeated key is an error, because one of its
/// values would be lost.
struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(member) = map.next_entry::<String, Json>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn read_object(line: &str, want: Want, default_port: Option<u16>) -> Result<Raw, String> {
    let Members(mut members) = serde_json::from_str(line).map_err(json_reason)?;
    let mut sorted: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("the key {} is there twice", shown(twice[0])));
    }
    let mut take = |words: &[&str]| {
        // A null is the same as nothing: then another word may have the value.
        let index = words.iter().find_map(|word| {
            members
                .iter()
                .position(|(key, value)| word.eq_ignore_ascii_case(key) && !value.is_null())
        })?;
        Some(members.remove(index).1)
    };
    let addr = match take(&ADDRESS_WORDS) {
        Some(Json::String(text)) => Ok(text.into()),
        Some(other) => Err(format!("the address is not text but {}", shown(&other.to_string()))),
        None if want == Want::Targets => Ok("".into()),
        None => Err("no address (dip, ip or addr)".into()),
    };
    let port = take(&PORT_WORDS).map(|port| match port {
        Json::String(text) => text.into(),
        other => other.to_string().into(),
    });
    let name = match take(&NAME_WORDS) {
        Some(Json::String(text)) => Some(text).filter(|text| !text.is_empty()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let rest = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.into(), Cell::Json(value)))
        .collect();
    Raw::new(want, default_port, addr, port, name, rest)
}

/// serde_json counts lines itself, and here there is always one.
fn json_reason(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((what, "0")) => format!("not a JSON object: {what}"),
        Some((what, column)) => format!("not a JSON object: {what} at column {column}"),
        None => format!("not a JSON object: {text}"),
    }
}

// --- CSV ------------------------------------------------------------------------------------

/// CSV with known columns.
pub struct Csv {
    splitter: Splitter,
    /// Made unique; grows by `column_N` as wider records come.
    names: Vec<Arc<str>>,
    has_header: bool,
    addr: Option<usize>,
    port: Option<usize>,
    name: Option<usize>,
}

/// Further fields that get a name of their own; a line of commas must not take memory for ever.
const WIDEST: usize = 1024;

impl Csv {
    fn new(splitter: Splitter, columns: &[String], has_header: bool) -> Self {
        let place = |words: &[&str]| position(words, columns.iter().map(String::as_str));
        let (addr, port, name) = (place(&ADDRESS_WORDS), place(&PORT_WORDS), place(&NAME_WORDS));
        let names = unique_names(&[], columns.iter().map(String::as_str));
        let names = names.into_iter().map(Arc::from).collect();
        Self { splitter, names, has_header, addr, port, name }
    }

    fn read(&mut self, line: &str, want: Want, default_port: Option<u16>) -> Result<Raw, String> {
        let record = self.splitter.split(line)?;
        let field = |index: Option<usize>| {
            index.and_then(|index| record.get(index)).filter(|field| !field.is_empty())
        };
        let addr = Ok(field(self.addr).unwrap_or_default().into());
        let port = field(self.port).map(Cow::from);
        let name = field(self.name).map(str::to_owned);
        if record.len() > WIDEST {
            return Err(format!("more than {WIDEST} fields"));
        }
        let mut rest = Vec::new();
        for (index, text) in record.iter().enumerate() {
            if text.is_empty() || [self.addr, self.port, self.name].contains(&Some(index)) {
                continue;
            }
            while self.names.len() <= index {
                let fresh = format!("column_{}", self.names.len() + 1);
                let taken: Vec<&str> = self.names.iter().map(AsRef::as_ref).collect();
                let fresh = unique_names(&taken, [fresh.as_str()].into_iter());
                self.names.extend(fresh.into_iter().map(Arc::from));
            }
            rest.push((Arc::clone(&self.names[index]), Cell::Csv(text.to_owned())));
        }
        Raw::new(want, default_port, addr, port, name, rest)
    }
}

/// Splits one line into fields by the `csv` crate, whose reader is kept from line to line.
struct Splitter {
    reader: csv::Reader<OneLine>,
    record: csv::StringRecord,
}

impl Splitter {
    fn new() -> Self {
        Self { reader: Self::reader(), record: csv::StringRecord::new() }
    }

    fn reader() -> csv::Reader<OneLine> {
        csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(OneLine::default())
    }

    fn split(&mut self, line: &str) -> Result<&csv::StringRecord, String> {
        let source = self.reader.get_mut();
        source.line.clear();
        source.line.extend_from_slice(line.as_bytes());
        // The reader gives a record out at its line feed, before it asks for more.
        source.line.push(b'\n');
        source.at = 0;
        source.ended = false;
        let read = self.reader.read_record(&mut self.record);
        let source = self.reader.get_ref();
        let whole = !source.ended && source.at == source.line.len();
        // A carriage return ends a record too: then some of the line would be left.
        let consumed = self.reader.position().byte();
        let expected =
            self.reader.get_ref().consumed_before + self.reader.get_ref().line.len() as u64;
        let at_end = consumed == expected;
        self.reader.get_mut().consumed_before = expected;
        if !matches!(read, Ok(true)) || !whole || !at_end {
            let ended = self.reader.get_ref().ended;
            self.reader = Self::reader();
            return Err(match read {
                Err(error) => format!("not CSV: {error}"),
                Ok(_) if ended => "a quoted field does not end on this line".into(),
                Ok(_) => "a carriage return inside the line".into(),
            });
        }
        Ok(&self.record)
    }
}

/// The line that is being split.
#[derive(Debug, Default)]
struct OneLine {
    line: Vec<u8>,
    at: usize,
    /// Whether more was asked for than the line.
    ended: bool,
    /// Bytes of the lines before.
    consumed_before: u64,
}

impl Read for OneLine {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.line[self.at..];
        self.ended = rest.is_empty();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
