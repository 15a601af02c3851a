//! CSV: one record per line; the columns come from a header or from the shape of the first line.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use super::columns::{Columns, Shape};
use super::tool::check_zmap;
use super::{Line, Raw, Want};
use crate::targets::cell::Cell;
use crate::targets::infer::unique_names;

/// Maximum number of named fields; a line of commas must not take unbounded memory.
const WIDEST: usize = 1024;

/// CSV with known columns.
pub struct Csv {
    splitter: Splitter,
    columns: Columns,
    /// Unique names; grows by `column_N` when wider records come.
    names: Vec<Arc<str>>,
}

impl Csv {
    /// From the first line.
    ///
    /// # Errors
    /// The reason that the list cannot be read, if its columns are not understood.
    pub fn new(line: &str, want: Want) -> Result<Self, String> {
        let mut splitter = Splitter::new();
        let fields: Vec<String> = match splitter.split(line) {
            Ok(record) => record.iter().map(str::to_owned).collect(),
            // The line is rejected with its reason when it is parsed as a record.
            Err(_) => line.split(',').map(|field| field.trim().to_owned()).collect(),
        };
        let columns = Columns::of_first_line(&fields, want)?;
        let names = unique_names(&[], columns.names.iter().map(String::as_str));
        let names = names.into_iter().map(Arc::from).collect();
        Ok(Self { splitter, columns, names })
    }

    /// Whether the first line is a header.
    pub fn has_header(&self) -> bool {
        self.columns.shape == Shape::Header
    }

    /// The names of the other columns that are known before any target. Without a header, a column exists only if
    /// lines have it.
    pub fn header(&self) -> Vec<Arc<str>> {
        let own = (0..self.names.len()).filter(|index| !self.columns.is_common(*index));
        match self.has_header() {
            true => own.map(|index| Arc::clone(&self.names[index])).collect(),
            false => Vec::new(),
        }
    }

    /// Parses a record.
    pub fn read(
        &mut self,
        line: &str,
        want: Want,
        default_port: Option<u16>,
    ) -> Result<Raw, String> {
        let record = self.splitter.split(line)?;
        let columns = &self.columns;
        let field = |index: Option<usize>| {
            index.and_then(|index| record.get(index)).filter(|field| !field.is_empty())
        };
        if record.len() > WIDEST {
            return Err(format!("more than {WIDEST} fields"));
        }
        columns.check_record(record)?;
        if columns.zmap {
            check_zmap(columns.port.is_some(), field(columns.port), field(columns.class))?;
        }
        let addr = Ok(field(columns.addr).unwrap_or_default().into());
        let port = field(columns.port).map(Cow::from);
        let name = field(columns.name).map(str::to_owned);
        let url = field(columns.url).map(Cow::from);
        let mut rest = Vec::new();
        for (index, text) in record.iter().enumerate() {
            if text.is_empty() || columns.is_common(index) {
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
        Line { addr, port, name, url, rest, ..Line::new() }.raw(want, default_port)
    }
}

/// Splits a line into fields with the `csv` crate; the reader is reused for all lines.
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
        // The reader returns a record at its line feed, before it asks for more input.
        source.line.push(b'\n');
        source.at = 0;
        source.ended = false;
        let read = self.reader.read_record(&mut self.record);
        let source = self.reader.get_ref();
        let whole = !source.ended && source.at == source.line.len();
        // A carriage return ends a record as well; then a part of the line would be left over.
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
    /// Whether the reader asked for more than the line.
    ended: bool,
    /// Bytes of the earlier lines.
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
