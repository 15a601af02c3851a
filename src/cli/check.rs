//! `pathspider check`: reports every mistake of every file.

use std::io;
use std::path::{Path, PathBuf};

use arrow_schema::Fields;

use crate::cli::options::columns::FixedColumns;
use crate::cli::options::lab::unknown_labels;
use crate::error::{Doing as _, Error, Exit, Report, Result};
use crate::lab;
use crate::measurement::{self, Plan, SHIPPED};
use crate::printable;
use crate::report::format::Format;
use crate::report::page;
use crate::step::{Inspection, ThisHost};
use crate::targets::Reader;
use crate::words::counted;

/// Check measurement, lab and campaign files: report every mistake with its place and its remedy
///
/// Changes nothing and opens no socket. Besides the file itself, it checks what the steps need on this host: kernel
/// parameters, congestion controls, programs, and, with `nft -c`, whether nftables accepts the rules. Exits with 0 if all
/// files are correct, with 2 otherwise. A warning (W0403) is about a file that can be run but probably does not measure
/// what its author means; it does not change the exit code.
///
/// With --format json each mistake is a JSON object on a line of its own: file, severity, code, line, column,
/// end_line, end_column, message, label, help. Lines and columns count from 1, columns in
/// characters; the end is the first character after the mistake. `pathspider explain CODE` explains a
/// code.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, folders (every .toml in and below them), or names such as `ecn`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// A target list whose columns the conditions may use, such as target.rank
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    /// Check only the files, not what they need on this host: for measurements that run elsewhere
    #[arg(long)]
    file_only: bool,
    #[command(flatten)]
    columns: FixedColumns,

    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let columns = target_columns(args.targets.as_deref(), &args.columns)?;
    let mut exit = Exit::Done;
    let mut named = Vec::new();
    for file in &args.files {
        match files(file) {
            Ok(files) => named.extend(files),
            Err(error) => {
                crate::cli::report(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    // Check each file once, even if it is named several times.
    let mut seen = std::collections::HashSet::new();
    named.retain(|name| seen.insert(name.clone()));
    for name in &named {
        let outcome = measurement::find(name).and_then(|(origin, text)| {
            if lab::is_lab(&text) {
                return lab_file(&origin, &text, args.format);
            }
            #[cfg(feature = "fleet")]
            if let Some(checked) = fleet_file(&origin, &text) {
                let what = checked?;
                if args.format == Format::Text {
                    page::print(&format!("{}: ok: {what}\n", printable::line(&origin)))?;
                }
                return Ok(Exit::Done);
            }
            let checked = Plan::load(&origin, &text, &columns);
            let (checked, unchecked) = match checked {
                Ok(plan) if !args.file_only => on_this_host(plan, &origin),
                other => (other, Vec::new()),
            };
            let page = report_of(&origin, checked.as_ref(), args.format);
            match args.format {
                Format::Text => page::print_page(&page)?,
                Format::Json => page::print_json_lines(&page)?,
            }
            if args.format == Format::Text {
                let not_checked = |what| format!("{origin}: not checked: {what}\n");
                page::print(&unchecked.iter().map(not_checked).collect::<String>())?;
            }
            Ok(if checked.is_ok() { Exit::Done } else { Exit::BadInput })
        });
        exit = exit.max(match outcome {
            Ok(exit) => exit,
            Err(error) => {
                crate::cli::report_as(&error, args.format)?;
                error.exit()
            }
        });
    }
    Ok(exit)
}

/// Every mistake of a lab's file, of its truth about the built-in measurements too.
pub fn mistakes_of_lab(origin: &str, text: &str) -> Result<Report> {
    let mut report = match lab::Spec::parse(origin, text) {
        Ok(_) => Report::new(origin, text, Vec::new()),
        Err(Error::File(report)) => *report,
        Err(other) => return Err(other),
    };
    let measured = lab::measured(text);
    for (name, measurement) in SHIPPED.iter().filter(|(name, _)| measured.contains(*name)) {
        let plan = Plan::load(name, measurement, &Fields::empty())?;
        report.diagnostics.extend(unknown_labels(text, &plan));
    }
    report.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    Ok(report)
}

/// Checks a campaign file or that of an agent's owner; says what it is. `None` if it is neither.
#[cfg(feature = "fleet")]
pub fn fleet_file(origin: &str, text: &str) -> Option<Result<String>> {
    use crate::fleet::campaign::{Campaign, is_campaign};
    use crate::fleet::policy::{Policy, is_policy};

    if is_campaign(text) {
        return Some(
            Campaign::parse(origin, text).map(|campaign| format!("the campaign {}", campaign.name)),
        );
    }
    is_policy(text)
        .then(|| Policy::parse(origin, text).map(|_| "what the owner of an agent allows".into()))
}

/// Checks a lab's file.
fn lab_file(origin: &str, text: &str, format: Format) -> Result<Exit> {
    let report = mistakes_of_lab(origin, text)?;
    match format {
        Format::Text if report.diagnostics.is_empty() => {
            page::print(&format!("{}: ok: a lab\n", printable::line(origin)))?;
        }
        Format::Text => page::print_page(&report_of(origin, Err(&report), format))?,
        Format::Json => page::print_json_lines(&report.json_lines())?,
    }
    Ok(if report.diagnostics.is_empty() { Exit::Done } else { Exit::BadInput })
}

/// The measurement, if this host can run it, and what could not be checked.
fn on_this_host(plan: Plan, origin: &str) -> (Result<Plan, Report>, Vec<String>) {
    let Inspection { problems, unchecked } = plan.inspect(&ThisHost { sockets: false });
    match problems.is_empty() {
        true => (Ok(plan), unchecked),
        false => (Err(plan.report(origin, problems)), unchecked),
    }
}

/// The columns of a target list; without one, those of every list.
pub fn target_columns(list: Option<&Path>, fixed: &FixedColumns) -> Result<Fields> {
    let reader = match list {
        // The columns are known even if ports are given later.
        Some(list) => Reader::open(list, fixed.options(Some(1)))?,
        None => Reader::from_targets(Vec::new()),
    };
    Ok(reader.fields())
}

/// The report about one file.
fn report_of(origin: &str, checked: Result<&Plan, &Report>, format: Format) -> String {
    let (report, title) = match checked {
        Ok(plan) => (&plan.warnings(origin), Some(&plan.title)),
        Err(report) => (report, None),
    };
    if format == Format::Json {
        return report.json_lines();
    }
    let warnings = report.diagnostics.iter().filter(|diagnostic| !diagnostic.is_error()).count();
    let mistakes = report.diagnostics.len() - warnings;
    let several = |count: usize, what| (count > 0).then(|| counted(count as u64, what));
    let counts = [several(mistakes, "mistake[s]"), several(warnings, "warning[s]")];
    let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let rendered = match report.diagnostics.is_empty() {
        true => String::new(),
        false => report.render(page::colors(&io::stdout())) + "\n",
    };
    let origin = printable::line(origin);
    let title = title.map(|title| printable::line(title));
    match title {
        Some(title) if counts.is_empty() => format!("{origin}: ok: {title}\n"),
        Some(title) => format!("{rendered}{origin}: ok, {counts}: {title}\n"),
        None => format!("{rendered}{origin}: {counts}\n"),
    }
}

/// The measurements named by a word of the command line: a file, or the files of a folder.
fn files(word: &str) -> Result<Vec<String>> {
    let path = Path::new(word);
    if !path.is_dir() {
        return Ok(vec![word.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("read the folder {}", folder.display());
        for entry in std::fs::read_dir(&folder).doing(reading)? {
            let entry = entry.doing(reading)?;
            let path = entry.path();
            // Do not follow links to folders: they may form loops.
            if entry.file_type().doing(reading)?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml")
                && path.is_file()
            {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(Error::Usage(format!("there is no .toml file in the folder {word}"))),
        false => Ok(found),
    }
}
