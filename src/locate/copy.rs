//! The copies of a target, and what answers them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Answer, Shown, Side};
use crate::packet::Icmp;
use crate::packet::template::{Differing, Ends, Template};

/// The packets of the two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    zero: Template,
    one: Template,
    fields: Differing,
}

impl Pair {
    /// The packets of the baseline and of the experiment; `None` if they have different transports.
    pub fn new(zero: Template, one: Template) -> Option<Self> {
        let fields = zero.differing(&one);
        (zero.is_tcp() == one.is_tcp()).then_some(Self { zero, one, fields })
    }

    /// The packet of a measurement without an experiment: whatever the path changes counts.
    pub fn alone(packet: Template) -> Self {
        let fields = packet.comparable();
        Self { zero: packet.clone(), one: packet, fields }
    }

    /// The packet of a configuration.
    pub fn of(&self, side: Side) -> &Template {
        match side {
            Side::Zero => &self.zero,
            Side::One => &self.one,
        }
    }

    /// The fields in which they differ, joined by commas.
    pub fn fields(&self) -> String {
        self.fields.names()
    }

    /// The word for what is copied.
    pub fn copied(&self) -> &'static str {
        if self.one.is_syn() { "syn" } else { "packet" }
    }

    /// A number that is the same for all targets whose packets differ in the same fields.
    pub fn feature(&self) -> u64 {
        self.fields.digest()
    }
}

/// The copies of one configuration to one target: they have the same ports and sequence number.
#[derive(Debug, Clone)]
pub struct Copies {
    pair: Arc<Pair>,
    side: Side,
    source: SocketAddr,
    target: SocketAddr,
    sequence: u32,
    /// The identification before that of the first copy.
    base: u16,
    /// The number of the last copy.
    last: u16,
}

impl Copies {
    /// From this source; `random` must be unpredictable.
    pub fn new(
        pair: Arc<Pair>,
        side: Side,
        (source, target): (SocketAddr, SocketAddr),
        random: u64,
    ) -> Self {
        let (sequence, base) = ((random >> 32) as u32, random as u16);
        Self { pair, side, source, target, sequence, base, last: 0 }
    }

    /// The octets of a copy.
    pub fn build(&mut self, number: u16, ttl: Option<u8>) -> Option<Vec<u8>> {
        self.last = number;
        let identification = self.identification(number);
        let (source, target, sequence) = (self.source, self.target, self.sequence);
        self.pair.of(self.side).build(&Ends { source, target, ttl, identification, sequence })
    }

    /// Skips 0, which the kernel would replace.
    fn identification(&self, number: u16) -> u16 {
        let identification = self.base.wrapping_add(number);
        if identification < self.base { identification.wrapping_add(1) } else { identification }
    }

    /// The answer in an ICMP error, and the number of the copy that it quotes; `None` if it is about no copy of these.
    pub fn quoted(&self, icmp: &Icmp<'_>, from: IpAddr) -> Option<(u16, Answer)> {
        let quote = icmp.quote.as_ref()?;
        let template = self.pair.of(self.side);
        let sequence = quote.transport.get(4..8).filter(|_| template.is_tcp());
        // Whoever did not see the copies does not know their numbers.
        if template.is_syn() && sequence.is_none_or(|number| number != self.sequence.to_be_bytes())
        {
            return None;
        }
        let number = match quote.ip.id.filter(|_| quote.ip.source.is_ipv4()) {
            Some(id) => {
                (1..=self.last).find(|number| u32::from(self.identification(*number)) == id)?
            }
            None => self.last,
        };
        let unreachable = if from.is_ipv4() { 3 } else { 1 };
        let exceeded = if from.is_ipv4() { 11 } else { 3 };
        let answer = match (icmp.kind, icmp.code) {
            (kind, 0) if kind == exceeded => {
                let shown = match template.is_same(&self.pair.fields, quote) {
                    Some(true) => Shown::Same,
                    Some(false) => Shown::Changed,
                    None => Shown::Hidden,
                };
                let octets = u16::try_from(quote.transport.len()).unwrap_or(u16::MAX);
                Answer::Quote { from, shown, octets }
            }
            (kind, _) if kind == unreachable && from == self.target.ip() => {
                Answer::Reply { ttl: None }
            }
            (kind, _) if kind == unreachable => Answer::Refused { from },
            _ => return None,
        };
        Some((number, answer))
    }

    /// The answer in a TCP segment from the target's port to ours; `None` if it acknowledges no copy. `ttl` is that of its packet.
    pub fn segment(&self, segment: &[u8], ttl: Option<u8>) -> Option<(u16, Answer)> {
        const SYN_ACK: u8 = 0x12;
        const RST: u8 = 4;
        let [_, _, _, _, _, _, _, _, a, b, c, d, _, flags, ..] = segment else { return None };
        let acknowledgment = u32::from_be_bytes([*a, *b, *c, *d]);
        let template = self.pair.of(self.side);
        let fits = flags & 0x10 != 0 && template.is_acknowledged(self.sequence, acknowledgment);
        let answer = match () {
            () if !fits => return None,
            () if flags & RST != 0 => Answer::Reset,
            () if flags & SYN_ACK == SYN_ACK => Answer::Reply { ttl },
            () => return None,
        };
        Some((self.last, answer))
    }

    /// The answer that any datagram from the target's port is.
    pub fn datagram(&self) -> (u16, Answer) {
        (self.last, Answer::Reply { ttl: None })
    }
}
