//! `pathspider report`: a page about results.

use std::io::Write as _;
use std::path::PathBuf;

use super::signals;
use crate::analysis::{Account, Source};
use crate::error::{Doing as _, Exit, Result};
use crate::report::page;
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

    /// Compare two results of the same measurement over the same targets: the first is before, the second after
    #[arg(long, conflicts_with_all = ["vantage", "label"])]
    compare: bool,

    /// Compare results of the same measurement from several vantage points: which labels depend on the path
    #[arg(long, conflicts_with = "label")]
    vantage: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    signals::catch(false)?;
    let sources: Vec<Source> =
        args.results.iter().map(|path| Source::open(path)).collect::<Result<_>>()?;
    let account = Account::of(&sources, &args.label, None)?;
    let html = webpage::of_account(&account).html()?;
    let path = match &args.output {
        Some(path) if path.as_os_str() == "-" => {
            page::print_own(&html)?;
            return Ok(Exit::Done);
        }
        Some(path) => path.clone(),
        None => beside(&args.results),
    };
    let file = Temporary::create(&path)?;
    file.writer()?.write_all(html.as_bytes()).doing(|| format!("write {}", path.display()))?;
    file.keep()?;
    page::tell(&format!("Report: {}", path.display()));
    Ok(Exit::Done)
}

/// `NAME.report.html`, next to the first result.
fn beside(results: &[PathBuf]) -> PathBuf {
    let first = results.first().cloned().unwrap_or_default();
    first.with_extension("report.html")
}
