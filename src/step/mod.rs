//! Steps: what makes one configuration differ from another. Each knows how to apply itself and
//! how to undo itself, and whom it affects ([`Scope`]).
//!
//! [`Applied`] stands for the steps that are in force. It undoes them when asked
//! ([`Applied::undo`], which can fail and say so) and in any case when it is dropped, so an early
//! return or a panic leaves the host as it was found.
//!
//! Imports [`error`](crate::error) only. Touches the operating system.

mod sysctl;

use crate::error::Result;

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

    fn apply(&self) -> Result<Undo> {
        match self {
            Step::Sysctl { name, value } => sysctl::Setting::change(name, value).map(Undo::Sysctl),
        }
    }
}

/// What it takes to undo one step.
#[derive(Debug)]
enum Undo {
    Sysctl(sysctl::Setting),
}

impl Undo {
    fn run(&self) -> Result<()> {
        match self {
            Undo::Sysctl(setting) => setting.restore(),
        }
    }
}

/// The steps that are in force.
#[derive(Debug, Default)]
pub struct Applied(Vec<Undo>);

impl Applied {
    /// Applies the steps in order. If one fails, those before it are undone.
    pub fn apply(steps: &[Step]) -> Result<Self> {
        let mut applied = Self::default();
        for step in steps {
            // On error `applied` is dropped, which undoes what was done.
            applied.0.push(step.apply()?);
        }
        Ok(applied)
    }

    /// Undoes the steps, last first. All are tried; the first failure is told.
    pub fn undo(mut self) -> Result<()> {
        self.undo_all()
    }

    fn undo_all(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(undo) = self.0.pop() {
            outcome = outcome.and(undo.run());
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
