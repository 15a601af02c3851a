//! Steps in force: applied in order, undone in reverse order.
//!
//! What undoes a change is known, as plain data ([`Undo`]), before the change is made.

use std::collections::BTreeSet;

use super::failure::Failure;
use super::journal::{Journal, Mark};
use super::kind::{Change, Flows, INCOMPLETE, Place, Recovered, Together};
use super::kinds::Step;
use super::lock::Run;
use super::process::CommandOutput;
use super::slot::Slot;
use super::undo::Undo;
use crate::error::{Error, Result};

/// What is needed to apply steps, besides the steps.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The device that sockets are bound to; without it routes are as in the main table.
    pub interface: Option<String>,
    /// Whether programs may be run.
    pub allow_commands: bool,
    /// The slot of this run in its network namespace.
    pub slot: Slot,
    /// Where changes are recorded before they are made; without it they stay if the process is killed.
    pub journal: Option<Journal>,
}

/// Whether what the steps need besides privileges is available: the program `nft`, and the permission to run commands.
/// Changes nothing.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn check<'a>(steps: impl IntoIterator<Item = &'a Step>, context: &Context) -> Result<()> {
    steps.into_iter().try_for_each(|step| step.kind().check(context.allow_commands))
}

/// The steps of these configurations, which are in force together.
pub(super) fn together<'a>(
    configurations: &[(&'a [Step], &Flows)],
    (interface, slot, run): (Option<&'a str>, Slot, &'a Run),
) -> Together<'a> {
    let mut steps = Vec::new();
    for (configuration, (its, _)) in configurations.iter().enumerate() {
        let numbered = its.iter().enumerate();
        steps.extend(numbered.map(|(number, step)| ((configuration, number), step.kind())));
    }
    let flows = configurations.iter().map(|(_, flows)| **flows).collect();
    Together { flows, steps, interface, slot, run }
}

/// The changes that these steps stand for, in order, each with its first step.
fn changes(together: &Together<'_>) -> Vec<(Place, Box<dyn Change>)> {
    let mut groups = BTreeSet::new();
    let mut changes = Vec::new();
    for (place, step) in &together.steps {
        let first = step.def().group.is_none_or(|group| groups.insert(group));
        let change = if first { step.change(together) } else { None };
        changes.extend(change.map(|change| (*place, change)));
    }
    changes
}

/// Why steps could not be applied. They are undone.
pub(super) struct Refused {
    /// The step that failed, if one did.
    pub step: Option<Place>,
    /// Why.
    pub why: Error,
}

impl From<Error> for Refused {
    fn from(why: Error) -> Self {
        Refused { step: None, why }
    }
}

/// How often a change is tried while what it is derived from changes.
const TRIES: usize = 5;

/// A change that was made.
#[derive(Debug)]
struct Made {
    undo: Undo,
    /// Its number in the journal.
    number: Option<u64>,
    /// What the host had of it right after it was made.
    seen: Option<String>,
}

/// The steps that are in force.
#[derive(Debug, Default)]
pub struct Applied {
    made: Vec<Made>,
    journal: Option<Journal>,
    outputs: Vec<CommandOutput>,
}

impl Applied {
    /// Applies the steps of these configurations, which are then in force together, in order. Socket options are left to
    /// the owner of the sockets.
    ///
    /// # Errors
    /// If a step fails, it and those before it are undone; if that fails too, both are reported. A missing program or
    /// permission is reported before anything is changed.
    pub fn apply(configurations: &[(&[Step], &Flows)], context: &Context) -> Result<Self> {
        Self::try_apply(configurations, context).map_err(|refused| refused.why)
    }

    /// [`apply`](Self::apply), whose error names the step.
    pub(super) fn try_apply(
        configurations: &[(&[Step], &Flows)],
        context: &Context,
    ) -> Result<Self, Refused> {
        check(configurations.iter().flat_map(|(steps, _)| *steps), context)?;
        let mut applied =
            Self { made: Vec::new(), journal: context.journal.clone(), outputs: Vec::new() };
        let run = match &context.journal {
            Some(journal) => journal.run().clone(),
            None => Run::this("")?,
        };
        let around = (context.interface.as_deref(), context.slot, &run);
        for (step, change) in changes(&together(configurations, around)) {
            if let Err(why) = applied.make(change) {
                let why = match applied.undo_all() {
                    Ok(()) => why,
                    Err(more) => Error::Failed(format!(
                        "{why}; then, while undoing what was done: {more}; the host is not as it was found"
                    )),
                };
                return Err(Refused { step: Some(step), why });
            }
        }
        Ok(applied)
    }

    /// What the programs of `command` steps printed while these steps were applied, in order.
    pub fn outputs(&self) -> &[CommandOutput] {
        &self.outputs
    }

    /// Undoes the steps, last first. All are tried; the first failure is reported.
    ///
    /// # Errors
    /// The first failure.
    pub fn undo(mut self) -> Result<()> {
        self.undo_all()
    }

