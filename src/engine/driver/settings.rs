//! What a run asks of the engine.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::connect;
use crate::engine::ports::Pool;
use crate::engine::scheduler::Limits;
use crate::step::{Context, Journal, Slot, Step};

/// What the engine needs to know of a measurement and its run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configurations, the baseline first.
    pub configurations: Vec<Configuration>,
    /// Whether the last of them is no configuration of the measurement but how [`Engine::probe`] asks.
    pub probe: bool,
    /// Limits on what is sent.
    pub limits: Limits,
    /// Send through this interface, whatever the routing table prefers.
    pub bind_device: Option<String>,
    /// Watch the state of this interface, by which packets leave.
    pub interface: Option<String>,
    /// Whether `command` steps may run their programs.
    pub allow_commands: bool,
    /// The source ports of the run.
    pub pool: Pool,
    /// The place of this run among others of its network namespace.
    pub slot: Slot,
    /// Where changes to the host are written down before they are made.
    pub journal: Option<Journal>,
    /// Whether the kernel forgets what it knows of targets (TCP Fast Open cookies, round-trip times) before
    /// they are asked.
    pub forget: bool,
}

impl Settings {
    /// Those of the measurement, without the probe.
    pub(super) fn measured(&self) -> Range<usize> {
        0..self.configurations.len() - usize::from(self.probe)
    }

    pub(super) fn context(&self) -> Context {
        Context {
            interface: self.bind_device.clone(),
            allow_commands: self.allow_commands,
            slot: self.slot,
            journal: self.journal.clone(),
        }
    }
}

/// One configuration, as far as the engine cares.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// What is changed while it is in force.
    pub steps: Vec<Step>,
    /// The kind of connection.
    pub kind: &'static connect::KindDef,
    /// What else was asked for.
    pub options: connect::Options,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Address and port.
    pub at: SocketAddr,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The source port that it wants under each configuration, if it wants a certain one.
    pub wanted: Vec<Option<u16>>,
}
