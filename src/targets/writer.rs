//! Writes target lists: NDJSON with upstream's words (`dip`, `dp`, `domain`), or CSV with a header of the same words.
//! [`Reader`](super::Reader) reads both.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use super::Entry;
use super::cell::{self, quoted};
use super::infer::unique_names;

/// The format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// One JSON object per line.
    Ndjson,
    /// One CSV record per line, after a header.
    Csv,
}

const COMMON: [&str; 3] = ["dip", "dp", "domain"];

/// Writes a list.
pub struct Writer<W: Write> {
    form: Form<W>,
    lines: u64,
    dropped: u64,
}

enum Form<W: Write> {
    Ndjson(W),
    Csv { writer: Box<csv::Writer<W>>, columns: Vec<Arc<str>>, known: HashSet<Arc<str>> },
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("lines", &self.lines)
            .field("dropped", &self.dropped)
            .finish()
    }
}

impl<W: Write> Writer<W> {
    /// Starts a list on `out`. CSV has the columns address, port, name and `columns` (those of
    /// [`Entries`](super::Entries::columns)), and no others.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(out: W, listing: Listing, columns: &[Arc<str>]) -> io::Result<Self> {
        let form = match listing {
            Listing::Ndjson => Form::Ndjson(out),
            Listing::Csv => {
                let mut writer = Box::new(csv::Writer::from_writer(out));
                let own = unique_names(&COMMON, columns.iter().map(AsRef::as_ref));
                let header = COMMON.into_iter().chain(own.iter().map(String::as_str));
                writer.write_record(header)?;
                let known = columns.iter().cloned().collect();
                Form::Csv { writer, columns: columns.to_vec(), known }
            }
        };
        Ok(Self { form, lines: 0, dropped: 0 })
    }

    /// Writes a line: `entry` with this address.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&mut self, entry: &Entry, addr: IpAddr) -> io::Result<()> {
        self.lines += 1;
        let port = entry.port;
        match &mut self.form {
            Form::Ndjson(out) => {
                let mut members = vec![("dip", quoted(&addr.to_string()).into())];
                if let Some(port) = port {
                    members.push(("dp", port.to_string().into()));
                }
                if let Some(name) = &entry.name {
                    members.push(("domain", quoted(name).into()));
                }
                for (key, cell) in &entry.rest {
                    // The members that identify the target keep their meaning.
                    if !members.iter().any(|(own, _)| *own == key.as_ref()) {
                        members.push((key, cell.looks_like_json()));
                    }
                }
                out.write_all(cell::object(members.into_iter()).as_bytes())?;
                out.write_all(b"\n")
            }
            Form::Csv { writer, columns, known } => {
                let port = port.map(|port| port.to_string());
                writer.write_field(addr.to_string())?;
                writer.write_field(port.unwrap_or_default())?;
                let name = entry.name.as_deref().unwrap_or_default();
                writer.write_field(one_line(name, &mut self.dropped))?;
                for column in columns.iter() {
                    let cell = entry.rest.iter().find(|(key, _)| key == column);
                    let text = cell.map(|(_, cell)| cell.clone().into_text()).unwrap_or_default();
                    writer.write_field(one_line(&text, &mut self.dropped))?;
                }
                writer.write_record(None::<&[u8]>)?;
                let unknown = entry.rest.iter().filter(|(key, _)| !known.contains(key));
                self.dropped += unknown.count() as u64;
                Ok(())
            }
        }
    }

    /// Number of lines written, without the header.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Number of values that do not fit into the CSV: the first thousand lines did not have their column, or they
    /// span several lines, which [`Reader`](super::Reader) does not read.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Flushes buffered lines.
    ///
    /// # Errors
    /// If writing fails.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.form {
            Form::Ndjson(out) => out.flush(),
            Form::Csv { writer, .. } => writer.flush(),
        }
    }
}

/// The text; or an empty text, counted as dropped, if it spans several lines.
fn one_line<'a>(text: &'a str, dropped: &mut u64) -> &'a str {
    if text.contains(['\n', '\r']) {
        *dropped += 1;
        return "";
    }
    text
}
