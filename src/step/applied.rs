//! Steps in force: put there in order, undone in the opposite one.
//!
//! What it takes to undo a change is known, as plain data ([`Undo`]), before the change is made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journal::{Journal, Mark};
use super::lock::Run;
use super::netfilter::{Script, Table};
use super::process::{self, CommandOutput};
use super::route::Route;
use super::slot::Slot;
use super::sysctl::Setting;
use super::table::Tables;
use super::tool::{IP, NFT};
use super::{Command, Step, command};
use crate::error::{Error, Result};

/// Whose the packets of a configuration are: what its scoped steps match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flows {
    /// The firewall mark of every socket of it, [`Slot::mark`].
    pub mark: u32,
}

/// What is needed to apply steps beside themselves.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The device that sockets are bound to; without it routes are as the main table has them.
    pub interface: Option<String>,
    /// Whether programs may be run.
    pub allow_commands: bool,
    /// The place of this run among others of its network namespace.
    pub slot: Slot,
    /// Where changes are written down before they are made; without it they are lost if the process
    /// is killed.
    pub journal: Option<Journal>,
}

/// Whether a configuration's packets must carry its mark (SO_MARK needs CAP_NET_ADMIN or
/// CAP_NET_RAW): some step of it is netfilter or route, or
/// holds back resets.
pub fn needs_mark(steps: &[Step]) -> bool {
    let marks = |step: &Step| matches!(step, Step::Netfilter(_) | Step::Route(_) | Step::HoldReset);
    steps.iter().any(marks)
}

/// Whether what the steps need beside privileges is there: the programs `nft` and `ip`, and the
/// permission to run commands. Changes nothing.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn check<'a>(steps: impl IntoIterator<Item = &'a Step>, context: &Context) -> Result<()> {
    for step in steps {
        match step {
            Step::Netfilter(_) | Step::HoldReset => NFT.find().map(drop)?,
            Step::Route(_) => IP.find().map(drop)?,
            Step::Command(_) if !context.allow_commands => {
                return Err(Error::Usage(format!(
                    "{}: programs are run only with --allow-commands",
                    step.describe()
                )));
            }
            Step::Command(_) | Step::Sysctl { .. } | Step::Sockopt(_) => {}
        }
    }
    Ok(())
}

/// Why a change was not made as it should be.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was changed: there is nothing to undo.
    Unchanged(Error),
    /// Something may have been changed.
    Changed(Error),
}

impl Failure {
    /// The error, whatever was changed.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Unchanged(error) | Failure::Changed(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Changed(error)
    }
}

