//! What a kind of step is: its row of documentation ([`StepDef`]) and its behaviour ([`StepKind`], [`Change`],
//! [`Revert`]). Each kind implements them in a file of its own.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::facts::{Checked, Facts, Fault};
use super::failure::Failure;
use super::family::Family;
use super::lock::Run;
use super::process::CommandOutput;
use super::rule::Hook;
use super::slot::Slot;
use crate::error::Result;

/// What a step affects while it is in force, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One socket.
    Socket,
    /// The packets of this configuration, identified by their firewall mark.
    Packets,
    /// Everything in the network namespace: configurations must take turns.
    Namespace,
    /// The world outside this host too: configurations must take turns.
    World,
}

impl Scope {
    /// Whether several configurations can be in force at once.
    pub fn shares(self) -> bool {
        self <= Scope::Packets
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Socket => "socket",
            Scope::Packets => "packets",
            Scope::Namespace => "namespace",
            Scope::World => "world",
        }
    }

    /// What the word means.
    pub fn doc(self) -> &'static str {
        match self {
            Scope::Socket => "one socket",
            Scope::Packets => "this configuration's packets only",
            Scope::Namespace => "the whole network namespace",
            Scope::World => "the world, also outside this host",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a step needs to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Nothing.
    None,
    /// CAP_NET_ADMIN in the network namespace.
    NetAdmin,
    /// The user's permission to run programs; what the program itself needs is not known.
    AllowCommands,
}

/// A privilege that one step needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Which privilege.
    pub privilege: Privilege,
    /// What it is needed for, as far as the kind of the step does not say so; may be empty.
    pub why: String,
    /// Whether the step cannot do without it; otherwise that depends on what is not known beforehand.
    pub required: bool,
    /// Whether programs that the step starts need it.
    pub programs: bool,
}

impl Need {
    /// CAP_NET_ADMIN for this process.
    pub(super) fn net_admin(why: impl Into<String>) -> Self {
        Self { privilege: Privilege::NetAdmin, why: why.into(), required: true, programs: false }
    }
}

/// A row of the registry of steps: what a kind is called and how it is documented.
#[derive(Debug)]
pub struct StepDef {
    /// The key in a measurement file.
    pub name: &'static str,
    /// What it affects.
    pub scope: Scope,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// How it is undone, in a sentence.
    pub undo: &'static str,
    /// An example, as it is written in a file.
    pub example: &'static str,
    /// What it needs; a single step may need more (`StepKind::privilege`).
    pub privilege: Privilege,
    /// All steps of one group, of all configurations in force, are a single change.
    pub(super) group: Option<&'static str>,
    /// How its changes are undone; `None` if there is nothing to undo.
    pub(super) revert: Option<&'static RevertDef>,
}

/// A step, by the number of its configuration among those that are applied and its own number there.
pub(super) type Place = (usize, usize);

/// The packets of one configuration: what its scoped steps match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flows {
    /// The firewall mark of all its sockets, [`Slot::mark`].
    pub mark: u32,
}

/// All steps that are in force together, and what their changes depend on.
pub(super) struct Together<'a> {
    /// The packets of each configuration.
    pub flows: Vec<Flows>,
    /// The steps of all configurations, in order.
    pub steps: Vec<(Place, &'a (dyn StepKind + 'static))>,
    /// The device that sockets are bound to, if they are.
    pub interface: Option<&'a str>,
    /// The slot of the run.
    pub slot: Slot,
    /// The run.
    pub run: &'a Run,
}

impl<'a> Together<'a> {
    /// The steps of one kind, in order.
    pub fn of<T: StepKind>(&self) -> impl Iterator<Item = (Place, &'a T)> {
        self.steps.iter().filter_map(|(place, step)| {
            let step: &'a dyn Any = *step;
            Some((*place, step.downcast_ref()?))
        })
    }
}

/// A step of some kind, with its values.
pub(super) trait StepKind: Any + fmt::Debug {
    /// The row of the kind.
    fn def(&self) -> &'static StepDef;

    /// What it does, in plain words.
    fn describe(&self) -> String;

    /// How it is undone, in plain words.
    fn describe_undo(&self) -> String;

    /// The step in short: the parameter, rule or option that a file names.
    fn written(&self) -> String {
        self.def().name.to_owned()
    }

    /// What this step needs to be allowed.
    fn privilege(&self) -> Privilege {
        self.def().privilege
    }

    /// The privileges that it needs, with reasons.
    fn needs(&self) -> Vec<Need>;

    /// Whether it recognises the packets of its configuration by their mark, so that sockets must set it.
    fn needs_mark(&self) -> bool {
        false
    }

    /// The only version of IP that it changes anything for; `None` if it is for both, or if that is not known.
    fn only(&self) -> Option<Family> {
        None
    }

    /// The nftables rules that it stands for, each with its hook.
    fn rules(&self) -> Vec<(Hook, String)> {
        Vec::new()
    }

    /// Whether a connection that this host opens reads it before its first packet and never again.
    fn is_latched(&self) -> bool {
        false
    }

    /// Whether it may change anything, so that no later step of its configuration can be inspected.
    fn is_opaque(&self) -> bool {
        false
    }

    /// Whether its effect lasts when the configuration ends: nothing undoes it.
    fn lasts(&self) -> bool {
        false
    }

