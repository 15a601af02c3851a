//! `pathspider export`: flat records for spreadsheets and data frames.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::HumanBytes;
use serde_json::json;

use super::signals;
use crate::error::{Error, Exit, Result};
use crate::report::format::Format;
use crate::report::meter::Meter;
use crate::report::page;
use crate::results::export::Export;
use crate::results::input::Input;
use crate::sink::{self, ArrowSink, CsvSink, Sink, Written};
use crate::words::counted;

/// Export results as flat records: a column `zero.tcp_handshake_rtt` for each field of each struct
///
/// Reads any number of results, whatever their size, in constant memory. Rows of several results get a column `result`
/// with the path of theirs; a column that a result does not have is NULL there.
///
/// Cells of CSV can be opened in a spreadsheet: a text that would be a formula begins with an apostrophe, and control
/// characters and backslashes are escaped (`pathspider guide results` says how to read them back).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results: folders of parts, or .parquet files
    #[arg(value_name = "RESULTS", required = true)]
    results: Vec<PathBuf>,

    /// Where the rows go: .parquet, .csv, .arrow or .ndjson, or - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Format of rows on standard output
    #[arg(long = "as", value_enum, default_value = "csv", value_name = "FORMAT")]
    form: OnStdout,

    /// Only these columns, in this order, separated by commas: names (`one.ok`), structs (`target`) or patterns
    /// (`*.tcp_handshake_rtt`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,

    /// Only records for which this is true: an expression as in conditions, which may also use `control`, `position` and
    /// the structs `verdict`, `insufficient` and `metric`
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,

    /// Export what there is even if files of a result are spoiled; the exit code is then 3
    #[arg(long)]
    allow_incomplete: bool,

    /// Format of the summary
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Formats that can be written as they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnStdout {
    /// CSV with a header.
    Csv,
    /// An Arrow stream.
    Arrow,
    /// A JSON object per line.
    Ndjson,
}

/// The format of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Parquet,
    Csv,
    Arrow,
    Ndjson,
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    signals::catch(false)?;
    let kind = kind(args)?;
    let inputs: Vec<Input> = args
        .results
        .iter()
        .map(|path| Input::open(path, "export", args.allow_incomplete))
        .collect::<Result<_>>()?;
    refuse_inputs(&inputs, &args.output)?;
    let columns: Vec<String> = args.columns.iter().map(|name| name.trim().to_owned()).collect();
    let export = Export::new(&inputs, &columns, args.condition.as_deref(), kind == Kind::Parquet)?;
    let total = inputs.iter().map(Input::records).sum::<Result<u64>>()?;
    let mut sink = open(kind, args, &export)?;
    let mut meter = Meter::new("records", quiet);
    let mut read = 0;
    let written = export.read(|batch, records| {
        signals::check(|| "export: nothing was written".to_owned())?;
        sink.write(batch)?;
        read += records;
        meter.show(read, (read, Some(total)), "");
        Ok(())
    });
    meter.end();
    written?;
    let metadata = export.metadata(sink.rows());
    let written = sink.finish(&metadata)?;
    print(args, inputs.len(), (read, export.schema().fields().len()), &written)?;
    let is_whole = inputs.iter().all(|input| input.spoiled == 0);
    Ok(if is_whole { Exit::Done } else { Exit::Lossy })
}

/// The format of the rows.
fn kind(args: &Args) -> Result<Kind> {
    if args.output.as_os_str() == "-" {
        if args.form == OnStdout::Arrow && std::io::stdout().is_terminal() {
            return Err(Error::Usage(
                "export: Arrow is not for a terminal; name a file with -o, or pipe it".into(),
            ));
        }
        return Ok(match args.form {
            OnStdout::Csv => Kind::Csv,
            OnStdout::Arrow => Kind::Arrow,
            OnStdout::Ndjson => Kind::Ndjson,
        });
    }
    let extension = args.output.extension().map(|end| end.to_string_lossy().to_ascii_lowercase());
    Ok(match extension.as_deref() {
        Some("parquet") => Kind::Parquet,
        Some("csv") => Kind::Csv,
        Some("arrow" | "feather") => Kind::Arrow,
        Some("ndjson" | "jsonl") => Kind::Ndjson,
        _ => {
            return Err(Error::Usage(format!(
                "write {}: unknown kind of file; the name must end in .parquet, .csv, .arrow or .ndjson, or be - for \
                 standard output",
                args.output.display()
            )));
        }
    })
}

fn open(kind: Kind, args: &Args, export: &Export<'_>) -> Result<Box<dyn Sink>> {
    let (path, schema) = (&args.output, export.schema().clone());
    Ok(match kind {
        Kind::Csv if path.as_os_str() == "-" => Box::new(CsvSink::stdout(schema)),
        Kind::Csv => Box::new(CsvSink::create(path, schema)?),
        Kind::Arrow => Box::new(ArrowSink::create(path, &schema, &export.metadata_before())?),
        Kind::Parquet | Kind::Ndjson => sink::open(path, schema)?,
    })
}

/// Fails if the output is a file of a result.
fn refuse_inputs(inputs: &[Input], output: &Path) -> Result<()> {
    let identity = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
    let written = identity(output);
    let mut files = inputs.iter().flat_map(Input::files);
    match written.is_some() && files.any(|file| identity(file) == written) {
        true => Err(Error::Usage(format!(
            "write {}: this is an input file; choose another name",
            output.display()
        ))),
        false => Ok(()),
    }
}

/// Prints the summary, to standard error if the rows go to standard output.
fn print(
    args: &Args,
    results: usize,
    (read, columns): (u64, usize),
    written: &Written,
) -> Result<()> {
    let on_stdout = args.output.as_os_str() == "-";
    match args.format {
        Format::Json => page::json(
            &json!({
                "results": results, "records": read, "rows": written.rows, "columns": columns,
                "bytes": written.bytes, "output": written.path.display().to_string(),
            })
            .to_string(),
            on_stdout,
        ),
        Format::Text => {
            let mut text = format!(
                "{} of {} from {}, {}",
                counted(written.rows, "row[s]"),
                counted(read, "record[s]"),
                counted(results as u64, "result[s]"),
                counted(columns as u64, "column[s]"),
            );
            if !on_stdout {
                let size = HumanBytes(written.bytes);
                text += &format!("\nRows: {} ({size})", written.path.display());
            }
            page::text(&text, on_stdout)
        }
    }
}
