//! From a captured frame to a [`Packet`].

use std::net::IpAddr;

use super::{Link, Packet, Transport, Unread, ip, protocol, transport};
use crate::field::Timestamp;

/// Dissects a captured frame, which the snap length may have cut.
pub fn dissect(link: Link, frame: &[u8], time: Timestamp) -> Result<Packet<'_>, Unread> {
    let bytes = link.strip(frame)?;
    let mut packet = Packet::blank(time);
    fill(&mut packet, bytes)?;
    Ok(packet)
}

/// [`dissect`] from the IP header on, in place: moving a packet costs as much as reading a header. After an error the
/// content of `packet` is unspecified.
pub fn dissect_into<'a>(
    packet: &mut Packet<'a>,
    bytes: &'a [u8],
    time: Timestamp,
) -> Result<(), Unread> {
    (packet.time, packet.clock) = (time, time);
    packet.ports = None;
    packet.transport = Transport::Other;
    packet.flaw = None;
    fill(packet, bytes)
}

/// A number that is the same for all packets of a flow, made of the addresses (not each fragment has the ports).
/// `None` if the packet is not understood.
#[inline]
pub fn endpoints(bytes: &[u8]) -> Option<u64> {
    // The sum is the same in both directions.
    let sum = match (bytes.first()? >> 4, bytes) {
        // ICMP may quote a packet, also after extension headers.
        (4, [_, _, _, _, _, _, _, _, _, kind, _, _, addresses @ ..]) if *kind != protocol::ICMP => {
            let (source, rest) = addresses.split_first_chunk()?;
            v4(*source).wrapping_add(v4(*rest.first_chunk()?))
        }
        (6, [_, _, _, _, _, _, protocol::TCP | protocol::UDP, _, addresses @ ..]) => {
            let (source, rest) = addresses.split_first_chunk()?;
            v6(*source).wrapping_add(v6(*rest.first_chunk()?))
        }
        _ => quoted(bytes)?,
    };
    Some(sum.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The sum of a flow's addresses, for packets whose first header may not have them.
#[inline(never)]
fn quoted(bytes: &[u8]) -> Option<u64> {
    let mut packet = Packet::blank(Timestamp::UNKNOWN);
    fill(&mut packet, bytes).ok()?;
    let ip = packet.quote().map_or(&packet.ip, |quote| &quote.ip);
    let ends = [ip.source, ip.destination].map(|address| match address {
        IpAddr::V4(address) => v4(address.octets()),
        IpAddr::V6(address) => v6(address.octets()),
    });
    Some(ends[0].wrapping_add(ends[1]))
}

fn v4(address: [u8; 4]) -> u64 {
    u32::from_be_bytes(address).into()
}

fn v6(address: [u8; 16]) -> u64 {
    let address = u128::from_be_bytes(address);
    // Weigh the halves differently, so that equal ones do not cancel out.
    ((address >> 64) as u64).wrapping_mul(31).wrapping_add(address as u64)
}

#[inline(always)]
fn fill<'a>(packet: &mut Packet<'a>, bytes: &'a [u8]) -> Result<(), Unread> {
    let (headers, payload) = ip::read(bytes, &mut packet.ip).ok_or(Unread::BadIp)?;
    if packet.ip.is_later_fragment() {
        return Ok(());
    }
    packet.ports = transport::ports(packet.ip.protocol, payload);
    packet.flaw = transport::read(&packet.ip, headers, payload, &mut packet.transport).err();
    Ok(())
}

#[cfg(test)]
mod tests;
