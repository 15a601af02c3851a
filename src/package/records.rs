//! The records of a package: copied as they are, or written anew without what was redacted; and a flat table of verdicts.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

use super::RECORDS;
use super::folder::{Field, Folder, Kind, Writer};
use super::redact::Redaction;
use crate::analysis::cell::csv_row;
use crate::analysis::column::{self, Words};
use crate::analysis::{Account, Cell, Source};
use crate::error::{Doing as _, Result};
use crate::hex::hex;
use crate::run::controls::CONTROL;
use crate::run::record::POSITION;
use crate::{files, sink};

/// Octets that are copied at a time.
const PIECE: usize = 1 << 20;
const DOC: &str = "The records: one row per target";

/// Writes the records. A single file is copied, so that its own digest stays right.
pub(super) fn write(original: &Source, folder: &mut Folder, redacts: bool) -> Result<()> {
    if let Some(file) = original.only_file().filter(|_| !redacts) {
        let mut writer = folder.begin(RECORDS)?;
        read(file, |piece| writer.write(piece))?;
        return folder.add_written(RECORDS, Kind::Parquet, DOC, writer, Vec::new());
    }
    let path = folder.path(RECORDS);
    let redaction = redacts.then(Redaction::new);
    let mut sink = sink::open(&path, original.schema.clone())?;
    original.read(&[], |batch| match &redaction {
        Some(redaction) => sink.write(&redaction.records(batch)?),
        None => sink.write(batch),
    })?;
    let metadata = original.metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let metadata: sink::Metadata = match &redaction {
        Some(redaction) => redaction.metadata(metadata),
        None => metadata.collect(),
    };
    sink.finish(&metadata)?;
    // The digest in the file is of the file without it.
    let mut digest = Sha256::new();
    let mut bytes = 0;
    read(&path, |piece| {
        bytes += piece.len() as u64;
        digest.update(piece);
        Ok(())
    })?;
    folder.note(RECORDS, Kind::Parquet, DOC, bytes, hex(&digest.finalize()), Vec::new());
    Ok(())
}

/// Reads a file piece by piece.
fn read(path: &std::path::Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut file = files::regular(path).map_err(|why| files::unreadable(path, why))?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).doing(|| format!("read {}", path.display()))? {
            0 => return Ok(()),
            length => each(piece.get(..length).unwrap_or_default())?,
        }
    }
}

/// Writes a flat table: the target and its verdicts.
pub(super) fn verdicts(source: &Source, account: &Account, folder: &mut Folder) -> Result<()> {
    let name = "tables/verdicts.csv";
    let conditions: Vec<&str> =
        account.about.conditions.iter().map(|condition| condition.column.as_str()).collect();
    let of_target = [
        (POSITION, "integer"),
        ("ip", "string"),
        ("port", "integer"),
        ("name", "string"),
        (CONTROL, "boolean"),
    ];
    let mut fields: Vec<Field> = of_target
        .iter()
        .map(|(name, data_type)| Field { name: (*name).to_owned(), data_type })
        .collect();
    fields.extend(
        conditions.iter().map(|name| Field { name: (*name).to_owned(), data_type: "string" }),
    );
    let mut writer = folder.begin(name)?;
    let heads = fields.iter().map(|field| Cell::text(&*field.name));
    writer.write(csv_row(&heads.collect::<Vec<_>>()).as_bytes())?;
    let columns =
        [POSITION, CONTROL, "target.ip", "target.port", "target.name", "verdict", "insufficient"];
    let columns = columns.map(str::to_owned);
    source.read(&columns, |batch| rows(batch, &conditions, &mut writer))?;
    let doc =
        "The target and the verdicts of every record; `insufficient` where facts were missing";
    folder.add_written(name, Kind::Csv, doc, writer, fields)
}

fn rows(batch: &arrow_array::RecordBatch, conditions: &[&str], writer: &mut Writer) -> Result<()> {
    use arrow_array::Array as _;
    let whole = |path: &[&str]| {
        column::find(batch, path).map(|column| column::wholes(&column)).unwrap_or_default()
    };
    let (positions, ports) = (whole(&[POSITION]), whole(&["target", "port"]));
    let (ips, names) = (Words::of(batch, &["target", "ip"]), Words::of(batch, &["target", "name"]));
    let control = column::truth(batch, &[CONTROL]);
    let of = |name: &'static str| {
        conditions.iter().map(|condition| Words::of(batch, &[name, condition])).collect::<Vec<_>>()
    };
    let (verdicts, reasons) = (of("verdict"), of("insufficient"));
    let number = |numbers: &[Option<i64>], row: usize| {
        let number = numbers.get(row).copied().flatten().and_then(|n| u64::try_from(n).ok());
        number.map_or(Cell::Missing, Cell::Count)
    };
    let word = |word: Option<&str>| word.map_or(Cell::Missing, Cell::text);
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        let is_control = control.as_ref().filter(|control| control.is_valid(row));
        let mut cells = vec![
            number(&positions, row),
            word(ips.at(row)),
            number(&ports, row),
            word(names.at(row)),
            is_control.map_or(Cell::Missing, |control| Cell::text(control.value(row).to_string())),
        ];
        cells.extend(verdicts.iter().zip(&reasons).map(|(verdict, reason)| {
            word(verdict.at(row).or_else(|| reason.at(row).map(|_| "insufficient")))
        }));
        text += &csv_row(&cells);
    }
    writer.write(text.as_bytes())
}
