//! Copies of packets with a limited TTL: the raw sockets that send them, and those that receive what comes back.
//!
//! A copy that reaches the target opens a connection that no program of this host knows, and the kernel answers a SYN-ACK
//! with a reset, as it does for every unknown connection. So no server keeps anything of it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use foldhash::fast::RandomState;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::raw::{ByHand, Raw};
use super::socket::{Channel, Opening};
use crate::error::{Doing as _, Result};
use crate::locate::{Answer, Copies, Side};
use crate::packet::Icmp;

/// Buffer for errors that come faster than they are read.
const BUFFER: usize = 4 << 20;
/// Errors of a channel that are skipped at a time.
const MOST_ERRORS: u32 = 16;
/// Tokens of the sockets that receive segments, of IPv4 and IPv6, and errors; every other token is a slot.
const SEGMENTS: [usize; 2] = [usize::MAX - 1, usize::MAX - 2];
const ERRORS: [usize; 2] = [usize::MAX - 3, usize::MAX - 4];

/// What came back: the number of the subject, whose packet's copy it answers, which copy, and the answer with the address that it
/// came from.
pub(super) type Heard = (usize, u16, Answer, IpAddr);

/// The channels of the searches in progress.
pub(super) struct Tracer {
    poll: Poll,
    events: Events,
    raw: Raw,
    errors: HashMap<bool, UdpSocket>,
    /// By subject and side.
    slots: HashMap<usize, Slot, RandomState>,
    /// By source port and target.
    waiting: HashMap<(u16, SocketAddr), usize, RandomState>,
    buffer: Box<[u8]>,
}

/// The channel of one configuration to one target.
struct Slot {
    channel: Channel,
    copies: Copies,
    port: u16,
    target: SocketAddr,
    is_tcp: bool,
}

/// The slot of a subject's side.
fn slot(subject: usize, side: Side) -> usize {
    2 * subject + usize::from(side == Side::One)
}

