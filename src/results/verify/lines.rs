//! Reads NDJSON results back.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Map, Value};

use super::contents::{About, Contents};
use super::problem::{Check, Problem};
use crate::error::{Doing as _, Error, Result};
use crate::files;
use crate::results::judge::FromFile;
use crate::rule::ADDED;
use crate::run::networks::{ASN, asn_field};
use crate::run::record::{self, POSITION};
use crate::sink::decode;

/// Reads every line, and computes the labels again if they are those of a run.
pub(super) fn read(
    contents: &mut Contents,
    file: &Path,
    about: &About,
    problems: &mut Vec<Problem>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let doing = || format!("read {}", file.display());
    let mut own = OwnColumns::default();
    let mut lines = BufReader::new(files::regular(file).doing(doing)?);
    let (mut line, mut number, mut is_ours) = (Vec::new(), 0, true);
    while lines.read_until(b'\n', &mut line).doing(doing)? > 0 {
        number += 1;
        let object: Map<String, Value> = serde_json::from_slice(&line).map_err(|why| {
            Error::failed(format!("read line {number} of {}", file.display()), why)
        })?;
        line.clear();
        contents.record();
        if let Some(position) = object.get(POSITION).and_then(Value::as_u64) {
            contents.position(position);
        }
        match object.get("target") {
            Some(Value::Object(target)) if object.contains_key("zero") => own.add(target),
            // Records in upstream's format, or flows.
            _ => is_ours = false,
        }
        if number % 1024 == 0 {
            progress(number);
        }
    }
    if !is_ours || number == 0 {
        return Ok(());
    }
    if about.value("judged").is_some() {
        let why = "labels: not computed again: judged NDJSON does not list its columns";
        contents.notes.push(why.into());
        return Ok(());
    }
    labels(contents, file, about, problems, &own)
}

/// Computes the labels again.
fn labels(
    contents: &mut Contents,
    file: &Path,
    about: &About,
    problems: &mut Vec<Problem>,
    own: &OwnColumns,
) -> Result<()> {
    let Some(plan) = contents.plan(file, &Fields::empty(), about, problems) else { return Ok(()) };
    let known = record::schema(&plan, &Fields::empty());
    let own = own.fields(&known);
    let Some(Ok(plan)) = about.plan(&own) else { return Ok(()) };
    let schema: SchemaRef = Arc::new(about.schema(&plan, &own));
    let facts: Vec<usize> = (0..schema.fields().len())
        .filter(|column| !ADDED.contains(&schema.field(*column).name().as_str()))
        .collect();
    let doing = || format!("read {}", file.display());
    let failed = |why| Error::failed(doing(), why);
    let Ok(rules) =
        plan.rules.against(&schema.project(&facts).map_err(failed)?, &FromFile(&plan.selection))
    else {
        return Ok(());
    };
    let mut reader = BufReader::new(files::regular(file).doing(doing)?);
    loop {
        let lines = some(&mut reader).doing(doing)?;
        if lines.is_empty() {
            return Ok(());
        }
        let stored = match decode::batch(&schema, &lines) {
            Ok(stored) => stored,
            Err(why) => {
                let why = format!("its columns do not match the measurement: {why}");
                problems.push(contents.doubt(about, Check::Metadata, file, why));
                return Ok(());
            }
        };
        let judged = rules.judge(&stored.project(&facts).map_err(failed)?)?;
        contents.compare(&stored, &judged);
    }
}

/// The next records.
fn some(reader: &mut impl BufRead) -> io::Result<Vec<Map<String, Value>>> {
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    while lines.len() < 1024 && reader.read_until(b'\n', &mut line)? > 0 {
        lines.push(serde_json::from_slice(&line)?);
        line.clear();
    }
    Ok(lines)
}

/// The columns of the target list, inferred from their values.
#[derive(Debug, Default)]
struct OwnColumns(BTreeMap<String, DataType>, Vec<String>);

impl OwnColumns {
    fn add(&mut self, target: &Map<String, Value>) {
        for (name, value) in target {
            let found = match value {
                Value::Null => DataType::Null,
                Value::Bool(_) => DataType::Boolean,
                Value::Number(number) if number.is_i64() => DataType::Int64,
                Value::Number(number) if number.is_u64() => DataType::UInt64,
                Value::Number(_) => DataType::Float64,
                Value::Array(_) if name == ASN => asn_field().data_type().clone(),
                _ => DataType::Utf8,
            };
            let Some(known) = self.0.get_mut(name) else {
                self.1.push(name.clone());
                self.0.insert(name.clone(), found);
                continue;
            };
            if *known != found && found != DataType::Null {
                let are_numbers = known.is_numeric() && found.is_numeric();
                *known = match known {
                    DataType::Null => found,
                    _ if are_numbers => DataType::Float64,
                    _ => DataType::Utf8,
                };
            }
        }
    }

    /// The columns besides those that every target has.
    fn fields(&self, known: &Schema) -> Fields {
        let known = known.field_with_name("target").map(|field| field.data_type().clone());
        let has = |name: &str| match &known {
            Ok(DataType::Struct(fields)) => fields.find(name).is_some(),
            _ => false,
        };
        let own = self.1.iter().filter(|name| !has(name)).map(|name| {
            let data_type = match self.0.get(name) {
                None | Some(DataType::Null) => DataType::Utf8,
                Some(other) => other.clone(),
            };
            Field::new(name, data_type, true)
        });
        own.collect()
    }
}