    /// Whether the programs are installed that make the change, and whether it is allowed. Changes nothing.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn check(&self, _allow_commands: bool) -> Result<()> {
        Ok(())
    }

    /// Why it cannot work on a host, as far as this is known without changing anything.
    fn inspect(&self, _facts: &dyn Facts) -> Option<Fault> {
        None
    }

    /// The same for all steps of the group at once; each fault with the step that it is about.
    fn inspect_group(&self, _together: &Together<'_>, _facts: &dyn Facts) -> GroupFaults {
        GroupFaults::default()
    }

    /// The code of the diagnostic, and what to do, if the host refuses the step for this reason.
    fn refused(&self, _why: &str) -> (&'static str, &'static str) {
        ("E0506", "change the step, or run it on a host whose kernel takes it")
    }

    /// The change to the host that it stands for, or its group if it is the first of one. `None` for what is done to each
    /// socket.
    fn change(&self, together: &Together<'_>) -> Option<Box<dyn Change>>;
}

/// What the inspection of a group finds.
#[derive(Debug, Default)]
pub(super) struct GroupFaults {
    /// The faults of steps.
    pub faults: Vec<(Place, Fault)>,
    /// What could not be checked, in words.
    pub unchecked: Vec<String>,
}

impl GroupFaults {
    /// Faults from the complaints of `nft`: `origin` says which step a line of the script is for.
    pub fn of_complaints(
        checked: Checked,
        origin: impl Fn(usize) -> Option<Place>,
        fault: impl Fn(&str) -> Fault,
    ) -> Self {
        let mut found = Self::default();
        match checked {
            Checked::Unchecked(why) => found.unchecked.push(format!("nftables rules: {why}")),
            Checked::Complaints(complaints) => {
                for (line, why) in complaints {
                    match origin(line) {
                        None => found.unchecked.push(format!("nftables rules: {why}")),
                        // A rule for both versions of IP is two lines.
                        Some(place) if found.faults.iter().any(|(other, _)| *other == place) => {}
                        Some(place) => found.faults.push((place, fault(&why))),
                    }
                }
            }
        }
        found
    }
}

/// A change to the host that is about to be made.
pub(super) trait Change {
    /// Finds out what undoes the change; `None` if nothing does. Changes nothing.
    ///
    /// # Errors
    /// If the change cannot be made.
    fn prepare(&mut self) -> Result<Option<Arc<dyn Revert>>>;

    /// Makes the change. Returns what a program printed, if the change is to run one.
    ///
    /// # Errors
    /// Why it was not made, and whether something must be undone.
    fn make(&mut self) -> Result<Option<CommandOutput>, Failure>;

    /// Whether the result of [`Revert::verify`] shows the whole change.
    fn is_whole(&self, _seen: &str) -> bool {
        true
    }

    /// Whether a change that failed is worth another try, since what it was derived from has changed.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn must_retry(&mut self) -> Result<bool> {
        Ok(false)
    }
}

/// How the changes of one kind are undone: what a journal calls them, and how they are read from it.
#[derive(Debug)]
pub(super) struct RevertDef {
    /// The key of a step in a measurement file; `restore` reports it.
    pub kind: &'static str,
    /// The name in a journal. Journals of earlier versions have it too: it never changes.
    pub tag: &'static str,
    /// Reads what a journal has under that name.
    pub read: fn(Value) -> serde_json::Result<Arc<dyn Revert>>,
}

/// What undoes one change. It is plain data: a journal holds it ([`data`](Self::data)) before the change is made.
pub(super) trait Revert: fmt::Debug + Send + Sync {
    /// How it is called and read.
    fn def(&self) -> &'static RevertDef;

    /// Its data, as a journal holds them.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    fn data(&self) -> serde_json::Result<Value>;

    /// Undoes the change.
    ///
    /// # Errors
    /// If it cannot be undone, or was not as it had been made.
    fn run(&self) -> Result<()>;

    /// What the host has of the change now, where that is not known beforehand.
    ///
    /// # Errors
    /// If it cannot be read.
    fn verify(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether it differs from what was made (the result of [`verify`](Self::verify) at that time), in words.
    ///
    /// # Errors
    /// If it cannot be read.
    fn altered(&self, made: Option<&str>) -> Result<Option<String>>;

    /// Undoes what a killed run left of a change that it had made, was making, or was about to make. Can be repeated.
    ///
    /// # Errors
    /// If it cannot be undone.
    fn recover(&self, force: bool) -> Result<Recovered>;

    /// What is to be done, in words.
    fn describe(&self) -> String;

    /// How long a program that makes or undoes the change may take.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// The outcome of undoing what a killed run left.
#[derive(Debug)]
pub(super) enum Recovered {
    /// The host is as before the run; the words say what was done.
    Done(String),
    /// It already was: the run was killed before it changed anything, or after it had undone the change.
    Nothing(String),
    /// It is kept, since another program changed it in the meantime.
    Kept(String),
}

/// What `verify` of a change is compared with that was not whole right after it was made: no host shows this.
pub(super) const INCOMPLETE: &str = "\0";

/// Reports a difference between what was made and what is there.
pub(super) fn altered(
    revert: &dyn Revert,
    made: Option<&str>,
    what: impl FnOnce() -> String,
) -> Result<Option<String>> {
    let same = made.is_none() || revert.verify()?.as_deref() == made;
    let differs = || format!("{}: another program changed it while it was in force", what());
    Ok((!same).then(differs))
}
