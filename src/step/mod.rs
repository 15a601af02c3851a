//! Steps: what makes one configuration differ from another. Each knows how to apply itself and
//! how to undo itself, and whom it affects ([`Scope`]).
//!
//! [`STEPS`] is the registry, a row per kind of step; [`Step`] is one step with its values, and says
//! in plain words what it does and how it is undone, without doing anything. What is set on each
//! socket is for the owner of the socket to set ([`Sockopt::set`]), as is its mark ([`needs_mark`]).
//! [`Applied`] stands for the steps that are in force. It undoes them when asked
//! ([`Applied::undo`], which can fail and say so) and in any case when it is dropped, so an early
//! return or a panic leaves the host as it was found.
//!
//! Before the first packet, [`inspect`] finds what cannot work without changing anything, and [`rehearse`] tries the rest.
//!
//! A [`Journal`] on disk has each change before it is made, so that [`restore`] can undo what a run left
//! that was killed; a [`Lock`] keeps runs apart that would get into each other's way.
//!
//! Imports [`error`](crate::error) only. Touches the operating system.

mod applied;
pub mod command;
pub mod family;
mod hold;
mod journal;
pub mod lock;
pub mod metrics;
mod namespace;
pub mod netfilter;
mod preflight;
mod process;
mod rehearsal;
pub mod restore;
pub mod route;
pub(crate) mod setsockopt;
mod slot;
pub mod sockopt;
mod state;
mod sysctl;
mod table;
mod this_host;
mod tool;
mod turns;

use std::fmt;

pub use applied::{Applied, Context, Flows, check, needs_mark};
pub use command::Command;
pub use family::Family;
pub use journal::Journal;
pub use lock::{Lock, Run};
pub use netfilter::Netfilter;
pub use preflight::{Checked, Facts, Inspection, Parameter, Problem, inspect};
pub use process::CommandOutput;
pub use rehearsal::rehearse;
pub use route::Route;
pub use slot::{SLOTS, Slot, mark};
pub use sockopt::Sockopt;
pub use state::make_for as make_state_for;
pub use sysctl::is_same as is_same_sysctl;
pub use this_host::ThisHost;
pub use turns::Turns;

/// Whom a step affects while it is in force, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One socket.
    Socket,
    /// The packets of this configuration, told by their firewall mark.
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
    /// The option --allow-commands; what the program itself needs is not known.
    AllowCommands,
}

impl Privilege {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Privilege::None => "none",
            Privilege::NetAdmin => "CAP_NET_ADMIN",
            Privilege::AllowCommands => "--allow-commands",
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of the registry of steps.
#[derive(Debug)]
pub struct StepDef {
    /// The key in a measurement file.
    pub name: &'static str,
    /// Whom it affects.
    pub scope: Scope,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// How it is undone, in a sentence.
    pub undo: &'static str,
    /// One as it is written in a file.
    pub example: &'static str,
    /// What it needs; one option of `sockopt` needs more ([`Step::privilege`]).
    pub privilege: Privilege,
}

/// Every kind of step.
pub static STEPS: &[StepDef] = &[
    StepDef {
        name: "sysctl",
        scope: Scope::Namespace,
        doc: "set kernel parameters of the network namespace, and read them back",
        undo: "the values from before are written back",
        example: r#"{ sysctl = { "net.ipv4.tcp_ecn" = 1 } }"#,
        privilege: Privilege::NetAdmin,
    },
    StepDef {
        name: "netfilter",
        scope: Scope::Packets,
        doc: "treat this configuration's packets by an nftables rule, in a table of the tool's own",
        undo: "the rule is taken out; other tables are never touched",
        example: r#"{ netfilter = { rule = "dscp set 46", hook = "output" } }"#,
        privilege: Privilege::NetAdmin,
    },
    StepDef {
        name: "route",
        scope: Scope::Packets,
        doc: "route this configuration's packets with these metrics, by a routing table of its own",
        undo: "the rule and the routing table are removed; the main table is never changed",
        example: r#"{ route = { features = ["ecn"], advmss = 1400 } }"#,
        privilege: Privilege::NetAdmin,
    },
    StepDef {
        name: "sockopt",
        scope: Scope::Socket,
        doc: "set options on each socket before it connects",
        undo: "nothing to undo: they end with the socket",
        example: "{ sockopt = { ip_tos = 184 } }",
        privilege: Privilege::None,
    },
    StepDef {
        name: "command",
        scope: Scope::World,
        doc: "run a program, and another one to undo what it did; only with --allow-commands",
        undo: "the program after `undo` is run",
        example: r#"{ command = { run = ["dish", "east"], undo = ["dish", "west"] } }"#,
        privilege: Privilege::AllowCommands,
    },
];

/// One step of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Set a kernel parameter of the network namespace.
    Sysctl {
        /// Dotted name, `net.ipv4.tcp_ecn`.
        name: String,
        /// The value as text.
        value: String,
    },
    /// Treat packets by a rule of nftables.
    Netfilter(Netfilter),
    /// Route packets by metrics of their own.
    Route(Route),
    /// Set an option of each socket.
    Sockopt(Sockopt),
    /// Run a program.
    Command(Command),
    /// Hold back the kernel's resets for segments made by hand. Plans add it; no file writes it, so
    /// that [`STEPS`] has no row of it.
    HoldReset,
}

