//! The packets of a flow that were sent to expire, and the errors that quote them.

use super::list::{Hop, Hops};
use super::verdict::{Look, Verdict, verdict};
use crate::field::Timestamp;
use crate::packet::quoted::{self, Field, Sent, Shown, Value};
use crate::packet::{Packet, protocol};

/// Packets of a flow that are kept; later ones are not paired.
const MOST_COPIES: usize = 256;
/// Errors of a flow that are kept.
const MOST_QUOTES: usize = 256;
/// Answers of a flow whose times are kept.
const MOST_ANSWERS: usize = 256;

/// A packet that was sent to expire.
#[derive(Debug, Clone, Copy)]
struct Copy {
    sent: Sent,
    time: Timestamp,
    /// Whether an error quoted it.
    quoted: bool,
}

/// An error that quotes such a packet.
#[derive(Debug, Clone)]
struct Quoted {
    hop: Hop,
    /// Whether the packet's lifetime ended there (RFC 792; RFC 4443, 3.3).
    expired: bool,
    shown: Shown,
    /// The values of the fields that differ.
    values: Vec<(Field, Value)>,
}

/// All of a flow.
#[derive(Debug, Default)]
pub(super) struct Trace {
    copies: Vec<Copy>,
    quotes: Vec<Quoted>,
    /// When the target answered.
    answers: Vec<Timestamp>,
    pub(super) unpaired: u16,
}

impl Trace {
    /// A packet was sent.
    pub(super) fn send(&mut self, packet: &Packet<'_>) {
        if let Some(sent) = Sent::of(packet).filter(|_| self.copies.len() < MOST_COPIES) {
            self.copies.push(Copy { sent, time: packet.time, quoted: false });
        }
    }

    /// The target answered.
    pub(super) fn answer(&mut self, time: Timestamp) {
        if self.answers.len() < MOST_ANSWERS {
            self.answers.push(time);
        }
    }

    /// An error came.
    pub(super) fn error(&mut self, packet: &Packet<'_>) {
        let (Some(icmp), Some(quote)) = (packet.icmp(), packet.quote()) else { return };
        // The host's kernel drops an error with a wrong checksum, and its quote may be damaged.
        let found = self.find(packet).filter(|_| icmp.intact != Some(false));
        let Some(found) = found.filter(|_| self.quotes.len() < MOST_QUOTES) else {
            self.unpaired = self.unpaired.saturating_add(1);
            return;
        };
        let copy = &mut self.copies[found];
        copy.quoted = true;
        let shown = copy.sent.compare(quote);
        let values = shown.changed.iter();
        let values =
            values.filter_map(|field| Some((field, quoted::value(field, quote)?))).collect();
        let v4 = packet.ip.protocol == protocol::ICMP;
        let labels: Vec<String> = icmp.extension.labels().map(|label| label.to_string()).collect();
        let hop = Hop {
            ttl: copy.sent.ttl,
            from: packet.ip.source,
            kind: (icmp.kind, icmp.code),
            rtt: packet.time.0.saturating_sub(copy.time.0),
            octets: u16::try_from(quote.transport.len()).unwrap_or(u16::MAX),
            tos: quote.ip.traffic_class,
            changed: shown.changed.words(),
            outer_ttl: packet.ip.ttl,
            outer_tos: packet.ip.traffic_class,
            labels: (!labels.is_empty()).then(|| labels.join(" ")),
            interface: icmp.extension.interface().map(str::to_owned),
        };
        let expired = (icmp.kind, icmp.code) == (if v4 { 11 } else { 3 }, 0);
        self.quotes.push(Quoted { hop, expired, shown, values });
    }

    /// The packet that an error quotes: the last of those that it can be, if all of them had the same TTL and were alike.
    fn find(&self, packet: &Packet<'_>) -> Option<usize> {
        let quote = packet.quote()?;
        let pick = |is: &dyn Fn(&Sent) -> bool| -> Option<Option<usize>> {
            let mut found = self.copies.iter().enumerate().filter(|(_, copy)| is(&copy.sent));
            let (first, copy) = found.next()?;
            let mut last = (!copy.quoted).then_some(first);
            for (place, other) in found {
                if !other.sent.is_like(&copy.sent) {
                    return Some(None);
                }
                if !other.quoted {
                    last = Some(place);
                }
            }
            Some(last.or(Some(first)))
        };
        match pick(&|sent| sent.is_quoted_by(quote)) {
            Some(found) => found,
            None => pick(&|sent| sent.is_quoted_swapped(quote)).flatten(),
        }
    }

    /// The errors, in the order in which they came.
    pub(super) fn hops(&self) -> Hops {
        Hops(self.quotes.iter().map(|quoted| quoted.hop.clone()).collect())
    }

    /// How many TTLs expired at a router that said so.
    pub(super) fn answered(&self) -> u8 {
        let mut ttls: Vec<u8> = self.expired().map(|quoted| quoted.hop.ttl).collect();
        ttls.sort_unstable();
        ttls.dedup();
        // There are 255 of them at most, since 0 is never sent.
        u8::try_from(ttls.len()).unwrap_or(u8::MAX)
    }

    /// The largest of them.
    pub(super) fn far(&self) -> Option<u8> {
        self.expired().map(|quoted| quoted.hop.ttl).max()
    }

    /// Fewest octets of transport in a quote.
    pub(super) fn shortest(&self) -> Option<u16> {
        self.quotes.iter().map(|quoted| quoted.hop.octets).min()
    }

    fn expired(&self) -> impl Iterator<Item = &Quoted> {
        self.quotes.iter().filter(|quoted| quoted.expired)
    }

    /// The smallest TTL that the target answered. An answer is to the last packet before it that no error quotes and that
    /// is older than any error took from the farthest router.
    pub(super) fn reached(&self) -> Option<u8> {
        let far = self.far();
        let farthest = self.expired().filter(|quoted| Some(quoted.hop.ttl) == far);
        let least = farthest.map(|quoted| quoted.hop.rtt).min().unwrap_or(0);
        let of = |answer: &Timestamp| {
            let can = |copy: &&Copy| {
                let age = answer.0.saturating_sub(copy.time.0);
                !copy.quoted && age >= least && age >= 0
            };
            let last = self.copies.iter().filter(can).max_by_key(|copy| copy.time)?;
            Some(last.sent.ttl)
        };
        self.answers.iter().filter_map(of).filter(|ttl| far.is_none_or(|far| *ttl > far)).min()
    }

    /// Where a field was changed.
    pub(super) fn verdict(&self, field: Field) -> Verdict {
        let looks: Vec<Look<'_>> = self
            .expired()
            .filter(|quoted| quoted.shown.visible.has(field))
            .map(|quoted| Look {
                ttl: quoted.hop.ttl,
                from: quoted.hop.from,
                changed: quoted.shown.changed.has(field),
                value: quoted.values.iter().find(|(of, _)| *of == field).map(|(_, value)| value),
            })
            .collect();
        verdict(&looks, self.far().unwrap_or(0))
    }
}
