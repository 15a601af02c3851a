//! The settings of the engine for a run.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::connect;
use crate::engine::ports::Pool;
use crate::engine::scheduler::Limits;
use crate::step::{Context, Journal, Slot, Step};

/// What the engine needs to know about a measurement and its run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configurations, the baseline first.
    pub configurations: Vec<Configuration>,
    /// Whether the last of them is not a configuration of the measurement but that of liveness probes (`Engine::probe`).
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
    /// The slot of this run in its network namespace.
    pub slot: Slot,
    /// Where changes to the host are recorded before they are made.
    pub journal: Option<Journal>,
    /// Whether to make the kernel forget what it knows about targets (TCP Fast Open cookies, round-trip times) before they are
    /// probed.
    pub forget: bool,
}

impl Settings {
    /// The configurations of the measurement, without that of liveness probes.
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

/// One configuration, as far as the engine needs it.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The steps that are in force with it.
    pub steps: Vec<Step>,
    /// The kind of connection.
    pub kind: &'static connect::KindDef,
    /// The options of the connection.
    pub options: connect::Options,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// A target to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Address and port.
    pub at: SocketAddr,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The source port that it must have under each configuration, if a certain one.
    pub wanted: Vec<Option<u16>>,
}
