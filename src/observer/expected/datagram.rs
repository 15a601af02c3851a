//! The fields of a UDP datagram that errors quote and responses must match.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::Fit;
use crate::packet::dns::Message;
use crate::packet::{Direction, Packet, Quote, Udp, protocol};

/// Octets of data that are kept: identifier and flags of a DNS message.
const KEPT: usize = 4;
/// The longest packet whose captured length is the one on the wire: the network card may split a longer one (UDP GSO).
const ETHERNET_MTU: u32 = 1500;

/// The datagram was sent by the capturing host, in a run.
const OWN: u8 = 1;
/// A datagram was sent.
const SENT: u8 = 2;
/// Several were sent; an error may quote any of them.
const MORE: u8 = 4;
/// The length on the wire is known.
const LENGTH: u8 = 8;
/// The checksum on the wire is known.
const CHECKSUM: u8 = 16;
/// It is a DNS query.
const QUERY: u8 = 32;

/// The datagram that a flow begins with.
#[derive(Debug, Clone, Copy)]
pub(in crate::observer) struct Datagram {
    bits: u8,
    /// Valid octets of `data`.
    kept: u8,
    /// The IPv4 identification (RFC 6864), or 0.
    id: u16,
    length: u16,
    checksum: u16,
    /// The IPv6 flow label (RFC 6437), or 0.
    label: u32,
    data: [u8; KEPT],
}

impl Datagram {
    /// A flow in which no datagram was sent yet.
    pub(super) fn new(own: bool) -> Self {
        let bits = if own { OWN } else { 0 };
        Self { bits, kept: 0, id: 0, length: 0, checksum: 0, label: 0, data: [0; KEPT] }
    }

    fn is(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    pub(super) fn datagram(
        &mut self,
        packet: &Packet<'_>,
        udp: &Udp<'_>,
        direction: Direction,
    ) -> Fit {
        match direction {
            Direction::Forward if self.is(SENT) => self.bits |= MORE,
            Direction::Forward => self.send(packet, udp),
            Direction::Reverse if self.is(QUERY) && !self.is_answered_by(udp) => {
                return Fit::Unexpected;
            }
            Direction::Reverse => {}
        }
        Fit::Fits
    }

    fn send(&mut self, packet: &Packet<'_>, udp: &Udp<'_>) {
        self.bits |= SENT;
        let ip = &packet.ip;
        match ip.source {
            IpAddr::V4(_) => self.id = ip.id.unwrap_or(0) as u16,
            IpAddr::V6(_) => self.label = ip.flow_label.unwrap_or(0),
        }
        let kept = udp.data.len().min(KEPT);
        self.kept = kept as u8;
        self.data[..kept].copy_from_slice(&udp.data[..kept]);
        if ip.length <= ETHERNET_MTU && udp.length != 0 {
            self.length = udp.length;
            self.bits |= LENGTH;
            if let Some(checksum) = checksum(packet, udp) {
                self.checksum = checksum;
                self.bits |= CHECKSUM;
            }
        }
        let is_query = || Message::read(udp.data).is_some_and(|message| !message.response);
        if self.is(OWN) && is_query() {
            self.bits |= QUERY;
        }
    }

    /// Whether a datagram has the query's identifier. True if the capture cut it before the identifier.
    fn is_answered_by(&self, udp: &Udp<'_>) -> bool {
        match udp.data.get(..2) {
            Some(id) => id == &self.data[..2],
            None => udp.cut,
        }
    }

    /// Compares an error's quote with what was sent.
    pub(super) fn quote(&self, quote: &Quote<'_>) -> Fit {
        let octets = quote.transport;
        match (self.is(SENT), self.is(MORE)) {
            // No datagram was sent that it could quote. A capture may have begun later.
            (false, _) if self.is(OWN) => return Fit::Unexpected,
            (false, _) | (_, true) => return Fit::Quotes(0),
            // RFC 792 requires eight octets, and kernels ignore shorter quotes.
            (true, false) if self.is(OWN) && octets.len() < 8 => return Fit::Unexpected,
            (true, false) => {}
        }
        let number =
            |at: usize| octets.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        let (mut same, mut differs) = (0, false);
        let mut compare = |octets: u8, is: bool| {
            same += if is { octets } else { 0 };
            differs |= !is;
            is
        };
        let mut is_known = false;
        if let (1.., Some(id)) = (self.id, quote.ip.id) {
            // Some stacks quote it in host byte order.
            let id = id as u16;
            is_known |= compare(2, id == self.id || id.swap_bytes() == self.id);
        }
        if let (1.., Some(label)) = (self.label, quote.ip.flow_label) {
            compare(2, label == self.label);
        }
        if let (true, Some(length)) = (self.is(LENGTH), number(4)) {
            compare(2, length == self.length);
        }
        let kept = &self.data[..self.kept.into()];
        let data = octets.get(8..).unwrap_or_default();
        let common = data.len().min(kept.len());
        let data_is = compare(common as u8, data[..common] == kept[..common]);
        is_known |= data_is && common == KEPT && !self.is(OWN);
        match number(6).filter(|_| self.is(CHECKSUM)) {
            // A NAT changes it with the address, and may not restore it in the quote.
            Some(checksum)
                if is_known && quote.ip.source.is_ipv4() && checksum != self.checksum => {}
            Some(checksum) => {
                compare(2, checksum == self.checksum);
            }
            None => {}
        }
        if differs { Fit::Unexpected } else { Fit::Quotes(same) }
    }
}

/// The checksum that a datagram has on the wire. `None` if it was computed after the capture and covers octets that the
/// capture lacks.
fn checksum(packet: &Packet<'_>, udp: &Udp<'_>) -> Option<u16> {
    if udp.checksum == 0 {
        return Some(0);
    }
    let mut sum = Sum16BitWords::new();
    let sum = match (packet.ip.source, packet.ip.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum.add_4bytes(from.octets()).add_4bytes(to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            sum.add_16bytes(from.octets()).add_16bytes(to.octets())
        }
        _ => return None,
    };
    let length = udp.length.to_be_bytes();
    let pseudo = sum.add_2bytes([0, protocol::UDP]).add_2bytes(length);
    // With checksum offload the captured field has only the sum of the pseudo header.
    let is_unfinished = !u16::from_be(pseudo.ones_complement()) == udp.checksum;
    if !is_unfinished {
        return Some(udp.checksum);
    }
    let (from, to) = packet.ports?;
    let data = udp.data.get(..usize::from(udp.length).checked_sub(8)?)?;
    let all = pseudo.add_2bytes(from.to_be_bytes()).add_2bytes(to.to_be_bytes());
    let all = all.add_2bytes(length).add_slice(data);
    Some(match u16::from_be(all.ones_complement()) {
        // 0 would mean no checksum (RFC 768).
        0 => u16::MAX,
        checksum => checksum,
    })
}
