//! `pathspider merge`: merges the results of shards, or of a run in parts.

use std::path::PathBuf;

use arrow_array::BooleanArray;
use arrow_select::filter::filter_record_batch;
use indicatif::HumanBytes;
use serde_json::json;

use super::signals;
use crate::error::{Error, Exit, Result};
use crate::report::format::Format;
use crate::report::{numbers, page, summary};
use crate::results::coverage::Coverage;
use crate::results::embedded::Embedded;
use crate::results::input::{Input, positions};
use crate::results::merged;
use crate::results::origins::Origins;
use crate::rule::Rules;
use crate::run::dictionary::Dictionary;
use crate::run::totals::Totals;
use crate::sink::{self, Written};
use crate::targets::Positions;
use crate::words::counted;

/// Merge results: those of shards, or the parts of one run, into one file
///
/// The results must be of the same measurement with the same params and of the same target list, and together have
/// exactly one record for every target. Otherwise the first mismatch is reported, and nothing is written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results of runs: folders of parts, or .parquet files
    #[arg(value_name = "RESULTS", required = true)]
    results: Vec<PathBuf>,

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Merge even if targets are missing or have several records; the first record of each is kept, and the file's
    /// metadata have the numbers
    #[arg(long)]
    allow_incomplete: bool,

    /// Table of networks and the ASes that originate them: adds or replaces the column target.asn
    #[arg(long, value_name = "FILE")]
    as_table: Option<PathBuf>,

    /// Format of the summary
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    signals::catch(false)?;
    let inputs: Vec<Input> = args
        .results
        .iter()
        .map(|path| Input::open(path, "merge", args.allow_incomplete))
        .collect::<Result<_>>()?;
    let Some((first, others)) = inputs.split_first() else {
        return Err(Error::Usage("merge: name at least one result".into()));
    };
    others.iter().try_for_each(|other| first.fits(other))?;
    if first.value("targets_sha256").is_none() {
        return Err(Error::Usage(format!(
            "merge {}: it does not say of which target list it is; only a run that has read its list to the end, or \
             from a file, does",
            first.path.display()
        )));
    }
    let coverage = Coverage::of(&inputs)?;
    if !args.allow_incomplete
        && let Some(why) = coverage.faults()
    {
        return Err(Error::Usage(format!("merge: {why}; --allow-incomplete merges what there is")));
    }
    let embedded = Embedded::if_possible(first, "the summary has no metrics");
    let dictionary = embedded.as_ref().map_or_else(Dictionary::default, |embedded| {
        Dictionary::judged(&embedded.plan, &embedded.rules)
    });
    let origins = args.as_table.as_deref().map(|table| Origins::open(table, &first.described));
    let origins = origins.transpose()?;
    let columns = origins.as_ref().map_or(&first.described, Origins::schema);
    let mut sink = sink::open_sorted(&args.output, dictionary.describe(columns))?;
    let mut totals = Totals::default();
    let mut seen = Positions::default();
    for input in &inputs {
        input.read(&[], |batch| {
            signals::check(|| "merge: nothing was written".to_owned())?;
            let new: BooleanArray =
                positions(&batch, input)?.into_iter().map(|at| Some(seen.insert(at))).collect();
            let batch =
                filter_record_batch(&batch, &new).map_err(|why| Error::failed("merge", why))?;
            totals.count(&batch);
            match &origins {
                Some(origins) => sink.write(&origins.add(&batch)?),
                None => sink.write(&batch),
            }
        })?;
    }
    let mut metadata = merged::metadata(&inputs, &coverage);
    if let Some(origins) = &origins {
        origins.describe(&mut metadata);
    }
    let written = sink.finish(&metadata)?;
    if let Some(why) = coverage.faults() {
        log::warn!("{why}");
    }
    let rules = embedded.map(|embedded| embedded.rules).unwrap_or_default();
    print(args, inputs.len(), &coverage, &written, (&rules, &totals))?;
    Ok(Exit::Done)
}

/// Prints the summary, to standard error if the records go to standard output.
fn print(
    args: &Args,
    results: usize,
    coverage: &Coverage,
    written: &Written,
    (rules, totals): (&Rules, &Totals),
) -> Result<()> {
    let text = match args.format {
        Format::Json => json!({
            "results": results,
            "targets": coverage.targets,
            "records": written.rows,
            "missing": coverage.missing.len(),
            "withheld": coverage.withheld.len(),
            "doubled": coverage.doubled.len(),
            "complete": coverage.faults().is_none(),
            "conditions": totals.labels,
            "metrics": numbers::metrics_json(rules, totals),
            "values": numbers::values_json(rules, totals),
            "controls": totals.controls.to_json(&totals.labels),
            "output": written.path.display().to_string(),
        })
        .to_string(),
        Format::Text => {
            let of =
                coverage.targets.map(|targets| format!(" of {}", counted(targets, "target[s]")));
            let mut lines = vec![format!(
                "{}{} from {}",
                counted(written.rows, "record[s]"),
                of.unwrap_or_default(),
                counted(results as u64, "result[s]"),
            )];
            lines.extend(summary::labels(totals));
            lines.extend(numbers::lines(rules, totals));
            let size = HumanBytes(written.bytes);
            lines.push(format!("Results: {} ({size})", written.path.display()));
            lines.join("\n")
        }
    };
    let records_on_stdout = args.output.as_os_str() == "-";
    match args.format {
        Format::Json => page::json(&text, records_on_stdout),
        Format::Text => page::text(&text, records_on_stdout),
    }
}
