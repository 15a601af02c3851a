//! The registry of observer functions.
//!
//! A measurement names functions and places them in chains by the header that they read ([`Chain`]). Functions that
//! share state form a [`Group`]: one object that keeps the state of all flows contiguously, indexed by the flow's
//! slot, and sets it aside when the flow is complete, for conversion to Arrow columns ([`Closed`]). A group gets
//! packets in batches ([`Visit`]): one virtual call per batch, and no allocation per flow.
//!
//! Imports [`packet`](crate::packet) and [`field`](crate::field).

pub mod basic;
pub mod dns;
pub mod dscp;
pub mod ecn;
pub mod evil;
mod group;
pub mod hops;
pub mod icmp;
pub mod mptcp;
pub mod mss;
pub mod own;
pub mod tcp;
pub mod tcpopt;
pub mod tfo;
pub mod ttl;
pub mod udp;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::Field;

use own::OwnField;

use crate::field::FieldDef;
use crate::packet::{Direction, FlowKey, Packet, Transport, flag, protocol};

/// Where a function may be listed: the header that makes it run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// The first packet of a flow.
    NewFlow,
    /// Every IPv4 header.
    Ip4,
    /// Every IPv6 header.
    Ip6,
    /// Every TCP header.
    Tcp,
    /// Every UDP header.
    Udp,
    /// Every ICMP message, including errors about a flow's packets.
    Icmp4,
    /// Every ICMPv6 message, likewise.
    Icmp6,
    /// Every header of another transport.
    L4,
}

impl Chain {
    /// Every chain, in the order of headers.
    pub const ALL: [Chain; 8] = [
        Chain::NewFlow,
        Chain::Ip4,
        Chain::Ip6,
        Chain::Tcp,
        Chain::Udp,
        Chain::Icmp4,
        Chain::Icmp6,
        Chain::L4,
    ];

    /// The key in a measurement file.
    pub fn key(self) -> &'static str {
        match self {
            Chain::NewFlow => "new_flow_chain",
            Chain::Ip4 => "ip4_chain",
            Chain::Ip6 => "ip6_chain",
            Chain::Tcp => "tcp_chain",
            Chain::Udp => "udp_chain",
            Chain::Icmp4 => "icmp4_chain",
            Chain::Icmp6 => "icmp6_chain",
            Chain::L4 => "l4_chain",
        }
    }

    /// The header that its functions read, for messages.
    pub fn reads(self) -> &'static str {
        match self {
            Chain::NewFlow => "the first packet of a flow",
            Chain::Ip4 => "IPv4 headers",
            Chain::Ip6 => "IPv6 headers",
            Chain::Tcp => "TCP headers",
            Chain::Udp => "UDP headers",
            Chain::Icmp4 => "ICMP messages",
            Chain::Icmp6 => "ICMPv6 messages",
            Chain::L4 => "headers of other transports",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of chains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChainSet(u8);

impl ChainSet {
    /// The set of the given chains.
    pub const fn of(chains: &[Chain]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < chains.len() {
            bits |= chains[i].bit();
            i += 1;
        }
        Self(bits)
    }

    /// Whether the chain is in the set.
    pub const fn has(self, chain: Chain) -> bool {
        self.0 & chain.bit() != 0
    }

    /// Adds a chain.
    pub const fn add(&mut self, chain: Chain) {
        self.0 |= chain.bit();
    }

    /// Whether the two sets share a chain.
    pub const fn meets(self, other: ChainSet) -> bool {
        self.0 & other.0 != 0
    }

    /// The chains of the headers that a packet has.
    #[inline(always)]
    pub fn of_packet(packet: &Packet<'_>) -> Self {
        let mut set = Self::of(&[if packet.ip.source.is_ipv4() { Chain::Ip4 } else { Chain::Ip6 }]);
        match &packet.transport {
            Transport::Tcp(_) => set.add(Chain::Tcp),
            Transport::Udp(_) => set.add(Chain::Udp),
            Transport::Icmp(_) if packet.ip.protocol == protocol::ICMP => set.add(Chain::Icmp4),
            Transport::Icmp(_) => set.add(Chain::Icmp6),
            Transport::Other if packet.flaw.is_none() && !packet.ip.is_later_fragment() => {
                set.add(Chain::L4);
            }
            Transport::Other => {}
        }
        set
    }

    /// The chains in the set.
    pub fn iter(self) -> impl Iterator<Item = Chain> {
        Chain::ALL.into_iter().filter(move |chain| self.has(*chain))
    }
}

/// One function of the registry.
#[derive(Debug)]
pub struct FunctionDef {
    /// The name in a measurement file; upstream's name.
    pub name: &'static str,
    /// The chains in which it may be listed.
    pub chains: ChainSet,
    /// The set-up function that must be in `new_flow_chain` for this one to have space for its facts.
    pub setup: Option<&'static str>,
    /// Whether only its own name places it, never its group's: it affects other functions.
    pub alone: bool,
    /// What it records.
    pub doc: &'static str,
}

/// A group of functions that share their state, with its constructor.
#[derive(Debug)]
pub struct GroupDef {
    /// The name after `use = [...]`.
    pub name: &'static str,
    /// What the group is for.
    pub doc: &'static str,
    /// Its functions.
    pub functions: &'static [FunctionDef],
    /// Its columns; `by` names the function that fills each.
    pub fields: &'static [FieldDef],
    /// Whether `observe` uses it if none is named.
    pub usual: bool,
    /// Makes the object that keeps the state of its flows.
    pub new: fn(Selection) -> Box<dyn Group>,
}

/// Every group, in the order of the record's columns.
pub static GROUPS: &[&GroupDef] = &[
    &basic::GROUP,
    &tcp::GROUP,
    &ecn::GROUP,
    &dscp::GROUP,
    &mss::GROUP,
    &tcpopt::GROUP,
    &tfo::GROUP,
    &mptcp::GROUP,
    &evil::GROUP,
    &udp::GROUP,
    &dns::GROUP,
    &icmp::GROUP,
    &ttl::GROUP,
    &hops::GROUP,
];

/// Every function with its group, in the order of the registry.
pub fn functions() -> impl Iterator<Item = (&'static GroupDef, &'static FunctionDef)> {
    GROUPS.iter().flat_map(|group| group.functions.iter().map(|function| (*group, function)))
}

/// The function with a name.
pub fn function(name: &str) -> Option<(&'static GroupDef, &'static FunctionDef)> {
    functions().find(|(_, function)| function.name == name)
}

/// The functions that a measurement has placed in chains.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    placed: Vec<(&'static str, ChainSet)>,
    own: Arc<[OwnField]>,
}

