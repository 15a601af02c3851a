//! From a captured frame to a [`Packet`].

use super::{Link, Packet, Unread, ip, transport};
use crate::field::Timestamp;

/// Dissects one frame as it was captured (perhaps cut by the snap length).
pub fn dissect(link: Link, frame: &[u8], time: Timestamp) -> Result<Packet<'_>, Unread> {
    let mut packet = Packet::blank(time);
    fill(&mut packet, link, frame)?;
    Ok(packet)
}

/// As [`dissect`], into the place at the end of `packets`: a packet is so large that each move of it
/// would cost as much as a header. Nothing is added if the frame is not understood.
pub fn dissect_onto<'a>(
    packets: &mut Vec<Packet<'a>>,
    link: Link,
    frame: &'a [u8],
    time: Timestamp,
) -> Result<(), Unread> {
    packets.push(Packet::blank(time));
    let Some(packet) = packets.last_mut() else { return Ok(()) };
    let read = fill(packet, link, frame);
    if read.is_err() {
        packets.pop();
    }
    read
}

#[inline(always)]
fn fill<'a>(packet: &mut Packet<'a>, link: Link, frame: &'a [u8]) -> Result<(), Unread> {
    let bytes = link.strip(frame).ok_or(Unread::NotIp)?;
    let (headers, payload) = ip::read(bytes, &mut packet.ip).ok_or(Unread::BadIp)?;
    if packet.ip.is_later_fragment() {
        return Ok(());
    }
    packet.ports = transport::ports(packet.ip.protocol, payload);
    if transport::read(&packet.ip, headers, payload, &mut packet.transport).is_none() {
        packet.flaw = Some(Unread::BadTransport);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
