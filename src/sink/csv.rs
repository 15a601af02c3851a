//! CSV of flat records: a header, then a line per record (RFC 4180, with LF).
//!
//! NULL is an empty cell, an empty text is `""`. Numbers and booleans are bare; texts and times are quoted, and so is
//! JSON, which lists are written as. Cells may come from strangers, so that no program that opens the file sees a
//! formula, a second line or an invisible character in one:
//!
//! * a backslash is doubled, and a control or invisible character is written as in JSON: `\n`, `\u202e`;
//! * a text that begins with `=`, `+`, `-`, `@` or their wide forms, or with `'`, gets a `'` in front.
//!
//! Removing one leading `'` and then reading the escapes gives the text again.

use std::borrow::Cow;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use super::encode::{self, Values};
use super::ndjson::NdjsonSink;
use super::{Sink, Written};
use crate::error::{Error, Result};
use crate::printable;

/// First characters that make a spreadsheet take a cell for a formula, and the one that says that it is none.
const FORMULAS: [char; 9] = ['=', '+', '-', '@', '\'', '＝', '＋', '－', '＠'];

/// Writes CSV to a file or to standard output.
#[derive(Debug)]
pub struct CsvSink {
    lines: NdjsonSink,
    schema: SchemaRef,
    /// Whether the header was written.
    begun: bool,
}

impl CsvSink {
    /// Lines on standard output.
    pub fn stdout(schema: SchemaRef) -> Self {
        Self { lines: NdjsonSink::stdout(), schema, begun: false }
    }

    /// Starts the file that will be `path`, and its metadata file.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        Ok(Self { lines: NdjsonSink::create(path)?, schema, begun: false })
    }

    /// Writes the header, once.
    fn begin(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.begun, true) {
            true => Ok(()),
            false => self.lines.write_lines(&header(&self.schema), 0),
        }
    }
}

impl Sink for CsvSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.begin()?;
        let lines = lines(batch).map_err(|why| Error::failed("write CSV", why))?;
        self.lines.write_lines(&lines, batch.num_rows() as u64)
    }

    fn rows(&self) -> u64 {
        self.lines.rows()
    }

    fn finish(mut self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        self.begin()?;
        Box::new(self.lines).finish(metadata)
    }
}

fn header(schema: &Schema) -> Vec<u8> {
    let mut line = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        text(field.name(), &mut line);
    }
    line.push(b'\n');
    line
}

/// The lines of a batch.
fn lines(batch: &RecordBatch) -> std::result::Result<Vec<u8>, String> {
    let columns: Vec<Values> = batch
        .columns()
        .iter()
        .map(encode::values)
        .collect::<std::result::Result<_, _>>()
        .map_err(|why| why.to_string())?;
    let (mut lines, mut cell) = (Vec::new(), Vec::new());
    for row in 0..batch.num_rows() {
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                lines.push(b',');
            }
            cell.clear();
            column.append(row, &mut cell).map_err(|why| why.to_string())?;
            value(&cell, &mut lines)?;
        }
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A value that is written as JSON.
fn value(json: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), String> {
    match json {
        b"null" => {}
        [b'"', inside @ .., b'"'] => {
            let inside = match inside.contains(&b'\\') {
                true => Cow::Owned(serde_json::from_slice(json).map_err(|why| why.to_string())?),
                false => String::from_utf8_lossy(inside),
            };
            text(&inside, out);
        }
        [b'[' | b'{', ..] => text(&String::from_utf8_lossy(json), out),
        number => out.extend_from_slice(number),
    }
    Ok(())
}

/// A text as a cell.
fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if text.starts_with(FORMULAS) {
        out.push(b'\'');
    }
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\"\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if printable::is_plain(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    fn cell(of: &str) -> String {
        let mut out = Vec::new();
        text(of, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What the documentation says a reader does.
    fn read(cell: &str) -> String {
        let inside = cell[1..cell.len() - 1].replace("\"\"", "\"");
        let inside = inside.strip_prefix('\'').unwrap_or(&inside);
        serde_json::from_str(&format!("\"{}\"", inside.replace('"', "\\\""))).unwrap()
    }

    #[test]
    fn texts_of_strangers_are_harmless_and_come_back() {
        for (of, expected) in [
            ("example.org", r#""example.org""#),
            ("", r#""""#),
            ("=HYPERLINK(\"http://x\";1)", r#""'=HYPERLINK(""http://x"";1)""#),
            ("+1", r#""'+1""#),
            ("-1", r#""'-1""#),
            ("@SUM(A1)", r#""'@SUM(A1)""#),
            ("＝1", r#""'＝1""#),
            ("'quoted", r#""''quoted""#),
            ("\t=1", r#""\t=1""#),
            ("a,b;c", r#""a,b;c""#),
            ("two\r\nlines", r#""two\r\nlines""#),
            ("back\\n", r#""back\\n""#),
            ("\u{1b}[31m", r#""\u001b[31m""#),
            ("a\u{202e}b", r#""a\u202eb""#),
            ("\u{e0001}", r#""\udb40\udc01""#),
            ("zürich 東京", r#""zürich 東京""#),
        ] {
            assert_eq!(cell(of), expected, "{of:?}");
            assert_eq!(read(&cell(of)), of, "{of:?}");
        }
    }

    #[test]
    fn null_is_empty_and_numbers_are_bare() {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("null"), None, Some("")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None, Some(0)]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("name", names, true),
            ("=number", numbers, true),
        ])
        .unwrap();
        let header = String::from_utf8(header(batch.schema_ref())).unwrap();
        assert_eq!(header, "\"name\",\"'=number\"\n");
        let lines = String::from_utf8(lines(&batch).unwrap()).unwrap();
        assert_eq!(lines, "\"null\",-1\n,\n\"\",0\n");
    }
}