    /// Which of these steps are not as they were made, in words: another program has changed them.
    ///
    /// # Errors
    /// If one cannot be looked at.
    pub fn altered(&self) -> Result<Vec<String>> {
        let altered = self.made.iter().map(|made| made.undo.altered(made.seen.as_deref()));
        altered.filter_map(Result::transpose).collect()
    }

    /// Undoes the steps, last first, and returns what was not as it was made. That is not an error: what another program
    /// has set is kept as it is, also if it did so only after it was looked at.
    ///
    /// # Errors
    /// The first failure.
    pub fn leave(mut self) -> Result<Vec<String>> {
        let mut outcome = self.altered();
        while let Some(Made { undo, number, .. }) = self.made.pop() {
            self.note(number, Mark::Undo);
            match (undo.recover(false), &outcome) {
                (Err(why), Ok(_)) => outcome = Err(why),
                (Err(why), Err(_)) => log::error!("the host is not as it was found: {why}"),
                (Ok(recovered), _) => {
                    if let Recovered::Kept(what) = recovered {
                        log::warn!("{what}");
                    }
                    self.note(number, Mark::Undone);
                }
            }
        }
        outcome
    }

    /// Makes a change, and repeats it if it failed because what it is derived from has changed.
    fn make(&mut self, mut change: Box<dyn Change>) -> Result<()> {
        let undo = change.prepare()?.map(Undo);
        for _ in 1..TRIES {
            let Err(why) = self.try_once(&mut *change, undo.clone()) else { return Ok(()) };
            if !change.must_retry()? {
                return Err(why);
            }
            log::info!("trying again, since the host changed in the meantime: {why}");
        }
        self.try_once(&mut *change, undo)
    }

    /// Makes a change, after what undoes it has been recorded.
    fn try_once(&mut self, change: &mut dyn Change, undo: Option<Undo>) -> Result<()> {
        let Some(undo) = undo else {
            let output = change.make().map_err(Failure::into_error)?;
            self.outputs.extend(output);
            return Ok(());
        };
        let number = self.journal.as_ref().map(|journal| journal.make(&undo)).transpose()?;
        self.made.push(Made { undo, number, seen: None });
        let outcome = change.make().map(|output| self.outputs.extend(output));
        if let (Ok(()), Some(made)) = (&outcome, self.made.last_mut()) {
            made.seen = made.undo.verify()?;
            // Another program has removed a part already: the next comparison reports it.
            if made.seen.as_deref().is_some_and(|seen| !change.is_whole(seen)) {
                made.seen = Some(INCOMPLETE.to_owned());
            }
        }
        if matches!(outcome, Err(Failure::Unchanged(_))) {
            self.made.pop();
            self.note(number, Mark::Undone);
        } else {
            self.note(number, Mark::Made);
        }
        outcome.map_err(Failure::into_error)
    }

    fn note(&self, number: Option<u64>, mark: Mark) {
        if let (Some(journal), Some(number)) = (&self.journal, number) {
            journal.note(number, mark);
        }
    }

    fn undo_all(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(Made { undo, number, .. }) = self.made.pop() {
            self.note(number, Mark::Undo);
            match (undo.run(), &outcome) {
                (Err(why), Ok(())) => outcome = Err(why),
                (Err(why), Err(_)) => log::error!("the host is not as it was found: {why}"),
                (Ok(()), _) => self.note(number, Mark::Undone),
            }
        }
        outcome
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        if let Err(why) = self.undo_all() {
            log::error!("the host is not as it was found: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Setting;
    use crate::step::kinds::command::Command;
    use crate::step::kinds::netfilter::Netfilter;
    use crate::step::kinds::route::Route;
    use crate::step::slot::mark;

    fn flows(number: usize) -> Flows {
        Flows { mark: mark(number) }
    }

    #[test]
    fn a_command_without_permission_stops_everything_before_it_begins() {
        let steps = [
            Step::sysctl("net.ipv4.tcp_no_such", "1"),
            Step::Command(Command { run: vec!["true".into()], ..Command::default() }),
        ];
        let flows = flows(0);
        let error = Applied::apply(&[(&steps, &flows)], &Context::default()).unwrap_err();
        let Error::NeedsSetting { operation, setting } = &error else { panic!("{error}") };
        assert_eq!(*setting, Setting::AllowCommands);
        assert!(operation.starts_with("run the program true"), "{error}");
    }

    #[test]
    fn rules_and_routes_of_all_configurations_are_one_change_each() {
        let rule =
            |rule: &str| Step::Netfilter(Netfilter { rule: rule.into(), ..Netfilter::default() });
        let zero = [rule("drop"), Step::HoldReset, Step::Route(Route::default())];
        let one =
            [Step::sysctl("net.ipv4.tcp_ecn", "1"), rule("drop"), Step::Route(Route::default())];
        let (f0, f1) = (flows(0), flows(1));
        let run = Run::this("x").unwrap();
        let all = [(&zero[..], &f0), (&one[..], &f1)];
        let changes = changes(&together(&all, (None, Slot::default(), &run)));
        let places: Vec<Place> = changes.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [(0, 0), (0, 2), (1, 0)]);
    }
}