impl Selection {
    /// Places a function in a chain.
    pub fn place(&mut self, function: &'static FunctionDef, chain: Chain) {
        match self.placed.iter_mut().find(|(name, _)| *name == function.name) {
            Some((_, chains)) => chains.add(chain),
            None => self.placed.push((function.name, ChainSet::of(&[chain]))),
        }
    }

    /// Every function of the usual groups in every chain that allows it: what `observe` does without a file.
    pub fn usual() -> Self {
        let mut all = Self::default();
        GROUPS.iter().filter(|group| group.usual).for_each(|group| all.place_group(group));
        all
    }

    /// Every function in every chain that allows it.
    pub fn everything() -> Self {
        let mut all = Self::default();
        GROUPS.iter().for_each(|group| all.place_group(group));
        all
    }

    /// Places every function of a group in every chain that allows it.
    pub fn place_group(&mut self, group: &'static GroupDef) {
        for function in group.functions.iter().filter(|function| !function.alone) {
            function.chains.iter().for_each(|chain| self.place(function, chain));
        }
    }

    /// The chains in which a function was placed; empty if it was not.
    pub fn chains(&self, function: &str) -> ChainSet {
        let placed = self.placed.iter().find(|(name, _)| *name == function);
        placed.map_or(ChainSet::default(), |(_, chains)| *chains)
    }

    /// Whether a function was placed anywhere.
    pub fn has(&self, function: &str) -> bool {
        self.chains(function) != ChainSet::default()
    }

    /// The groups with at least one placed function, in the order of the registry.
    pub fn groups(&self) -> impl Iterator<Item = &'static GroupDef> + '_ {
        GROUPS.iter().copied().filter(|group| group.functions.iter().any(|f| self.has(f.name)))
    }

    /// The columns that the placed functions fill, in the order of the record, without the measurement's own.
    pub fn fields(&self) -> impl Iterator<Item = &'static FieldDef> + '_ {
        self.groups().flat_map(|group| group.fields).filter(|field| self.has(field.by))
    }

    /// Adds the columns that a measurement defines itself.
    pub fn define(&mut self, own: Vec<OwnField>) {
        self.own = own.into();
    }

    /// The columns that the measurement defines itself.
    pub fn own(&self) -> &[OwnField] {
        &self.own
    }

    /// All columns, in the order of the record: those of the placed functions, then the measurement's own.
    pub fn columns(&self) -> impl Iterator<Item = Field> + '_ {
        self.fields().map(FieldDef::arrow).chain(self.own.iter().map(OwnField::arrow))
    }

    /// Makes the objects that keep the state of flows, in the order of [`Selection::columns`].
    pub fn make_groups(&self) -> Vec<Box<dyn Group>> {
        let own = (!self.own.is_empty()).then(|| own::group(self.own.clone()));
        self.groups().map(|group| (group.new)(self.clone())).chain(own).collect()
    }

    /// From a group's columns, in the order of its `fields`, those that the placed functions fill.
    pub fn pick(&self, fields: &[FieldDef], columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
        let kept = fields.iter().zip(columns).filter(|(field, _)| self.has(field.by));
        kept.map(|(_, column)| column).collect()
    }
}

