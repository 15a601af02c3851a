//! Steps: what makes one configuration differ from another. Each kind knows how to apply and how to undo itself, and what it
//! affects ([`Scope`]).
//!
//! [`STEPS`] is the registry, a row per kind of step; [`Step`] is one step with its values, and says in plain words what it
//! does and how it is undone, without doing anything. Each kind has a file of its own in `kinds`
//! (the trait `StepKind`). Socket options are for the owner of the socket to set ([`Sockopt::set`]), as is its mark ([`needs_mark`]).
//! [`Applied`] stands for the steps that are in force. It undoes them on request ([`Applied::undo`], which can fail and
//! reports it) and in any case when it is dropped, so an early return or a panic leaves the host as it was found.
//!
//! Before the first packet, [`inspect`] finds what cannot work without changing anything, and [`rehearse`] tries the rest.
//!
//! A [`Journal`] on disk has each change before it is made, so that [`restore`] can undo what a killed run left; a [`Lock`]
//! keeps apart runs that would interfere with each other.
//!
//! Imports [`error`](crate::error) only. Touches the operating system.

mod applied;
mod facts;
mod failure;
mod family;
mod hold;
mod journal;
mod kind;
pub mod kinds;
mod left_out;
pub mod lock;
pub mod metrics;
mod namespace;
mod netlink;
mod preflight;
mod process;
mod rehearsal;
pub mod restore;
mod rtnetlink;
mod rule;
mod script;
pub(crate) mod setsockopt;
mod slot;
mod state;
mod table;
mod this_host;
mod tool;
mod turns;
mod undo;

pub use applied::{Applied, Context, check};
pub use facts::{Checked, Facts, Parameter};
pub use family::Family;
pub use journal::Journal;
pub use kind::{Flows, Need, Privilege, Scope, StepDef};
pub use kinds::command::Command;
pub use kinds::netfilter::Netfilter;
pub use kinds::route::Route;
pub use kinds::sockopt::Sockopt;
pub use kinds::sysctl::{
    LATCHED as LATCHED_SYSCTLS, Sysctl, is_same as is_same_sysctl, value as sysctl,
};
pub use kinds::{STEPS, Step, command, needs_mark, netfilter, route, sockopt, traffic_class};
pub use left_out::left_out;
pub use lock::{Lock, Run};
pub use preflight::{Inspection, Problem, inspect};
pub use process::CommandOutput;
pub use rehearsal::rehearse;
pub use slot::{SLOTS, Slot, mark};
pub use state::make_for as make_state_for;
pub use this_host::ThisHost;
pub use turns::Turns;
pub(crate) use turns::{common, own};
