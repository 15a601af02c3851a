//! The registry of steps: every kind, in a file of its own, and a step of any kind.

pub mod command;
pub mod netfilter;
pub mod route;
pub mod sockopt;
pub mod sysctl;
pub mod traffic_class;

use self::command::Command;
use self::netfilter::Netfilter;
use self::route::Route;
use self::sockopt::Sockopt;
use self::traffic_class::TrafficClass;
use super::family::Family;
use super::hold::HoldReset;
use super::kind::{Need, Privilege, RevertDef, Scope, StepDef, StepKind};

/// Every kind of step that a file can have.
pub static STEPS: &[&StepDef] = &[
    &sysctl::DEF,
    &traffic_class::DEF,
    &netfilter::DEF,
    &route::DEF,
    &sockopt::DEF,
    &command::DEF,
];

/// One step of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Set a kernel parameter of the network namespace.
    Sysctl(sysctl::Sysctl),
    /// Mark packets.
    TrafficClass(TrafficClass),
    /// Treat packets by a rule of nftables.
    Netfilter(Netfilter),
    /// Route packets by metrics of their own.
    Route(Route),
    /// Set an option of each socket.
    Sockopt(Sockopt),
    /// Run a program.
    Command(Command),
    /// Hold back the kernel's resets for segments made by hand. Plans add it; no file writes it, so [`STEPS`] has no row
    /// for it.
    HoldReset,
}

impl Step {
    /// Sets a kernel parameter, by its dotted name (`net.ipv4.tcp_ecn`), to a value as text.
    pub fn sysctl(name: impl Into<String>, value: impl Into<String>) -> Self {
        Step::Sysctl(sysctl::Sysctl { name: name.into(), value: value.into() })
    }

    /// The behaviour of its kind.
    pub(super) fn kind(&self) -> &(dyn StepKind + 'static) {
        match self {
            Step::Sysctl(step) => step,
            Step::TrafficClass(step) => step,
            Step::Netfilter(step) => step,
            Step::Route(step) => step,
            Step::Sockopt(step) => step,
            Step::Command(step) => step,
            Step::HoldReset => &HoldReset,
        }
    }

    /// The row of its kind. [`HoldReset`](Step::HoldReset) has one that is not in [`STEPS`].
    pub fn def(&self) -> &'static StepDef {
        self.kind().def()
    }

    /// What it affects.
    pub fn scope(&self) -> Scope {
        self.def().scope
    }

    /// Whether a connection keeps the effect that it began with: a later change does not affect it.
    pub fn is_latched(&self) -> bool {
        self.kind().is_latched()
    }

    /// What it does, in plain words.
    pub fn describe(&self) -> String {
        self.kind().describe()
    }

    /// The step in short: the parameter, rule or option that a file names.
    pub fn written(&self) -> String {
        self.kind().written()
    }

    /// How it is undone, in plain words.
    pub fn describe_undo(&self) -> String {
        self.kind().describe_undo()
    }

    /// What it needs to be allowed.
    pub fn privilege(&self) -> Privilege {
        self.kind().privilege()
    }

    /// The privileges that it needs, with reasons.
    pub fn needs(&self) -> Vec<Need> {
        self.kind().needs()
    }

    /// Whether it changes the host, and not only sockets: such changes are written to a journal.
    pub fn changes_host(&self) -> bool {
        self.scope() > Scope::Socket
    }

    /// The only version of IP that it changes anything for; `None` if it is for both, or if that is not known.
    pub fn only(&self) -> Option<Family> {
        self.kind().only()
    }
}

/// How changes are undone that a journal has under this name.
pub(super) fn revert(tag: &str) -> Option<&'static RevertDef> {
    STEPS.iter().filter_map(|row| row.revert).find(|row| row.tag == tag)
}

/// Whether a configuration's packets must carry its mark (SO_MARK needs CAP_NET_ADMIN or CAP_NET_RAW): some step
/// recognises them by it.
pub fn needs_mark(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.kind().needs_mark())
}

/// Steps for tests: one of each row of the registry.
#[cfg(test)]
pub(super) fn one_of_each() -> Vec<Step> {
    let mark = sockopt::SOCKOPTS.iter().find(|row| row.name == "mark").unwrap();
    vec![
        Step::sysctl("net.ipv4.tcp_ecn", "1"),
        Step::TrafficClass(TrafficClass { dscp: Some(46), ..TrafficClass::default() }),
        Step::Netfilter(Netfilter { rule: "ip dscp set 46".into(), ..Netfilter::default() }),
        Step::Route(Route { advmss: Some(1400), ..Route::default() }),
        Step::Sockopt(Sockopt::Named(mark, sockopt::Value::Integer(7))),
        Step::Command(Command { run: vec!["dish".into()], ..Command::default() }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_kind() {
        let steps = one_of_each();
        let rows: Vec<_> = steps.iter().map(|step| step.def().name).collect();
        assert_eq!(rows, STEPS.iter().map(|row| row.name).collect::<Vec<_>>());
        for step in &steps {
            let row = step.def();
            assert!(!step.describe().is_empty() && !step.describe_undo().is_empty());
            // A socket option may need more than most.
            assert!(step.privilege() >= row.privilege, "{}", row.name);
            // Marks are rules, too.
            let kind = if row.name == "traffic_class" { "netfilter" } else { row.name };
            assert_eq!(row.revert.map(|revert| revert.kind), step.changes_host().then_some(kind));
        }
        let hidden = Step::HoldReset.def();
        assert!(STEPS.iter().all(|row| row.name != hidden.name), "no file can write it");
    }

    #[test]
    fn the_names_in_a_journal_never_change() {
        let mut tags: Vec<_> =
            STEPS.iter().filter_map(|row| row.revert).map(|row| row.tag).collect();
        tags.dedup();
        assert_eq!(tags, ["Sysctl", "Netfilter", "Route", "Command"]);
        assert!(tags.iter().all(|tag| revert(tag).is_some_and(|row| row.tag == *tag)));
        assert!(revert("Sockopt").is_none());
    }
}
