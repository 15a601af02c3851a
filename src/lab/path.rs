//! Routers in user space: a thread between two wires plays all of them, for what Linux cannot do. They quote eight octets,
//! add labels or interfaces to their errors, change what they forward with right checksums, repair quotes that come back
//! through them, and split a path into branches.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;

use etherparse::IpSlice;
use etherparse::checksum::Sum16BitWords;
use mio::{Events, Poll};

use crate::error::{Doing, Result};
use crate::lab::chain::{Branch, Edits, Errors, Fault, Hook};
use crate::lab::namespace::Namespace;
use crate::lab::relay::pass;
use crate::lab::router_addresses;
use crate::lab::spec::{HostSpec, Spec};
use crate::lab::wire::{Wire, fill_checksum};
use crate::lab::worker::{self, Stop, Stopped};

/// The traffic class of a router's error: that of network control, with the lower bits of the packet's DSCP, as Linux
/// does (RFC 1812, 4.3.2.5).
const CONTROL: u8 = 0xc0;
/// The bits that it copies.
const COPIED: u8 = 0x1c;
/// The TTL of errors.
const TTL: u8 = 64;
/// Octets of a quote before an extension (RFC 4884, 4.1).
const PADDED: usize = 128;
/// Packets whose original marks are kept, for routers that repair quotes.
const MOST_KEPT: usize = 4096;
/// The protocols of errors.
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// The faults of one host at one router.
struct At {
    hook: Hook,
    edits: Edits,
    silent: bool,
}

/// One router.
struct Router {
    index: usize,
    silent: bool,
    /// By place in the list of hosts.
    faults: Vec<(usize, At)>,
    /// For branches by packet.
    turn: bool,
    /// The traffic class that packets came with, by what identifies them.
    came: HashMap<(IpAddr, u16, u32), u8>,
}

/// All of them, with the hosts behind them.
pub(super) struct Path {
    routers: Vec<Router>,
    /// The first addresses of the hosts.
    hosts: Vec<(IpAddr, IpAddr)>,
}

impl Path {
    /// The routers in user space before these hosts.
    pub(super) fn new(spec: &Spec, behind: Option<usize>, hosts: &[&HostSpec]) -> Self {
        let wire = |index: &usize| spec.routers.get(*index).is_some_and(|router| router.wire);
        let router = |index: usize| {
            let of = |(place, host): (usize, &&HostSpec)| {
                let faults = host.faults.iter().filter(|fault| fault.router == Some(index));
                let at = |fault: &Fault| {
                    let (edits, silent) = (fault.edits.clone(), fault.errors == Errors::None);
                    (place, At { hook: fault.hook, edits, silent })
                };
                faults.map(at).collect::<Vec<_>>()
            };
            let faults = hosts.iter().enumerate().flat_map(of).collect();
            let silent = spec.routers.get(index).is_some_and(|router| router.silent);
            Router { index, silent, faults, turn: false, came: HashMap::new() }
        };
        let routers = spec.chain(behind).into_iter().filter(wire).map(router).collect();
        let firsts = hosts
            .iter()
            .map(|host| (IpAddr::V4(host.address_v4(0)), IpAddr::V6(host.address_v6(0))));
        Self { routers, hosts: firsts.collect() }
    }

    /// Starts the thread.
    pub(super) fn start(
        self,
        namespace: &Namespace,
        near: Wire,
        far: Wire,
        blocks: Vec<usize>,
        stop: &mut Stop,
    ) -> Result<JoinHandle<()>> {
        let (poll, stopped) = stop.worker()?;
        near.register(&poll, worker::FIRST)?;
        far.register(&poll, worker::FIRST + 1)?;
        namespace.spawn(move || {
            self.run(poll, near, far, &blocks, &stopped).doing(|| "forward packets on wires")
        })
    }

    fn run(
        mut self,
        mut poll: Poll,
        mut near: Wire,
        mut far: Wire,
        blocks: &[usize],
        stopped: &Stopped,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        while !stopped.is_set() {
            worker::poll(&mut poll, &mut events, None)?;
            while let Some(packet) = near.receive()? {
                match self.out(packet, blocks) {
                    Some(Forwarded::Out(packet)) => pass(&mut far, &packet),
                    Some(Forwarded::Back(error)) => pass(&mut near, &error),
                    None => {}
                }
            }
            while let Some(packet) = far.receive()? {
                if let Some(packet) = self.back(packet, self.routers.len()) {
                    pass(&mut near, &packet);
                }
            }
        }
        Ok(())
    }

