//! The destination of a list: standard output, or a file that gets its name when complete.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Doing as _, Result};
use crate::printable::Printable;
use crate::sink::Temporary;
use crate::targets::{Entries, Entry, Listing, Writer};

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One JSON object per line.
    Ndjson,
    /// CSV with a header.
    Csv,
}

/// The destination of a list, and its format.
#[derive(Debug, clap::Args)]
pub struct Destination {
    /// Where the list goes; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Format of the list [default: by the name of the output, else ndjson]
    ///
    /// CSV has the columns of the first thousand lines, and single-line values. NDJSON keeps everything.
    #[arg(long, value_enum)]
    format: Option<Form>,
}

/// A list that is being written.
pub struct Output {
    writer: Writer<Box<dyn Write>>,
    file: Option<Temporary>,
    name: String,
}

impl Destination {
    /// Starts the list, with the columns of `entries` besides the common ones.
    ///
    /// # Errors
    /// When the file cannot be created, or the input cannot be read.
    pub fn open(&self, entries: &mut Entries) -> Result<Output> {
        let csv = self.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        let (listing, columns) = match self.format {
            Some(Form::Csv) => (Listing::Csv, entries.columns()?),
            None if csv => (Listing::Csv, entries.columns()?),
            _ => (Listing::Ndjson, Vec::new()),
        };
        let (to, file) = open(&self.output, listing)?;
        let name = self.output.display().to_string();
        let writer = Writer::new(to, listing, &columns).doing(|| format!("write {name}"))?;
        Ok(Output { writer, file, name })
    }
}

/// Opens a file of lines, or standard output. On standard output, control characters are escaped: always in JSON, and on
/// a terminal in CSV.
pub fn open(path: &Path, listing: Listing) -> Result<(Box<dyn Write>, Option<Temporary>)> {
    if path.as_os_str() == "-" {
        let stdout = io::stdout();
        let to: Box<dyn Write> = match listing {
            Listing::Ndjson => Box::new(Printable::json(stdout)),
            Listing::Csv if stdout.is_terminal() => Box::new(Printable::lines(stdout)),
            Listing::Csv => Box::new(stdout),
        };
        return Ok((Box::new(BufWriter::with_capacity(64 * 1024, to)), None));
    }
    let file = Temporary::create(path)?;
    Ok((Box::new(BufWriter::with_capacity(64 * 1024, file.writer()?)), Some(file)))
}

impl Output {
    /// Writes a line.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&mut self, entry: &Entry, addr: IpAddr) -> Result<()> {
        self.writer.write(entry, addr).doing(|| format!("write {}", self.name))
    }

    /// Flushes buffered lines.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().doing(|| format!("write {}", self.name))
    }

    /// Renames the file to its final name. Returns the number of lines written, and of values that did not fit CSV.
    ///
    /// # Errors
    /// Names the file.
    pub fn finish(mut self) -> Result<(u64, u64)> {
        self.flush()?;
        let counts = (self.writer.lines(), self.writer.dropped());
        drop(self.writer);
        if let Some(file) = self.file {
            file.keep()?;
        }
        Ok(counts)
    }
}