/// A change to the host. What all configurations share of a kind is one change, at the place of
/// the first step of that kind.
enum Change<'a> {
    Sysctl(&'a str, &'a str),
    Netfilter(Script),
    Route(Vec<(Route, &'a Flows)>),
    Command(&'a Command),
}

/// A step, by the numbers of its configuration among those that are applied and of itself among its steps.
type Place = (usize, usize);

/// The changes that these configurations are, in order, each with the step that asks for it first.
fn changes<'a>(
    configurations: &[(&'a [Step], &'a Flows)],
    table: &Table,
) -> Vec<(Place, Change<'a>)> {
    let mut changes = Vec::new();
    let (mut rules, mut routes) = (false, false);
    for (configuration, (steps, _)) in configurations.iter().enumerate() {
        for (number, step) in steps.iter().enumerate() {
            let change = match step {
                Step::Sysctl { name, value } => Change::Sysctl(name, value),
                Step::Command(command) => Change::Command(command),
                Step::Netfilter(_) | Step::HoldReset if !std::mem::replace(&mut rules, true) => {
                    Change::Netfilter(Script::new(configurations, table.clone()))
                }
                Step::Route(_) if !std::mem::replace(&mut routes, true) => {
                    Change::Route(Route::of(configurations))
                }
                Step::Netfilter(_) | Step::HoldReset | Step::Route(_) | Step::Sockopt(_) => {
                    continue;
                }
            };
            changes.push(((configuration, number), change));
        }
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

/// What it takes to undo one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Undo {
    /// Write a kernel parameter back.
    Sysctl(Setting),
    /// Delete our table of rules.
    Netfilter(Table),
    /// Remove our routing tables and the rules that lead there.
    Route(Tables),
    /// Run a program.
    Command {
        /// The program and its arguments.
        run: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
}

/// What came of putting back what a killed run left.
#[derive(Debug)]
pub(super) enum Recovered {
    /// It is as before; the words say what was done.
    Done(String),
    /// It was already: the run was killed before it changed anything, or after it had put it back.
    Nothing(String),
    /// It is left, since another program changed it meanwhile.
    Kept(String),
}

/// How often routing tables are made while the main table changes under it.
const ROUTE_TRIES: usize = 5;

/// How something looks of which a part was gone when it had just been made: like nothing that a program lists.
const INCOMPLETE: &str = "\0";

/// How long `nft` or `ip` may take before a killed run's are no longer waited for.
const TOOL: Duration = Duration::from_secs(60);

impl Undo {
    fn run(&self) -> Result<()> {
        match self {
            Undo::Sysctl(setting) => setting.restore(),
            Undo::Netfilter(table) => match table.remove()? {
                true => Ok(()),
                false => Err(Error::Failed(format!(
                    "delete the nftables table {}: it is gone; another program removed it while its rules \
                     should have been in force",
                    table.name()
                ))),
            },
            Undo::Route(tables) => tables.remove(),
            Undo::Command { run, timeout } => {
                let done = process::run(run, *timeout).map_err(Failure::into_error);
                done.map(drop).map_err(|why| Error::failed("undo a command", why))
            }
        }
    }

    /// How what was made looks, where that is not known beforehand.
    fn look(&self) -> Result<Option<String>> {
        match self {
            Undo::Netfilter(table) => table.look().map(Some),
            Undo::Route(tables) => tables.look().map(Some),
            Undo::Sysctl(_) | Undo::Command { .. } => Ok(None),
        }
    }

    /// Whether it looks otherwise than when it was made, in words.
    fn altered(&self, made: Option<&str>) -> Result<Option<String>> {
        let what = match self {
            Undo::Sysctl(setting) => return setting.altered(),
            Undo::Netfilter(table) => format!("the nftables table {}", table.name()),
            Undo::Route(tables) => tables.describe(),
            Undo::Command { .. } => return Ok(None),
        };
        let same = made.is_none() || self.look()?.as_deref() == made;
        Ok((!same).then(|| format!("{what}: another program changed it while it was in force")))
    }

    /// Puts back what a killed run left of a change that it had made, was making, or was about to make.
    /// May be done any number of times.
    pub fn recover(&self, force: bool) -> Result<Recovered> {
        Ok(match self {
            Undo::Sysctl(setting) => setting.recover(force)?,
            Undo::Netfilter(table) => match table.remove()? {
                true => Recovered::Done(format!("the nftables table {} is removed", table.name())),
                false => Recovered::Nothing(format!(
                    "no nftables table {} of that run is there",
                    table.name()
                )),
            },
            Undo::Route(tables) => {
                tables.remove()?;
                Recovered::Done(format!("{} are removed", tables.describe()))
            }
            Undo::Command { run, .. } => {
                self.run()?;
                Recovered::Done(format!("the program {} was run", command::line(run)))
            }
        })
    }

    /// The key of the step in a measurement file.
    pub fn kind(&self) -> &'static str {
        match self {
            Undo::Sysctl(_) => "sysctl",
            Undo::Netfilter(_) => "netfilter",
            Undo::Route(_) => "route",
            Undo::Command { .. } => "command",
        }
    }

    /// What there is to do.
    pub fn describe(&self) -> String {
        match self {
            Undo::Sysctl(setting) => setting.describe(),
            Undo::Netfilter(table) => format!("delete the nftables table {}", table.name()),
            Undo::Route(tables) => format!("remove {}", tables.describe()),
            Undo::Command { run, .. } => format!("run the program {}", command::line(run)),
        }
    }

    /// How long a program that makes or undoes the change may take.
    pub fn patience(&self) -> Duration {
        match self {
            Undo::Sysctl(_) => Duration::ZERO,
            Undo::Netfilter(_) | Undo::Route(_) => TOOL,
            Undo::Command { timeout, .. } => *timeout,
        }
    }
}

/// The steps that are in force.
#[derive(Debug, Default)]
pub struct Applied {
    /// With their numbers in the journal, and how what they undo looked when it was made.
    undo: Vec<(Undo, Option<u64>, Option<String>)>,
    journal: Option<Journal>,
    outputs: Vec<CommandOutput>,
}

impl Applied {
    /// Applies the steps of these configurations, which are in force at once, in order. What is
    /// done to each socket is not done here.
    ///
    /// # Errors
    /// If a step fails, it and those before it are undone; if that fails too, both are told. A
    /// missing program or permission is told before anything is changed.
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
            Self { undo: Vec::new(), journal: context.journal.clone(), outputs: Vec::new() };
        let run = match &context.journal {
            Some(journal) => journal.run().clone(),
            None => Run::this("")?,
        };
        for (step, change) in changes(configurations, &Table::new(context.slot, &run)) {
            if let Err(why) = applied.make(change, context) {
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

    /// What the programs of `command` steps said while these steps were applied, in order.
    pub fn outputs(&self) -> &[CommandOutput] {
        &self.outputs
    }

    /// Undoes the steps, last first. All are tried; the first failure is told.
    pub fn undo(mut self) -> Result<()> {
        self.undo_all()
    }

    /// What of these steps is not as it was made, in words: another program has changed it.
    pub fn altered(&self) -> Result<Vec<String>> {
        let told = self.undo.iter().map(|(undo, _, made)| undo.altered(made.as_deref()));
        told.filter_map(Result::transpose).collect()
    }

    /// Undoes the steps, last first, and says what was not as it was made. That is no error: what another program has set
    /// is left as it is, also if it did so only after that was looked at.
    pub fn leave(mut self) -> Result<Vec<String>> {
        let mut outcome = self.altered();
        while let Some((undo, number, _)) = self.undo.pop() {
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

    fn make(&mut self, change: Change<'_>, context: &Context) -> Result<()> {
        match change {
            Change::Sysctl(name, value) => {
                let setting = Setting::read(name, value)?;
                self.with(Undo::Sysctl(setting.clone()), |_| true, |_| setting.change())
            }
            Change::Netfilter(script) => {
                let undo = Undo::Netfilter(script.table().clone());
                self.with(undo, |seen| script.is_whole(seen), |_| script.load())
            }
            Change::Route(routes) => self.route(&routes, context),
            Change::Command(command) => {
                let run = |outputs: &mut Vec<CommandOutput>| {
                    outputs.push(process::run(&command.run, command.timeout)?);
                    Ok(())
                };
                if command.undo.is_empty() {
                    return run(&mut self.outputs).map_err(Failure::into_error);
                }
                let undo = Undo::Command { run: command.undo.clone(), timeout: command.timeout };
                self.with(undo, |_| true, run)
            }
        }
    }

    /// Makes routing tables. If the main table changes while it is copied, they are made again.
    fn route(&mut self, routes: &[(Route, &Flows)], context: &Context) -> Result<()> {
        let device = context.interface.as_deref();
        let (tables, mut plan) = Tables::plan(routes, device)?;
        for _ in 1..ROUTE_TRIES {
            let undo = Undo::Route(tables.clone());
            let make = |_: &mut Vec<CommandOutput>| match plan.make() {
                Ok(()) => Ok(()),
                // What was made of it is removed, so the journal has nothing to undo.
                Err(why) => Err(match tables.remove() {
                    Ok(()) => Failure::Unchanged(why),
                    Err(more) => {
                        log::error!("the host is not as it was found: {more}");
                        Failure::Changed(why)
                    }
                }),
            };
            let Err(why) = self.with(undo, |seen| plan.is_whole(seen), make) else { return Ok(()) };
            let again = Tables::plan(routes, device)?.1;
            if again == plan {
                return Err(why);
            }
            log::info!("the main routing table changed meanwhile: {why}");
            plan = again;
        }
        self.with(
            Undo::Route(tables),
            |seen| plan.is_whole(seen),
            |_| plan.make().map_err(Failure::from),
        )
    }

    /// Makes a change whose undoing is known, and written down before. `whole` says of how it looks whether all of it is
    /// there; what is not was removed by another program already, which the next look at it tells.
    fn with(
        &mut self,
        undo: Undo,
        whole: impl Fn(&str) -> bool,
        change: impl FnOnce(&mut Vec<CommandOutput>) -> Result<(), Failure>,
    ) -> Result<()> {
        let number = self.journal.as_ref().map(|journal| journal.make(&undo)).transpose()?;
        self.undo.push((undo, number, None));
        let outcome = change(&mut self.outputs);
        if let (Ok(()), Some((undo, _, made))) = (&outcome, self.undo.last_mut()) {
            *made = undo.look()?;
            if made.as_deref().is_some_and(|seen| !whole(seen)) {
                *made = Some(INCOMPLETE.to_owned());
            }
        }
        if matches!(outcome, Err(Failure::Unchanged(_))) {
            self.undo.pop();
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
        while let Some((undo, number, _)) = self.undo.pop() {
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
    use super::super::{mark, netfilter};
    use super::*;

    fn flows(number: usize) -> Flows {
        Flows { mark: mark(number) }
    }

    fn table() -> Table {
        Table::new(Slot::default(), &Run::this("x").unwrap())
    }

    #[test]
    fn undoing_is_plain_data() {
        let undo = vec![
            Undo::Netfilter(table()),
            Undo::Route(Tables::of([mark(0), mark(1)])),
            Undo::Command { run: vec!["dish".into()], timeout: Duration::from_millis(1500) },
        ];
        let text = serde_json::to_string(&undo).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Undo>>(&text).unwrap(), undo);
    }

    #[test]
    fn a_command_without_permission_stops_everything_before_it_begins() {
        let steps = [
            Step::Sysctl { name: "net.ipv4.tcp_no_such".into(), value: "1".into() },
            Step::Command(Command { run: vec!["true".into()], ..Command::default() }),
        ];
        let flows = flows(0);
        let error = Applied::apply(&[(&steps, &flows)], &Context::default()).unwrap_err();
        assert!(error.to_string().contains("only with --allow-commands"), "{error}");
        assert!(matches!(error, Error::Usage(_)));
    }

    #[test]
    fn rules_and_routes_of_all_are_one_change_each() {
        let rule = |rule: &str| {
            Step::Netfilter(netfilter::Netfilter { rule: rule.into(), hook: Default::default() })
        };
        let sysctl = Step::Sysctl { name: "net.ipv4.tcp_ecn".into(), value: "1".into() };
        let zero = [rule("drop"), rule("accept"), Step::Route(Route::default())];
        let one = [sysctl, rule("drop"), Step::Route(Route::default())];
        let (f0, f1) = (flows(0), flows(1));
        let kinds: Vec<&str> = changes(&[(&zero, &f0), (&one, &f1)], &table())
            .iter()
            .map(|(_, change)| match change {
                Change::Sysctl(..) => "sysctl",
                Change::Netfilter(_) => "netfilter",
                Change::Route(routes) => ["", "one route", "two routes"][routes.len()],
                Change::Command(_) => "command",
            })
            .collect();
        assert_eq!(kinds, ["netfilter", "two routes", "sysctl"]);
    }
}
