//! The files of a package.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::DIGESTS;
use crate::analysis::{Cell, Form, Table};
use crate::error::{Doing as _, Error, Result};
use crate::files;
use crate::hex::hex;
use crate::sink::Temporary;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Parquet,
    Csv,
    Toml,
    Html,
    Svg,
    Notebook,
    Lines,
    Json,
    Yaml,
    Markdown,
}

impl Kind {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Csv => "text/csv",
            Self::Toml => "application/toml",
            Self::Html => "text/html",
            Self::Svg => "image/svg+xml",
            Self::Notebook => "application/x-ipynb+json",
            Self::Lines => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Markdown => "text/markdown",
        }
    }
}

/// A column of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type in a table schema: `string`, `integer`, `number`, `boolean`.
    pub data_type: &'static str,
}

/// A file of the package.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path in the package.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// What it has.
    pub doc: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its columns, if it is CSV.
    pub fields: Vec<Field>,
}

/// A package that is being written.
pub struct Folder {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// The SHA-256 of octets in hexadecimal.
pub fn digest(octets: &[u8]) -> String {
    hex(&Sha256::digest(octets))
}

impl Folder {
    /// A folder that is empty or new.
    pub fn make(path: &Path) -> Result<Self> {
        let (folder, _) = files::Folder::make(path)?;
        if let Some(first) = folder.names()?.first() {
            return Err(Error::Usage(format!(
                "report --package {}: there is {} already; choose a new folder",
                path.display(),
                first.to_string_lossy()
            )));
        }
        for below in ["tables", "figures"] {
            files::Folder::make(&path.join(below))?;
        }
        Ok(Self { path: path.to_owned(), entries: Vec::new() })
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The files so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds a file with this content.
    pub fn add(
        &mut self,
        name: &str,
        kind: Kind,
        doc: &str,
        content: impl AsRef<[u8]>,
    ) -> Result<()> {
        let content = content.as_ref();
        let mut writer = self.begin(name)?;
        writer.write(content)?;
        self.add_written(name, kind, doc, writer, Vec::new())
    }

    /// Adds a JSON document.
    pub fn add_json(&mut self, name: &str, doc: &str, value: &Value) -> Result<()> {
        self.add(name, Kind::Json, doc, format!("{value:#}\n"))
    }

    /// Adds a table as CSV.
    pub fn add_table(&mut self, name: &str, table: &Table) -> Result<()> {
        let mut writer = self.begin(name)?;
        writer.write(table.csv().as_bytes())?;
        let fields = (0..table.columns.len()).map(|at| field(table, at)).collect();
        self.add_written(name, Kind::Csv, &table.caption, writer, fields)
    }

    /// Begins a file.
    pub fn begin(&self, name: &str) -> Result<Writer> {
        let file = Temporary::create(&self.path(name))?;
        let to = file.writer()?;
        Ok(Writer { file, to: std::io::BufWriter::new(to), digest: Sha256::new(), bytes: 0 })
    }

    /// Adds a file that was begun.
    pub fn add_written(
        &mut self,
        name: &str,
        kind: Kind,
        doc: &str,
        writer: Writer,
        fields: Vec<Field>,
    ) -> Result<()> {
        let Writer { file, mut to, digest, bytes } = writer;
        to.flush().doing(|| format!("write {}", file.path().display()))?;
        file.keep()?;
        self.note(name, kind, doc, bytes, hex(&digest.finalize()), fields);
        Ok(())
    }

    /// Notes a file that was written elsewhere.
    pub fn note(
        &mut self,
        name: &str,
        kind: Kind,
        doc: &str,
        bytes: u64,
        sha256: String,
        fields: Vec<Field>,
    ) {
        let (path, doc) = (name.to_owned(), doc.to_owned());
        self.entries.push(Entry { path, kind, doc, bytes, sha256, fields });
    }

    /// Writes the digests; the package is complete then.
    pub fn end(self) -> Result<Vec<Entry>> {
        let mut text = String::new();
        for Entry { path, sha256, .. } in &self.entries {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sha256}  {path}");
        }
        let file = Temporary::create(&self.path(DIGESTS))?;
        let doing = || format!("write {}", file.path().display());
        file.writer()?.write_all(text.as_bytes()).doing(doing)?;
        file.keep()?;
        Ok(self.entries)
    }
}

/// A file that is being written.
pub struct Writer {
    file: Temporary,
    to: std::io::BufWriter<std::fs::File>,
    digest: Sha256,
    bytes: u64,
}

impl Writer {
    /// Writes octets.
    pub fn write(&mut self, octets: &[u8]) -> Result<()> {
        self.digest.update(octets);
        self.bytes += octets.len() as u64;
        let written = self.to.write_all(octets);
        written.doing(|| format!("write {}", self.file.path().display()))
    }
}

/// The type of a table's column, by its values.
fn field(table: &Table, at: usize) -> Field {
    let cells = || table.rows.iter().filter_map(|row| row.get(at));
    let column = table.columns.get(at);
    let is_text = column.is_none_or(|column| column.form == Form::Text)
        || cells().any(|cell| matches!(cell, Cell::Text(_)));
    let is_whole = cells().all(|cell| matches!(cell, Cell::Count(_) | Cell::Missing));
    let data_type = match (is_text, is_whole) {
        (true, _) => "string",
        (false, true) => "integer",
        (false, false) => "number",
    };
    Field { name: column.map(|column| column.name.clone()).unwrap_or_default(), data_type }
}
