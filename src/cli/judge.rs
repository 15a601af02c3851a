//! `pathspider judge`: concludes anew from facts that were measured before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use indicatif::HumanBytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use super::writer::Totals;
use super::{Format, ending, records, summary};
use crate::error::{Doing as _, Error, Exit, Report, Result};
use crate::measurement::{self, Overrides, Plan};
use crate::rule::{ADDED, About, Columns, Rules};
use crate::sink::{self, METADATA_PREFIX, Written};
use crate::words::counted;

/// Judge results again: compute the conditions anew from the facts in a Parquet file
///
/// By the rules of the measurement that the file carries, or of another. Facts are not
/// touched, nothing is sent, and the file itself stays as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The results of a run
    #[arg(value_name = "RESULTS.parquet")]
    results: PathBuf,

    /// The measurement whose conditions are computed: a file or a name [default: the one that the
    /// results carry]
    #[arg(short, long, value_name = "FILE")]
    measurement: Option<String>,

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    form: records::Form,
}

/// Records that are read at once.
const BATCH: usize = 8192;

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    ending::catch(false)?;
    let results = Results::open(&args.results)?;
    let (origin, text) = match &args.measurement {
        Some(name) => measurement::find(name)?,
        None => (format!("{} (its measurement)", args.results.display()), results.measurement()?),
    };
    // What the user set for the run is part of what was asked; a file given now has its own defaults.
    let set = if args.measurement.is_none() { results.params() } else { Vec::new() };
    let plan = Plan::load_with(&origin, &text, &results.target_columns(), &Overrides::new(set))?;
    let rules = plan
        .rules
        .against(&results.facts, &Stored)
        .map_err(|diagnostics| Error::from(Report { origin, text: text.clone(), diagnostics }))?;
    if rules.lack_answers() {
        log::warn!(
            "judge {}: these results have no column `answer`; `compare` goes by `ok` alone, so a host that \
             answered otherwise counts as offline",
            args.results.display()
        );
    }
    if same_file(&args.results, &args.output) {
        return Err(Error::Usage(format!(
            "write {}: these are the results that are judged; choose another name",
            args.output.display()
        )));
    }
    let mut metadata = results.metadata.clone();
    for (key, value) in [
        ("measurement", text.clone()),
        ("measurement_sha256", summary::sha256(&text)),
        ("conditions_sql", summary::conditions_sql(&rules)),
        ("judged_by", env!("CARGO_PKG_VERSION").to_owned()),
        ("judged", summary::utc(SystemTime::now())),
    ] {
        match metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => metadata.push((key.to_owned(), value)),
        }
    }
    let mut sink = args.form.open(&args.output, Arc::new(rules.schema(&results.facts)))?;
    let mut totals = Totals::default();
    results.judge(&rules, sink.as_mut(), &mut totals)?;
    if totals.controls.records > 0 {
        let controls = totals.controls.to_json(&totals.labels).to_string();
        metadata.retain(|(known, _)| known != "controls");
        metadata.push(("controls".to_owned(), controls));
    }
    let written = sink.finish(&metadata)?;
    print(args, &plan, &written, &totals)?;
    Ok(Exit::Done)
}

/// The columns of results.
struct Stored;

impl Columns for Stored {
    fn elsewhere(&self, _: &str) -> Option<String> {
        Some("the results do not have it".to_owned())
    }

    fn about(&self, column: &str) -> About {
        measurement::about(column)
    }
}

/// A file of results, of which nothing but its end has been read.
struct Results<'a> {
    path: &'a Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
    /// The schema without what judging adds.
    facts: SchemaRef,
    /// The columns that it keeps.
    kept: Vec<usize>,
    /// In the file's order, without the prefix.
    metadata: Vec<(String, String)>,
}

