//! `pathspider report`: a page about results.

use std::io::Write as _;
use std::path::PathBuf;

use super::options::package::Package;
use super::signals;
use crate::analysis::account::Origins;
use crate::analysis::compare::Comparison;
use crate::analysis::vantage::Vantages;
use crate::analysis::{Account, Source};
use crate::as_table::AsTable;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::report::page as output;
use crate::sink::Temporary;
use crate::webpage;

/// Write a report of results: one page of HTML that needs nothing else
///
/// The page has the labels with their intervals and false alarms, the networks that stand out, what was lost, a methods
/// text, the measurement and its provenance. It loads nothing and runs no script. Every table has its numbers' SQL for
/// DuckDB. Sends nothing and changes no result.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results of runs: .parquet files, or folders of parts; several that are no comparison belong to one run or sharded run
    #[arg(value_name = "RESULTS", required = true)]
    results: Vec<PathBuf>,

    /// Where the page goes, - for standard output [default: NAME.report.html, next to the first result]
    #[arg(short, long, value_name = "PAGE.html")]
    output: Option<PathBuf>,

    /// A label to break down by network and by the list's columns, instead of `broken` of each condition; may be repeated
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,

    /// A table of networks and their origin ASes (CAIDA pfx2as, pyasn, MaxMind mmdb), for the affected targets by AS
    #[arg(long, value_name = "FILE", conflicts_with_all = ["compare", "vantage"])]
    as_table: Option<PathBuf>,

    /// Compare two results of the same measurement over the same targets: the first is before, the second after
    #[arg(long, conflicts_with_all = ["vantage", "label"])]
    compare: bool,

    /// Compare results of the same measurement from several vantage points: which labels depend on the path
    #[arg(long, conflicts_with = "label")]
    vantage: bool,

    #[command(flatten)]
    package: Package,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    signals::catch(false)?;
    if args.package.write(&args.results)? {
        return Ok(Exit::Done);
    }
    let sources: Vec<Source> =
        args.results.iter().map(|path| Source::open(path)).collect::<Result<_>>()?;
    let page = if args.compare {
        webpage::comparison(&Comparison::of(&sources)?)
    } else if args.vantage {
        webpage::vantages(&Vantages::of(&sources)?)
    } else {
        together(&sources)?;
        let table = args.as_table.as_deref().map(AsTable::open).transpose()?;
        let origins = |ip| table.as_ref().and_then(|table| joined(table.origins(ip)));
        let origins: Option<Origins<'_>> = table.is_some().then_some(&origins);
        webpage::of_account(&Account::of(&sources, &args.label, origins)?)
    };
    let html = page.html()?;
    let path = match &args.output {
        Some(path) if path.as_os_str() == "-" => {
            output::print_own(&html)?;
            return Ok(Exit::Done);
        }
        Some(path) => path.clone(),
        None => next_to(&args.results),
    };
    let file = Temporary::create(&path)?;
    file.writer()?.write_all(html.as_bytes()).doing(|| format!("write {}", path.display()))?;
    file.keep()?;
    output::tell(&format!("Report: {}", path.display()));
    Ok(Exit::Done)
}

/// Fails unless the results are of one run or sharded run.
fn together(sources: &[Source]) -> Result<()> {
    let Some((first, others)) = sources.split_first() else { return Ok(()) };
    for other in others {
        for (key, what) in [
            ("measurement_sha256", "measurement"),
            ("params", "values of params"),
            ("targets_sha256", "target list"),
        ] {
            if first.value(key) != other.value(key) {
                return Err(Error::Usage(format!(
                    "report: {} and {} are not of one run: they differ in their {what}; compare them with --compare or --vantage",
                    first.path().display(),
                    other.path().display()
                )));
            }
        }
    }
    Ok(())
}

/// All origins of a network: `64496`, or `64496_64497`.
fn joined(origins: &[u32]) -> Option<String> {
    let origins: Vec<String> = origins.iter().map(u32::to_string).collect();
    (!origins.is_empty()).then(|| origins.join("_"))
}

/// `NAME.report.html`, next to the first result.
fn next_to(results: &[PathBuf]) -> PathBuf {
    let first = results.first().cloned().unwrap_or_default();
    first.with_extension("report.html")
}