/// A function's verdict on its flow after a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    More,
    /// The flow is over; it is completed after a short delay.
    Over,
}

/// A function's verdict on a new flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The flow is watched.
    Watch,
    /// The flow is ignored, and counted.
    Refuse,
}

/// What the observer adds to a packet.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The chains of the headers that the packet has.
    pub headers: ChainSet,
    /// Whether it goes with or against the flow's first packet.
    pub direction: Direction,
    /// The class that marking functions use.
    pub class: Option<Class>,
    /// For an ICMP error: how many octets of its quote, besides addresses and ports, were compared with what was sent
    /// and are equal.
    pub quoted: u8,
}

impl Seen {
    /// For a packet in this direction.
    #[inline(always)]
    pub fn of(packet: &Packet<'_>, direction: Direction) -> Self {
        let (headers, class) = (ChainSet::of_packet(packet), Class::of(packet));
        Self { headers, direction, class, quoted: 0 }
    }
}

/// The class of a packet for marking functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A TCP SYN or SYN-ACK.
    Syn,
    /// A packet with data, see [`Packet::is_data`].
    Data,
}

impl Class {
    /// The class of a packet; `None` if it has neither SYN nor data (pure ACKs, FINs) or is not the sender's own
    /// (later fragments, ICMP errors).
    #[inline(always)]
    fn of(packet: &Packet<'_>) -> Option<Self> {
        let syn = packet.tcp().is_some_and(|tcp| tcp.has(flag::SYN));
        match (packet.carries_marks(), syn, packet.is_data()) {
            (false, ..) => None,
            (_, true, _) => Some(Class::Syn),
            (_, _, true) => Some(Class::Data),
            _ => None,
        }
    }
}

/// A packet of a batch, with its flow.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// The packet's index in the batch.
    pub packet: usize,
    /// The flow's slot.
    pub slot: usize,
    /// What the observer adds.
    pub seen: Seen,
}

impl Visit {
    /// Maximum number of packets in a batch.
    pub const MOST: usize = u64::BITS as usize;
}

/// What a group learns of a flow besides its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A reverse packet has the flow's addresses and ports but does not fit it: no function sees it. If it still
    /// counts among the flow's packets, its octets.
    Unexpected(Option<u32>),
    /// It cannot be checked whether packets fit the flow.
    Unchecked,
}

/// The state of all flows for one group of functions.
pub trait Group: Send {
    /// A flow begins in `slot` with this packet. The slot may have belonged to another flow before.
    fn open(&mut self, slot: usize, key: &FlowKey, packet: &Packet<'_>) -> Admission;
    /// Packets of the flows in the slots of `visits` (including their first ones), in order. Returns a bit for each
    /// visit after which a flow is over.
    fn packets(&mut self, packets: &[Packet<'_>], visits: &[Visit]) -> u64;
    /// Something besides its packets is known of the flow in `slot`.
    fn note(&mut self, _slot: usize, _note: Note) {}
    /// The flows in these slots are complete: their facts are set aside, in this order.
    fn close(&mut self, slots: &[u32]);
    /// Takes the facts of the closed flows, in order of closing.
    fn take(&mut self) -> Box<dyn Closed>;
}

/// The facts of complete flows, from one group. Making columns takes as long as finding the facts, so a separate
/// thread may do it.
pub trait Closed: Send {
    /// The columns of the placed functions, one row per flow in order of closing. `keys` are the keys of these flows;
    /// if `wanted` is given, only flows marked there get a row.
    fn columns(&self, keys: &[FlowKey], wanted: Option<&[bool]>) -> Vec<ArrayRef>;
    /// Makes the facts of the flow with this index, and drops them: panics if that is impossible.
    fn check(&self, place: usize, key: &FlowKey);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_everything_is_documented() {
        let mut names = HashSet::new();
        let mut columns = HashSet::new();
        for group in GROUPS {
            assert!(!group.doc.is_empty(), "{}", group.name);
            for function in group.functions {
                assert!(names.insert(function.name), "{} twice", function.name);
                assert!(!function.doc.is_empty(), "{}", function.name);
                assert_ne!(function.chains, ChainSet::default(), "{}", function.name);
                if let Some(setup) = function.setup {
                    assert!(group.functions.iter().any(|f| f.name == setup), "{setup}");
                }
            }
            for field in group.fields {
                assert!(columns.insert(field.name), "column {} twice", field.name);
                assert!(field.doc.trim().ends_with('.'), "{}: {:?}", field.name, field.doc);
                assert!(
                    group.functions.iter().any(|f| f.name == field.by),
                    "{}: no function {}",
                    field.name,
                    field.by
                );
            }
        }
    }
}
