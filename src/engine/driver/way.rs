//! How targets are reached under a configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use super::settings::{Configuration, Settings};
use crate::connect::Transport;
use crate::connect::forge::Packet;
use crate::connect::options::TFO;
use crate::step::sockopt::Sockopt;
use crate::step::{Family, Step, left_out, needs_mark};

/// How targets are reached under a configuration.
pub(super) struct Way {
    pub(super) transport: Transport,
    /// The IP protocol of its flows.
    pub(super) protocol: u8,
    /// Whether data may go with the SYN.
    pub(super) early: bool,
    pub(super) options: Vec<Sockopt>,
    /// The firewall mark of its packets.
    pub(super) mark: Option<u32>,
    /// The packet that is made by hand, if one is.
    pub(super) packet: Option<Arc<Packet>>,
    /// How often each target is probed.
    pub(super) repeat: u32,
    /// The version of IP that the steps leave out: its targets are skipped.
    pub(super) left_out: Option<Family>,
}

impl Way {
    /// The ways of all configurations. If one needs a mark all get theirs, so that every packet belongs to one of them.
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let Settings { slot, configurations, .. } = settings;
        let marked = configurations.iter().any(|c| needs_mark(&c.steps));
        let ways = configurations.iter().enumerate();
        ways.map(|(number, one)| Self::of(marked.then(|| slot.mark(number)), one)).collect()
    }

    fn of(mark: Option<u32>, configuration: &Configuration) -> Self {
        let options = configuration.steps.iter().filter_map(|step| match step {
            Step::Sockopt(option) => Some(option.clone()),
            _ => None,
        });
        let Configuration { kind, options: given, .. } = configuration;
        // An option for one version alone takes precedence there, whatever the order in the file.
        let mut options: Vec<Sockopt> = options.collect();
        options.sort_by_key(Sockopt::is_of_one_family);
        Self {
            transport: kind.transport,
            protocol: kind.protocol(given),
            early: kind.early || given.boolean(&TFO) == Some(true),
            options,
            mark,
            packet: given.packet.clone().map(Arc::new),
            repeat: given.repeat(),
            left_out: left_out(&configuration.steps),
        }
    }

    /// Why a target is skipped under the configuration, if it is.
    pub(super) fn skips(&self, target: SocketAddr) -> Option<&'static str> {
        match (self.left_out?, target.is_ipv6()) {
            (Family::V6, true) => Some("the steps are for IPv4 only"),
            (Family::V4, false) => Some("the steps are for IPv6 only"),
            _ => None,
        }
    }
}