impl Tracer {
    /// Without a channel.
    pub(super) fn new(raw: Raw) -> Result<Self> {
        let poll = Poll::new().doing(|| "create the event loop of copies")?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            raw,
            errors: HashMap::new(),
            slots: HashMap::default(),
            waiting: HashMap::default(),
            buffer: vec![0; 64 << 10].into_boxed_slice(),
        })
    }

    /// Whether there is a channel.
    pub(super) fn has(&self, subject: usize, side: Side) -> bool {
        self.slots.contains_key(&slot(subject, side))
    }

    /// Reserves a source port.
    pub(super) fn reserve(
        &mut self,
        opening: &Opening<'_>,
        port: u16,
        is_tcp: bool,
    ) -> io::Result<ByHand> {
        self.listen(opening.address.is_ipv6(), opening)?;
        self.raw.open(opening, 0, port, is_tcp)
    }

    /// Opens a channel on a reserved port.
    pub(super) fn open(
        &mut self,
        (subject, side): (usize, Side),
        way: ByHand,
        copies: Copies,
        target: SocketAddr,
        is_tcp: bool,
    ) -> io::Result<()> {
        let number = slot(subject, side);
        let v6 = target.is_ipv6();
        if let Some(ear) = way.ear {
            self.watch(ear, SEGMENTS[usize::from(v6)])?;
        }
        let port = way.source.port();
        if is_tcp {
            self.raw.wait(port, target, number);
        } else {
            self.watch(way.channel.fd(), number)?;
        }
        self.waiting.insert((port, target), number);
        self.slots.insert(number, Slot { channel: way.channel, copies, port, target, is_tcp });
        Ok(())
    }

    fn watch(&self, fd: RawFd, token: usize) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE)
    }

    /// Begins to receive errors.
    fn listen(&mut self, v6: bool, opening: &Opening<'_>) -> io::Result<()> {
        if self.errors.contains_key(&v6) {
            return Ok(());
        }
        let (domain, protocol) = match v6 {
            false => (Domain::IPV4, Protocol::ICMPV4),
            true => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
        if let Some(device) = opening.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        let _ = socket.set_recv_buffer_size(BUFFER);
        self.watch(socket.as_raw_fd(), ERRORS[usize::from(v6)])?;
        self.errors.insert(v6, socket.into());
        Ok(())
    }

    /// Closes the channels of a subject.
    pub(super) fn close(&mut self, subject: usize) {
        for side in [Side::Zero, Side::One] {
            if let Some(slot) = self.slots.remove(&slot(subject, side)) {
                self.waiting.remove(&(slot.port, slot.target));
                self.raw.forget(slot.port, slot.target);
            }
        }
    }

    /// The subjects that have channels.
    pub(super) fn subjects(&self) -> Vec<usize> {
        let mut subjects: Vec<usize> = self.slots.keys().map(|slot| slot / 2).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    /// Sends a copy.
    ///
    /// # Errors
    /// If it could not be sent.
    pub(super) fn send(
        &mut self,
        (subject, side): (usize, Side),
        number: u16,
        ttl: Option<u8>,
    ) -> io::Result<()> {
        let slot = self.slots.get_mut(&slot(subject, side)).ok_or(io::ErrorKind::NotFound)?;
        let octets = slot.copies.build(number, ttl).ok_or(io::ErrorKind::InvalidInput)?;
        loop {
            match slot.channel.send(&octets) {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map(|_| ()),
            }
        }
    }

    /// Waits for answers at most this long, and returns those that came.
    pub(super) fn hear(&mut self, wait: Duration) -> Result<Vec<Heard>> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => {
                return Err(why).doing(|| "wait for answers to copies");
            }
            _ => {}
        }
        let tokens: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        let mut heard = Vec::new();
        for token in tokens {
            if let Some(v6) = SEGMENTS.iter().position(|known| *known == token) {
                self.segments(v6 == 1, &mut heard);
            } else if let Some(v6) = ERRORS.iter().position(|known| *known == token) {
                self.read_errors(v6 == 1, &mut heard);
            } else {
                self.datagrams(token, &mut heard);
            }
        }
        Ok(heard)
    }

    fn segments(&mut self, v6: bool, heard: &mut Vec<Heard>) {
        while let Some((number, segment)) = self.raw.hear(v6, &mut self.buffer) {
            let Some(slot) = self.slots.get(&number) else { continue };
            let ttl = self.buffer.get(8).copied().filter(|_| segment.start > 8);
            if let Some((copy, answer)) = slot.copies.segment(&self.buffer[segment], ttl) {
                heard.push((number / 2, copy, answer, slot.target.ip()));
            }
        }
    }

    fn datagrams(&mut self, number: usize, heard: &mut Vec<Heard>) {
        let Some(slot) = self.slots.get(&number) else { return };
        let mut errors = 0;
        while errors < MOST_ERRORS {
            match slot.channel.receive(&mut self.buffer) {
                Ok(_) => {
                    let (copy, answer) = slot.copies.datagram();
                    heard.push((number / 2, copy, answer, slot.target.ip()));
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error, which is read elsewhere, or an interruption.
                Err(_) => errors += 1,
            }
        }
    }

    fn read_errors(&mut self, v6: bool, heard: &mut Vec<Heard>) {
        let Some(socket) = self.errors.get(&v6) else { return };
        loop {
            let (length, from) = match socket.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let packet = self.buffer.get(..length).unwrap_or_default();
            let start = match (v6, packet.first()) {
                (false, Some(first)) => usize::from(first & 15) * 4,
                _ => 0,
            };
            let from = from.ip();
            let Some(icmp) = packet.get(start..).and_then(|message| Icmp::read(message, from))
            else {
                continue;
            };
            let Some(quote) = &icmp.quote else { continue };
            let Some((ours, theirs)) = quote.ports else { continue };
            let target = SocketAddr::new(quote.ip.destination, theirs);
            let Some(number) = self.waiting.get(&(ours, target)) else { continue };
            let Some(slot) = self.slots.get(number) else { continue };
            if let Some((copy, answer)) = slot.copies.quoted(&icmp, from) {
                heard.push((number / 2, copy, answer, from));
            }
        }
    }

    /// Whether the answers of a subject's target are reset by the kernel.
    pub(super) fn is_reset(&self, subject: usize) -> bool {
        self.slots.get(&slot(subject, Side::Zero)).is_some_and(|slot| slot.is_tcp)
    }
}
