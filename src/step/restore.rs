//! Undoes what killed runs left.
//!
//! Only changes in this network namespace are ever undone, and only while this process holds the slot of the run that left
//! them. Changes in a namespace that is gone are dropped and reported.

use std::path::Path;
use std::time::Duration;

use super::journal::{Found, Mark, Read};
use super::kind::Recovered;
use super::lock::{self, Lock, Run};
use super::namespace::{Kinship, Namespace};
use super::state::Folder;
use super::undo::Undo;
use crate::barrier::panic_point;
use crate::error::Result;

/// What to do with the changes of killed runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing: only report them.
    List,
    /// Undo them, but keep what another program changed in the meantime.
    Restore,
    /// Undo them, whatever changed in the meantime.
    Force,
    /// Leave them as they are, and forget about them.
    Forget,
}

/// A change that a run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The run that left it; `None` if the journal cannot be read.
    pub run: Option<Run>,
    /// The key of the step: `sysctl`, `netfilter`, `route` or `command`; `journal` if it cannot be read.
    pub kind: &'static str,
    /// What was done, or is to be done, or why it was not done.
    pub what: String,
}

/// The changes of killed runs, and what became of them.
#[derive(Debug, Default)]
pub struct Report {
    /// Still in place, since only a list was requested.
    pub left: Vec<Item>,
    /// Undone.
    pub restored: Vec<Item>,
    /// Changed by another program in the meantime, and kept.
    pub kept: Vec<Item>,
    /// Could not be undone.
    pub failed: Vec<Item>,
    /// Forgotten: the network namespace is gone, or the user said so.
    pub dropped: Vec<Item>,
    /// Left in another network namespace, where they can be undone.
    pub elsewhere: Vec<Item>,
    /// Active runs, whose changes are in force.
    pub active: Vec<Run>,
}

/// Reads every journal in the folder that the user chose, or in all places where they may be, and treats its changes as
/// `how` says. The slots of `held` are ours already; others are taken for a moment if they are free. Once `stop` returns
/// true, no further change is begun: those that are not undone yet are in [`Report::left`].
///
/// # Errors
/// If the chosen folder cannot be trusted. The failure of a single change is in the report.
pub fn leftovers(
    chosen: Option<&Path>,
    held: Option<&Lock>,
    how: How,
    stop: &dyn Fn() -> bool,
) -> Result<Report> {
    let mut report = Report::default();
    let mut journals = Vec::new();
    for folder in Folder::existing(chosen)? {
        for found in Found::all(folder)? {
            match found.read() {
                Ok(read) => journals.push((found, read)),
                Err(why) => report.failed.push(Item {
                    run: None,
                    kind: "journal",
                    what: format!("{why}; if it is useless, remove it"),
                }),
            }
        }
    }
    if journals.is_empty() {
        return Ok(report);
    }
    let here = Namespace::current()?;
    let this = Run::this("restore")?;
    // The last change is undone first.
    journals.sort_by_key(|(_, read)| {
        let run = read.as_ref().map(|read| &read.header.run);
        std::cmp::Reverse(run.map(|run| (run.since, run.started)))
    });
    for (found, read) in journals {
        // An incomplete one has no changes, and a run may just be beginning it.
        let Some(read) = read else { continue };
        match here.kinship(&read.header.namespace) {
            Kinship::Other => report.elsewhere.extend(items(&read, |undo| undo.describe())),
            Kinship::Gone(why) => {
                let what = |undo: &Undo| format!("{}: not done, {why}", undo.describe());
                report.dropped.extend(items(&read, what));
                if how != How::List {
                    found.remove()?;
                }
            }
            Kinship::Same => of_here(&mut report, found, &read, (held, &this), (how, stop))?,
        }
    }
    Ok(report)
}

/// Treats the changes in a journal of this namespace.
fn of_here(
    report: &mut Report,
    found: Found,
    read: &Read,
    (held, this): (Option<&Lock>, &Run),
    (how, stop): (How, &dyn Fn() -> bool),
) -> Result<()> {
    let slot = read.header.slot;
    let taken = match held.is_some_and(|lock| lock.holds(slot)) {
        true => None,
        false => match Lock::slot(this, slot)? {
            Some(lock) => Some(lock),
            None => {
                let holder = lock::holder(slot);
                let its = |run: &Run| {
                    (run.pid, run.started) == (read.header.run.pid, read.header.run.started)
                };
                match holder.filter(its) {
                    Some(_) => report.active.push(read.header.run.clone()),
                    None if how == How::List => {
                        report.left.extend(items(read, |undo| undo.describe()))
                    }
                    None => report.failed.extend(items(read, |undo| {
                        format!("{}: a run is active; try again when it has ended", undo.describe())
                    })),
                }
                return Ok(());
            }
        },
    };
    match how {
        How::List => report.left.extend(items(read, |undo| undo.describe())),
        _ => recover(report, found, read, how, stop)?,
    }
    drop(taken);
    Ok(())
}

/// Undoes the changes in a journal, the last one first.
fn recover(
    report: &mut Report,
    found: Found,
    read: &Read,
    how: How,
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    let header = &read.header;
    let patience = read.unsettled.and_then(|n| read.open.get(&n)).map(|undo| undo.patience());
    if let Some(most) = patience.filter(|most| *most > Duration::ZERO) {
        match lock::wait_for_programs(&header.run, header.slot, most) {
            Ok(true) => {}
            Ok(false) => {
                log::warn!("a program of the killed run {} is still working", header.run.pid)
            }
            Err(why) => log::warn!("wait for programs of the killed run {}: {why}", header.run.pid),
        }
    }
    // If this process is killed too, the next one waits for its programs.
    let _busy = lock::stand_in(&header.run, header.slot);
    let path = found.path();
    let journal = found.resume(read)?;
    for (n, undo) in read.open.iter().rev() {
        let item = |what| Item { run: Some(header.run.clone()), kind: undo.def().kind, what };
        if stop() {
            report.left.push(item(undo.describe()));
            continue;
        }
        panic_point("restore");
        if how == How::Forget {
            journal.note(*n, Mark::Undone);
            report.dropped.push(item(format!("{}: not done, as you said", undo.describe())));
            continue;
        }
        journal.note(*n, Mark::Undo);
        match undo.recover(how == How::Force) {
            Ok(Recovered::Done(what) | Recovered::Nothing(what)) => {
                log::info!("{path}: {what}");
                journal.note(*n, Mark::Undone);
                report.restored.push(item(what));
            }
            Ok(Recovered::Kept(what)) => report.kept.push(item(what)),
            Err(why) => report.failed.push(item(format!("{}: {why}", undo.describe()))),
        }
    }
    Ok(())
}

fn items(read: &Read, what: impl Fn(&Undo) -> String) -> Vec<Item> {
    let item = |undo: &Undo| Item {
        run: Some(read.header.run.clone()),
        kind: undo.def().kind,
        what: what(undo),
    };
    read.open.values().rev().map(item).collect()
}
