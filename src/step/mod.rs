//! Steps: what makes one configuration differ from another. Each knows how to apply itself and
//! how to undo itself, and whom it affects ([`Scope`]).
//!
//! Imports [`error`](crate::error) only. Touches the operating system.

pub mod sysctl;

/// Whom a step affects while it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything in the network namespace: configurations must take turns.
    Namespace,
}

/// One step of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Set a kernel parameter of the network namespace.
    Sysctl {
        /// Dotted name, `net.ipv4.tcp_ecn`.
        name: String,
        /// The value as text.
        value: String,
    },
}

impl Step {
    /// Whom the step affects.
    pub fn scope(&self) -> Scope {
        match self {
            Step::Sysctl { .. } => Scope::Namespace,
        }
    }
}