    /// The place of the host with an address.
    fn host(&self, address: IpAddr, blocks: &[usize]) -> Option<usize> {
        self.hosts.iter().zip(blocks).position(|((v4, v6), block)| match (address, v4, v6) {
            (IpAddr::V4(is), IpAddr::V4(first), _) => {
                (is.to_bits().wrapping_sub(first.to_bits()) as usize) < *block
            }
            (IpAddr::V6(is), _, IpAddr::V6(first)) => {
                is.to_bits().wrapping_sub(first.to_bits()) < *block as u128
            }
            _ => false,
        })
    }

    /// A packet from the prober.
    fn out(&mut self, mut packet: Vec<u8>, blocks: &[usize]) -> Option<Forwarded> {
        let host = self.host(destination(&packet)?, blocks);
        for place in 0..self.routers.len() {
            let router = &mut self.routers[place];
            let second = router.is_second_branch(host, &packet);
            router.keep(host, &packet);
            router.edit(host, &mut packet, second, |hook| hook == Hook::Ingress);
            if ttl(&packet)? <= 1 {
                let error = router.error(host, &packet, second);
                let error = error.and_then(|error| self.back(error, place));
                return error.map(Forwarded::Back);
            }
            router.edit(host, &mut packet, second, |hook| hook != Hook::Ingress);
            lower(&mut packet, 1);
        }
        finish(&mut packet);
        Some(Forwarded::Out(packet))
    }

    /// A packet to the prober that passes this number of routers.
    fn back(&mut self, mut packet: Vec<u8>, routers: usize) -> Option<Vec<u8>> {
        for router in self.routers[..routers].iter_mut().rev() {
            if ttl(&packet)? <= 1 {
                return None;
            }
            router.repair(&mut packet);
            lower(&mut packet, 1);
        }
        finish(&mut packet);
        Some(packet)
    }
}

/// Where a packet goes.
enum Forwarded {
    Out(Vec<u8>),
    Back(Vec<u8>),
}

impl Router {
    fn faults(&self, host: Option<usize>) -> impl Iterator<Item = &At> {
        self.faults.iter().filter(move |(of, _)| Some(*of) == host).map(|(_, at)| at)
    }

    /// Whether a packet takes the branch in which the edits are made. Without branches there is one way.
    fn is_second_branch(&mut self, host: Option<usize>, packet: &[u8]) -> Option<bool> {
        let branch = self.faults(host).find_map(|at| at.edits.branch)?;
        Some(match branch {
            Branch::Flow => source_port(packet).is_some_and(|port| port & 1 == 1),
            Branch::Packet => {
                self.turn = !self.turn;
                self.turn
            }
        })
    }

    fn edit(
        &self,
        host: Option<usize>,
        packet: &mut Vec<u8>,
        second: Option<bool>,
        is: impl Fn(Hook) -> bool,
    ) {
        for at in self.faults(host).filter(|at| is(at.hook) && second != Some(false)) {
            let class = traffic_class(packet);
            let class = at.edits.dscp.map_or(class, |dscp| dscp << 2 | class & 3);
            let class = at.edits.ecn.map_or(class, |ecn| class & !3 | ecn & 3);
            set_traffic_class(packet, class);
            if at.edits.clear_ae {
                clear_ae(packet);
            }
            for kind in &at.edits.strip {
                strip(packet, *kind);
            }
        }
    }

    /// Keeps the marks of a packet, if this router repairs them.
    fn keep(&mut self, host: Option<usize>, packet: &[u8]) {
        if !self.faults(host).any(|at| at.edits.repair) {
            return;
        }
        if self.came.len() >= MOST_KEPT {
            self.came.clear();
        }
        if let Some(key) = identity(packet) {
            self.came.insert(key, traffic_class(packet));
        }
    }

