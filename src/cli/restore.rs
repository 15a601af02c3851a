//! `pathspider restore`: restores what killed runs changed.

use serde_json::{Value, json};

use super::options::rights::Rights;
use super::options::state::State;
use super::signals;
use crate::error::{Exit, Result};
use crate::privilege;
use crate::report::format::Format;
use crate::report::page;
use crate::run::host::{describe_change, describe_run};
use crate::step::Run;
use crate::step::restore::{self, How, Item, Report};

/// Restore settings that killed runs changed in this network namespace
///
/// Every change to the host is written to a journal on disk before it is made. A run restores its changes itself, even
/// if it fails or is interrupted; only kill -9 can leave changes behind. The next run restores them before it starts, or
/// this command does. Exits with 1 if a change could not be restored, or was kept because another program changed the
/// setting since.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only list what is left; change nothing, and exit with 0
    #[arg(long)]
    list: bool,

    /// Restore the old value even if another program changed the setting since
    #[arg(long, conflicts_with = "list")]
    force: bool,

    /// Restore nothing, and drop the changes from the journal
    #[arg(long, conflicts_with_all = ["list", "force"])]
    forget: bool,

    #[command(flatten)]
    state: State,

    #[command(flatten)]
    rights: Rights,

    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    privilege::hold(args.rights.user.as_deref(), false)?;
    let how = match (args.list, args.force, args.forget) {
        (true, ..) => How::List,
        (_, true, _) => How::Force,
        (.., true) => How::Forget,
        _ => How::Restore,
    };
    signals::catch(false)?;
    let stop = || signals::came().is_some();
    let report = restore::leftovers(args.state.folder.as_deref(), None, how, &stop)?;
    match args.format {
        Format::Text => page::print(&text(&report))?,
        Format::Json => page::print_json(&as_json(&report))?,
    }
    if how != How::List && !report.left.is_empty() {
        return signals::check(|| "restore: some changes remain, see above; run it again".into())
            .map(|()| Exit::Failed);
    }
    let stays = report.kept.len() + report.failed.len();
    Ok(if how == How::List || stays == 0 { Exit::Done } else { Exit::Failed })
}

fn groups(report: &Report) -> [(&'static str, &Vec<Item>); 6] {
    [
        ("left", &report.left),
        ("restored", &report.restored),
        ("kept", &report.kept),
        ("failed", &report.failed),
        ("dropped", &report.dropped),
        ("elsewhere", &report.elsewhere),
    ]
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for (name, items) in groups(report) {
        for item in items {
            text += &format!("{name}: {}\n", describe_change(item));
        }
    }
    for run in &report.active {
        text += &format!("in progress: {}\n", describe_run(run));
    }
    if !report.kept.is_empty() {
        text += "--force restores what was kept, --forget drops it from the journal\n";
    }
    if !report.elsewhere.is_empty() {
        text += "changes in another network namespace must be restored from within it\n";
    }
    if text.is_empty() { "nothing is left of killed runs\n".into() } else { text }
}

fn as_json(report: &Report) -> Value {
    let item = |item: &Item| json!({ "kind": item.kind, "what": item.what, "run": item.run.as_ref().map(run_json) });
    let groups = groups(report)
        .map(|(name, items)| (name.to_owned(), Value::Array(items.iter().map(item).collect())));
    let under_way = Value::Array(report.active.iter().map(run_json).collect());
    groups
        .into_iter()
        .chain([("under_way".to_owned(), under_way)])
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn run_json(run: &Run) -> Value {
    json!({ "measurement": run.measurement, "pid": run.pid, "since": run.since_utc() })
}
