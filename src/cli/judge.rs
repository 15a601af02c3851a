//! `pathspider judge`: computes conditions again from stored facts.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::HumanBytes;
use serde_json::json;

use super::options::form::Form;
use super::signals;
use crate::error::{Error, Exit, Report, Result};
use crate::measurement::{self, Overrides, Plan};
use crate::report::format::Format;
use crate::report::{numbers, page, summary};
use crate::results::judge::{FromFile, Results};
use crate::rule::Rules;
use crate::run::about;
use crate::run::dictionary::Dictionary;
use crate::run::totals::Totals;
use crate::sink::Written;
use crate::words::counted;

/// Judge results again: recompute the conditions from the facts in a Parquet file
///
/// Uses the measurement embedded in the file, or another one. Sends nothing, and changes neither the facts nor the
/// file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The results of a run
    #[arg(value_name = "RESULTS.parquet")]
    results: PathBuf,

    /// The measurement whose conditions are computed: a file or a name [default: the one embedded in the results]
    #[arg(short, long, value_name = "FILE")]
    measurement: Option<String>,

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Table of networks and the ASes that originate them: adds or replaces the column target.asn
    #[arg(long, value_name = "FILE")]
    as_table: Option<PathBuf>,

    #[command(flatten)]
    form: Form,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    signals::catch(false)?;
    let mut results = Results::open(&args.results)?;
    if let Some(table) = &args.as_table {
        results.add_origins(table)?;
    }
    let (origin, text) = match &args.measurement {
        Some(name) => measurement::find(name)?,
        None => (format!("{} (its measurement)", args.results.display()), results.measurement()?),
    };
    // The run's params belong to the embedded measurement; another file has its own defaults.
    let set = if args.measurement.is_none() { results.params() } else { Vec::new() };
    let plan = Plan::load_with(&origin, &text, &results.target_columns(), &Overrides::new(set))?;
    let rules = plan
        .rules
        .against(&results.facts, &FromFile(&plan.selection))
        .map_err(|diagnostics| Error::from(Report::new(origin, text.as_str(), diagnostics)))?;
    if rules.lack_answers() {
        log::warn!(
            "judge {}: these results have no column `answer`; `compare` uses `ok` alone, so a host that \
             answered otherwise counts as offline",
            args.results.display()
        );
    }
    if same_file(&args.results, &args.output) {
        return Err(Error::Usage(format!(
            "write {}: this is the input file; choose another name",
            args.output.display()
        )));
    }
    let mut metadata = results.metadata.clone();
    for (key, value) in [
        ("measurement", text.clone()),
        ("measurement_sha256", about::sha256(&text)),
        ("conditions_sql", about::conditions_sql(&rules)),
        ("metrics_sql", about::metrics_sql(&rules)),
        ("judged_by", env!("CARGO_PKG_VERSION").to_owned()),
        ("judged", about::utc_exact(SystemTime::now())),
    ] {
        match metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => metadata.push((key.to_owned(), value)),
        }
    }
    let schema = Dictionary::judged(&plan, &rules).describe(&rules.schema(&results.facts));
    let mut sink = args.form.records().open(&args.output, schema)?;
    let mut totals = Totals::default();
    results.judge(&rules, |_, judged| {
        signals::check(|| format!("judge {}: nothing was written", args.results.display()))?;
        totals.count(judged);
        sink.write(judged)
    })?;
    if totals.controls.records > 0 {
        let controls = totals.controls.to_json(&totals.labels).to_string();
        metadata.retain(|(known, _)| known != "controls");
        metadata.push(("controls".to_owned(), controls));
    }
    let written = sink.finish(&metadata)?;
    print(args, &plan, &rules, &written, &totals)?;
    Ok(Exit::Done)
}

/// Whether two paths are the same file, also through links.
fn same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| -> io::Result<_> {
        let metadata = path.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    };
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

/// Prints the summary, to standard error if the records go to standard output.
fn print(
    args: &Args,
    plan: &Plan,
    rules: &Rules,
    written: &Written,
    totals: &Totals,
) -> Result<()> {
    let text = match args.form.summary() {
        Format::Json => json!({
            "measurement": plan.name,
            "records": written.rows,
            "conditions": totals.labels,
            "metrics": numbers::metrics_json(rules, totals),
            "values": numbers::values_json(rules, totals),
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
            lines.extend(numbers::lines(rules, totals));
            let size = HumanBytes(written.bytes);
            lines.push(format!("Results: {} ({size})", written.path.display()));
            lines.join("\n")
        }
    };
    let records_on_stdout = args.output.as_os_str() == "-";
    match args.form.summary() {
        Format::Json => page::json(&text, records_on_stdout),
        Format::Text => page::text(&text, records_on_stdout),
    }
}