    /// Writes the marks that the quoted packet came with into an error on its way back.
    fn repair(&self, packet: &mut [u8]) {
        let v4 = packet.first().is_some_and(|octet| octet >> 4 == 4);
        let (start, protocol) = if v4 { (20, packet.get(9)) } else { (40, packet.get(6)) };
        let is = matches!(
            (protocol, packet.get(start)),
            (Some(&ICMP), Some(3 | 11)) | (Some(&ICMP6), Some(1..=4))
        );
        let Some(quoted) = packet.get_mut(start + 8..).filter(|_| is) else { return };
        if let Some(class) = identity(quoted).and_then(|key| self.came.get(&key)) {
            set_traffic_class(quoted, *class);
        }
    }

    /// The error about a packet that expires here.
    fn error(&self, host: Option<usize>, packet: &[u8], second: Option<bool>) -> Option<Vec<u8>> {
        if self.silent || self.faults(host).any(|at| at.silent) {
            return None;
        }
        let v4 = packet.first()? >> 4 == 4;
        let mut quote = packet.to_vec();
        finish(&mut quote);
        let header = if v4 { usize::from(quote.first()? & 15) * 4 } else { 40 };
        let edits = || self.faults(host).map(|at| &at.edits);
        if let Some(octets) = edits().find_map(|edits| edits.quote) {
            quote.truncate(header + usize::from(octets));
        }
        let labels = edits().find_map(|edits| edits.labels.as_deref());
        let interface = edits().find_map(|edits| edits.interface.as_deref());
        let extension = extension(labels, interface);
        let mut message =
            if v4 { vec![11, 0, 0, 0, 0, 0, 0, 0] } else { vec![3, 0, 0, 0, 0, 0, 0, 0] };
        if !extension.is_empty() {
            quote.resize(PADDED, 0);
            let words = PADDED / if v4 { 4 } else { 8 };
            message[if v4 { 5 } else { 4 }] = words as u8;
        }
        message.extend(quote);
        message.extend(extension);
        let (own_v4, own_v6) =
            router_addresses(Some(self.index + if second == Some(true) { 100 } else { 0 }));
        let class = CONTROL | traffic_class(packet) & COPIED;
        envelope(packet, v4, (own_v4.octets(), own_v6.octets()), class, &message)
    }
}

/// An error's IP header with the message.
fn envelope(
    about: &[u8],
    v4: bool,
    (own_v4, own_v6): ([u8; 4], [u8; 16]),
    class: u8,
    message: &[u8],
) -> Option<Vec<u8>> {
    let mut error = Vec::with_capacity(40 + message.len());
    if v4 {
        let length = u16::try_from(20 + message.len()).ok()?.to_be_bytes();
        error.extend([0x45, class, length[0], length[1], 0, 0, 0, 0, TTL, ICMP, 0, 0]);
        error.extend(own_v4);
        error.extend(about.get(12..16)?);
    } else {
        let length = u16::try_from(message.len()).ok()?.to_be_bytes();
        error.extend([0x60 | class >> 4, class << 4, 0, 0, length[0], length[1], ICMP6, TTL]);
        error.extend(own_v6);
        error.extend(about.get(8..24)?);
    }
    error.extend(message);
    Some(error)
}

/// The extension of an error (RFC 4884, 7): labels (RFC 4950) and the name of the incoming interface (RFC 5837).
fn extension(labels: Option<&[u32]>, interface: Option<&str>) -> Vec<u8> {
    let mut objects = Vec::new();
    if let Some(labels) = labels {
        let length = (4 + 4 * labels.len()) as u16;
        objects.extend(length.to_be_bytes());
        objects.extend([1, 1]);
        for (place, label) in labels.iter().enumerate() {
            let bottom = u32::from(place + 1 == labels.len());
            objects.extend((label << 12 | bottom << 8 | 1).to_be_bytes());
        }
    }
    if let Some(name) = interface {
        let mut content = vec![0];
        content.extend(name.bytes().take(63));
        content.resize(content.len().next_multiple_of(4), 0);
        content[0] = content.len() as u8;
        objects.extend(((4 + content.len()) as u16).to_be_bytes());
        objects.extend([2, 2]);
        objects.extend(content);
    }
    if objects.is_empty() {
        return objects;
    }
    let mut all = vec![0x20, 0, 0, 0];
    all.extend(objects);
    let sum = Sum16BitWords::new().add_slice(&all).ones_complement();
    all[2..4].copy_from_slice(&sum.to_ne_bytes());
    all
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    IpSlice::from_slice(packet).ok().map(|ip| ip.destination_addr())
}