impl<'a> Results<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let refuse = |why: &str| Error::Usage(format!("read {}: {why}", path.display()));
        let file = File::open(path).doing(|| format!("read {}", path.display()))?;
        if !path.is_file() {
            return Err(refuse("it is not a file"));
        }
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
            refuse(&format!("it is not a Parquet file, or not whole ({error})"))
        })?;
        let schema = builder.schema();
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|column| !ADDED.contains(&schema.field(*column).name().as_str()))
            .collect();
        let is_struct = |name: &str| {
            let field = schema.field_with_name(name).ok();
            field.is_some_and(|field| matches!(field.data_type(), DataType::Struct(_)))
        };
        if !is_struct("target") || !is_struct("zero") {
            return Err(refuse("it is not a result of pathspider: no structs target and zero"));
        }
        // Without metadata: that of the file would otherwise stand in the schema, too.
        let facts: Fields = kept.iter().map(|column| schema.fields()[*column].clone()).collect();
        let metadata = builder.metadata().file_metadata().key_value_metadata();
        let metadata = metadata.into_iter().flatten().filter_map(|pair| {
            let key = pair.key.strip_prefix(METADATA_PREFIX)?;
            Some((key.to_owned(), pair.value.clone().unwrap_or_default()))
        });
        let metadata = metadata.collect();
        Ok(Self { path, facts: Arc::new(Schema::new(facts)), kept, metadata, builder })
    }

    /// The values that the params of the measurement had.
    fn params(&self) -> Vec<(String, String)> {
        let text = self.metadata.iter().find(|(key, _)| key == "params").map(|(_, text)| text);
        let values: Option<BTreeMap<String, String>> =
            text.and_then(|text| serde_json::from_str(text).ok());
        values.unwrap_or_default().into_iter().collect()
    }

    fn measurement(&self) -> Result<String> {
        let found = self.metadata.iter().find(|(key, _)| key == "measurement");
        let missing = || {
            Error::Usage(format!(
                "read {}: it does not say by which measurement; name one with --measurement",
                self.path.display()
            ))
        };
        found.map(|(_, text)| text.clone()).ok_or_else(missing)
    }

    fn target_columns(&self) -> Fields {
        match self.facts.field_with_name("target").map(|field| field.data_type()) {
            Ok(DataType::Struct(fields)) => fields.clone(),
            _ => Fields::empty(),
        }
    }

    /// Reads, judges and writes a batch at a time.
    fn judge(self, rules: &Rules, sink: &mut dyn sink::Sink, totals: &mut Totals) -> Result<()> {
        let path = self.path;
        let failed = |why: String| Error::failed(format!("read {}", path.display()), why);
        let reader = self.builder.with_batch_size(BATCH).build();
        for batch in reader.map_err(|error| failed(error.to_string()))? {
            ending::check(|| format!("judge {}: nothing was written", path.display()))?;
            let columns = batch.and_then(|batch| {
                let columns = self.kept.iter().map(|column| batch.column(*column).clone());
                RecordBatch::try_new(self.facts.clone(), columns.collect())
            });
            let judged = rules.judge(&columns.map_err(|error| failed(error.to_string()))?)?;
            totals.count(&judged, None);
            sink.write(&judged)?;
        }
        Ok(())
    }
}

/// Whether two names are of one file, also by way of links.
fn same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| -> io::Result<_> {
        let metadata = path.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    };
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

/// `2026-11-22T18:30:00Z`
/// Where the records themselves go to standard output, this goes to standard error.
fn print(args: &Args, plan: &Plan, written: &Written, totals: &Totals) -> Result<()> {
    let text = match args.form.summary() {
        Format::Json => json!({
            "measurement": plan.name,
            "records": written.rows,
            "conditions": totals.labels,
            "controls": totals.controls.to_json(&totals.labels),
            "output": written.path.display().to_string(),
        })
        .to_string(),
        Format::Text => {
            let mut lines = vec![format!(
                "{}: {} judged again",
                plan.title,
                counted(written.rows, "record[s]")
            )];
            lines.extend(summary::labels(totals));
            let size = HumanBytes(written.bytes);
            lines.push(format!("Results: {} ({size})", written.path.display()));
            lines.join("\n")
        }
    };
    if args.output.as_os_str() == "-" {
        eprintln!("{text}");
        return Ok(());
    }
    super::out::print(&(text + "\n"))
}
