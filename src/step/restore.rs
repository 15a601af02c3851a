//! Putting back what runs left that were killed.
//!
//! Only what was left in this network namespace is ever touched, and only while the slot of the run
//! that left it is ours. What was left in a namespace that is gone is dropped and told.

use std::path::Path;
use std::time::Duration;

use super::applied::{Recovered, Undo};
use super::journal::{Found, Mark, Read};
use super::lock::{self, Lock, Run};
use super::namespace::{Kinship, Namespace};
use super::state::Folder;
use crate::barrier::panic_point;
use crate::error::Result;

/// What to do with what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing: it is only told.
    List,
    /// Put it back, but keep what another program changed meanwhile.
    Restore,
    /// Put it back, whatever changed meanwhile.
    Force,
    /// Leave it as it is, and forget about it.
    Forget,
}

/// One change that a run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Who left it; `None` if the journal cannot be read.
    pub run: Option<Run>,
    /// The key of the step: `sysctl`, `netfilter`, `route` or `command`; `journal` if it cannot be read.
    pub kind: &'static str,
    /// What was done, or is to be done, or why it was not.
    pub what: String,
}

/// What was left, and what became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Is left still, since only a list was asked for.
    pub left: Vec<Item>,
    /// Is as it was before.
    pub restored: Vec<Item>,
    /// Was changed by another program meanwhile, and is left.
    pub kept: Vec<Item>,
    /// Could not be put back.
    pub failed: Vec<Item>,
    /// Is forgotten: its network namespace is gone, or the user said so.
    pub dropped: Vec<Item>,
    /// Was left in another network namespace, where it can be put back.
    pub elsewhere: Vec<Item>,
    /// Runs that are under way, whose changes are in force.
    pub under_way: Vec<Run>,
}

/// Looks at every journal in the folder that the user chose, or in those where they may be, and does
/// with what is left as told. Slots of the lock are ours already; others are taken for a moment, if
/// they are free. Once `stop` says so, no further change is begun: what is not undone yet is in
/// [`Report::left`].
///
/// # Errors
/// If the chosen folder cannot be trusted. What goes wrong with one change is in the report.
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
                    what: format!("{why}; if it is of no use, remove it"),
                }),
            }
        }
    }
    if journals.is_empty() {
        return Ok(report);
    }
    let here = Namespace::current()?;
    let this = Run::this("restore")?;
    // What was changed last is put back first.
    journals.sort_by_key(|(_, read)| {
        let run = read.as_ref().map(|read| &read.header.run);
        std::cmp::Reverse(run.map(|run| (run.since, run.started)))
    });
    for (found, read) in journals {
        // One that was only begun tells nothing, and may be the one that a run begins just now.
        let Some(read) = read else { continue };
        match here.kinship(&read.header.namespace) {
            Kinship::Other => report.elsewhere.extend(items(&read, Undo::describe)),
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

/// What a journal of this namespace tells of.
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
                    Some(_) => report.under_way.push(read.header.run.clone()),
                    None if how == How::List => report.left.extend(items(read, Undo::describe)),
                    None => report.failed.extend(items(read, |undo| {
                        format!("{}: a run is under way; try again at its end", undo.describe())
                    })),
                }
                return Ok(());
            }
        },
    };
    match how {
        How::List => report.left.extend(items(read, Undo::describe)),
        _ => recover(report, found, read, how, stop)?,
    }
    drop(taken);
    Ok(())
}

/// Puts back what a journal tells of, the last change first.
fn recover(
    report: &mut Report,
    found: Found,
    read: &Read,
    how: How,
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    let header = &read.header;
    let patience = read.unsettled.and_then(|n| read.open.get(&n)).map(Undo::patience);
    if let Some(most) = patience.filter(|most| *most > Duration::ZERO) {
        match lock::wait_for_programs(&header.run, header.slot, most) {
            Ok(true) => {}
            Ok(false) => {
                log::warn!("a program of the killed run {} is still at work", header.run.pid)
            }
            Err(why) => log::warn!("wait for programs of the killed run {}: {why}", header.run.pid),
        }
    }
    // Should this be killed too, the next one waits for our programs.
    let _busy = lock::stand_in(&header.run, header.slot);
    let path = found.path();
    let journal = found.resume(read)?;
    for (n, undo) in read.open.iter().rev() {
        let item = |what| Item { run: Some(header.run.clone()), kind: undo.kind(), what };
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
        kind: undo.kind(),
        what: what(undo),
    };
    read.open.values().rev().map(item).collect()
}