fn ttl(packet: &[u8]) -> Option<u8> {
    packet.get(if packet.first()? >> 4 == 4 { 8 } else { 7 }).copied()
}

fn lower(packet: &mut [u8], by: u8) {
    let at = if packet.first().is_some_and(|octet| octet >> 4 == 4) { 8 } else { 7 };
    if let Some(ttl) = packet.get_mut(at) {
        *ttl = ttl.saturating_sub(by);
    }
}

/// DSCP and ECN.
fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => *second,
        [first, second, ..] => first << 4 | second >> 4,
        _ => 0,
    }
}

fn set_traffic_class(packet: &mut [u8], class: u8) {
    match packet {
        [first, second, ..] if *first >> 4 == 4 => *second = class,
        [first, second, ..] => {
            *first = *first & 0xf0 | class >> 4;
            *second = *second & 0x0f | class << 4;
        }
        _ => {}
    }
}

/// Where the TCP header begins.
fn tcp(packet: &[u8]) -> Option<usize> {
    let v4 = packet.first()? >> 4 == 4;
    let (start, protocol) = if v4 {
        (usize::from(packet.first()? & 15) * 4, packet.get(9)?)
    } else {
        (40, packet.get(6)?)
    };
    (*protocol == 6 && packet.len() >= start + 20).then_some(start)
}

fn source_port(packet: &[u8]) -> Option<u16> {
    let start = if packet.first()? >> 4 == 4 { 20 } else { 40 };
    packet.get(start..start + 2).and_then(|two| two.first_chunk().copied()).map(u16::from_be_bytes)
}

/// What identifies a packet in an error that quotes it: destination, source port, and identification or length.
fn identity(packet: &[u8]) -> Option<(IpAddr, u16, u32)> {
    let number = |at: usize| {
        packet.get(at..at + 2).and_then(|two| two.first_chunk().copied()).map(u16::from_be_bytes)
    };
    let octets = packet.get(if packet.first()? >> 4 == 4 { 16..20 } else { 24..40 })?;
    let to = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    Some((to, source_port(packet)?, number(4)?.into()))
}

/// Clears AE (RFC 9768) in a SYN.
fn clear_ae(packet: &mut [u8]) {
    if let Some(start) = tcp(packet)
        && packet[start + 13] & 0x12 == 2
    {
        packet[start + 12] &= !1;
    }
}

/// Removes a TCP option, so that the header becomes shorter; what is left is padded to whole words.
fn strip(packet: &mut Vec<u8>, kind: u8) {
    let Some(start) = tcp(packet) else { return };
    let end = start + usize::from(packet[start + 12] >> 4) * 4;
    let Some(options) = packet.get(start + 20..end) else { return };
    let mut kept = Vec::new();
    for option in crate::packet::tcp_option::options(options).filter(|option| option.kind != kind) {
        kept.extend([option.kind, (option.value.len() + 2) as u8]);
        kept.extend_from_slice(option.value);
    }
    // No operation.
    kept.resize(kept.len().next_multiple_of(4), 1);
    let words = ((20 + kept.len()) / 4) as u8;
    packet[start + 12] = words << 4 | packet[start + 12] & 15;
    packet.splice(start + 20..end, kept);
    let length = packet.len();
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    }
}

/// Computes all checksums.
fn finish(packet: &mut [u8]) {
    let v4 = packet.first().is_some_and(|octet| octet >> 4 == 4);
    if v4 && packet.len() >= 20 {
        packet[10..12].fill(0);
        let sum = Sum16BitWords::new().add_slice(&packet[..20]).ones_complement();
        packet[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
    let start = if v4 { 20 } else { 40 };
    let protocol = packet.get(if v4 { 9 } else { 6 }).copied();
    if packet.len() < start + 8 || !matches!(protocol, Some(ICMP | ICMP6)) {
        fill_checksum(packet);
        return;
    }
    packet[start + 2..start + 4].fill(0);
    let mut sum = Sum16BitWords::new().add_slice(&packet[start..]);
    if !v4 {
        let length = (packet.len() - start) as u32;
        sum = sum.add_slice(&packet[8..40]).add_4bytes(length.to_be_bytes()).add_2bytes([0, ICMP6]);
    }
    let sum = sum.ones_complement().to_ne_bytes();
    packet[start + 2..start + 4].copy_from_slice(&sum);
}