impl Step {
    /// The key in a measurement file.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::Sysctl { .. } => "sysctl",
            Step::Netfilter(_) => "netfilter",
            Step::Route(_) => "route",
            Step::Sockopt(_) => "sockopt",
            Step::Command(_) => "command",
            Step::HoldReset => hold::KIND,
        }
    }

    /// Whom the step affects.
    pub fn scope(&self) -> Scope {
        match self {
            Step::Sysctl { .. } => Scope::Namespace,
            Step::Netfilter(_) | Step::Route(_) | Step::HoldReset => Scope::Packets,
            Step::Sockopt(_) => Scope::Socket,
            Step::Command(_) => Scope::World,
        }
    }

    /// What it does, in plain words.
    pub fn describe(&self) -> String {
        match self {
            Step::Sysctl { name, value } => format!("set the kernel parameter {name} to {value}"),
            Step::Netfilter(step) => step.describe(),
            Step::Route(step) => step.describe(),
            Step::Sockopt(step) => step.describe(),
            Step::Command(step) => step.describe(),
            Step::HoldReset => hold::DOES.into(),
        }
    }

    /// What it is in short: the parameter, rule or option that a file names.
    pub fn written(&self) -> String {
        match self {
            Step::Sysctl { name, .. } => name.clone(),
            Step::Netfilter(step) => format!("`{}`", step.rule),
            Step::Sockopt(Sockopt::Named(row, _)) => row.name.to_owned(),
            Step::Sockopt(Sockopt::Raw { level, name, value }) => {
                format!("raw = [{level}, {name}, {value}]")
            }
            Step::Route(_) | Step::Command(_) | Step::HoldReset => self.kind().to_owned(),
        }
    }

    /// How it is undone, in plain words.
    pub fn describe_undo(&self) -> String {
        match self {
            Step::Sysctl { name, .. } => format!("write back what {name} was before"),
            Step::Netfilter(_) | Step::HoldReset => {
                "take the rule out of the tool's own table".into()
            }
            Step::Route(_) => "remove the configuration's rule and routing table".into(),
            Step::Sockopt(_) => "nothing: it ends with the socket".into(),
            Step::Command(step) => step.describe_undo(),
        }
    }

    /// What it needs to be allowed.
    pub fn privilege(&self) -> Privilege {
        match self {
            Step::Sysctl { .. } | Step::Netfilter(_) | Step::Route(_) | Step::HoldReset => {
                Privilege::NetAdmin
            }
            Step::Sockopt(step) => step.privilege(),
            Step::Command(_) => Privilege::AllowCommands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Step> {
        let mark = sockopt::SOCKOPTS.iter().find(|row| row.name == "mark").unwrap();
        vec![
            Step::Sysctl { name: "net.ipv4.tcp_ecn".into(), value: "1".into() },
            Step::Netfilter(Netfilter {
                rule: "ip dscp set 46".into(),
                hook: netfilter::Hook::Output,
            }),
            Step::Route(Route { advmss: Some(1400), ..Route::default() }),
            Step::Sockopt(Sockopt::Named(mark, sockopt::Value::Integer(7))),
            Step::Command(Command { run: vec!["dish".into()], ..Command::default() }),
        ]
    }

    #[test]
    fn every_kind_of_step_has_its_row_and_agrees_with_it() {
        let steps = one_of_each();
        let kinds: Vec<_> = steps.iter().map(Step::kind).collect();
        assert_eq!(kinds, STEPS.iter().map(|row| row.name).collect::<Vec<_>>());
        for (step, row) in steps.iter().zip(STEPS) {
            assert_eq!(step.scope(), row.scope, "{}", row.name);
            assert!(!step.describe().is_empty() && !step.describe_undo().is_empty());
            // An option of a socket may need more than most.
            assert!(step.privilege() >= row.privilege, "{}", row.name);
        }
        assert!(STEPS.iter().all(|row| row.name != Step::HoldReset.kind()), "no file writes it");
    }
}
