//! The row of a connection kind: everything about it that other modules need.

use std::time::Duration;

use super::cost::Part;
use super::facts::{Stage, State};
use super::machine::{Action, Ending, Event, Machine, Peer};
use super::options::{OptionDef, Options};
use super::packet::Protocol;
use crate::packet::protocol;

/// What carries a kind: which socket the driver opens, and which flow the observer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A TCP socket.
    Tcp,
    /// A Multipath TCP socket, whose first subflow looks like TCP.
    Mptcp,
    /// A UDP socket.
    Udp,
    /// Crafted packets; the packet names the protocol.
    Raw,
}

/// A machine, or why nothing can be sent, in the words of the `error` column.
pub type Started = Result<Box<dyn Machine>, &'static str>;

/// An option that conflicts with another one or with the kind, and why.
pub type Conflict = (&'static OptionDef, String);

/// One row of the registry of connection kinds. A row over TCP takes what it has in common with the kind `tcp` from
/// that row.
#[derive(Debug)]
pub struct KindDef {
    /// The name in a measurement file.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// What carries it.
    pub transport: Transport,
    /// The port of targets without one, and of the lab's hosts.
    pub port: u16,
    /// The port of targets without one, where options choose another port than `port`.
    pub port_for: fn(&Options) -> Option<u16>,
    /// The options of `[connect]` that it takes, besides those that every kind takes.
    pub options: &'static [&'static OptionDef],
    /// Versions of HTTP that `version` may select.
    pub versions: &'static [&'static str],
    /// Columns that it adds to the attempt's own: those that `keep` may name.
    pub columns: &'static [&'static str],
    /// The most octets read from any target with these options: beyond them the attempt ends. Fewer are kept in memory.
    pub most_read: fn(&Options) -> usize,
    /// Octets of memory that a peer can make one attempt hold at most, between two events: input that is still
    /// needed, and output that the peer does not read. An attempt that has ended holds only its
    /// [`Reply`](super::facts::Reply). Reading one event may take up to [`MOST_TRANSIENT`] more, once for all attempts.
    pub memory: usize,
    /// Whether data goes with the SYN without the option `tfo`.
    pub early: bool,
    /// Whether an attempt is `ok` once the handshake is done, whatever follows.
    pub handshake_is_ok: bool,
    /// Why the kind cannot combine these options, although it takes each of them.
    pub conflict: fn(&KindDef, &Options) -> Option<Conflict>,
    /// Makes the machine of one attempt. The options fit the kind.
    pub start: fn(&Options, Peer<'_>) -> Started,
    /// The packets that one attempt with this timeout sends.
    pub cost: fn(&Options, Duration) -> Vec<Part>,
}

/// Octets of memory that reading one event may take temporarily, for any kind: at most, those of parsing a DNS
/// message of 64 KiB. Events are read one after the other.
pub const MOST_TRANSIENT: usize = 8 << 20;

/// Names identify rows.
impl PartialEq for KindDef {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for KindDef {}

impl KindDef {
    /// Whether the kind takes an option.
    pub fn takes(&self, option: &OptionDef) -> bool {
        option.common || self.options.iter().any(|row| row.name == option.name)
    }

    /// The names of the options that only some kinds take, and this one does.
    pub fn option_names(&self) -> Vec<&'static str> {
        self.options.iter().map(|option| option.name).collect()
    }

    /// The IP protocol of the flow that an attempt with these options makes.
    pub fn protocol(&self, options: &Options) -> u8 {
        match (self.transport, &options.packet) {
            (Transport::Raw, Some(packet)) if packet.protocol == Protocol::Udp => protocol::UDP,
            (Transport::Udp, _) => protocol::UDP,
            _ => protocol::TCP,
        }
    }

    /// The port of targets without one.
    pub fn port_with(&self, options: &Options) -> u16 {
        (self.port_for)(options).unwrap_or(self.port)
    }
}

/// The machine of a kind for one attempt. The options fit the kind.
pub fn start(kind: &KindDef, options: &Options, peer: Peer<'_>) -> Box<dyn Machine> {
    (kind.start)(options, peer).unwrap_or_else(|word| Box::new(Unable(word)))
}

/// An attempt that cannot send anything: a local error, since no packet of the path can have caused it.
struct Unable(&'static str);

impl Machine for Unable {
    fn handle(&mut self, _: Event<'_>, _: &mut Vec<u8>) -> Action {
        Action::Close(Ending::new(State::LocalError, self.stage(), Some(self.0)))
    }

    fn stage(&self) -> Stage {
        Stage::Request
    }
}
