//! From a captured frame to a [`Packet`].

use super::{Link, Packet, Transport, Unread, ip, transport};
use crate::field::Timestamp;

/// Dissects one frame as it was captured (perhaps cut by the snap length).
#[inline]
pub fn dissect(link: Link, frame: &[u8], time: Timestamp) -> Result<Packet<'_>, Unread> {
    let bytes = link.strip(frame).ok_or(Unread::NotIp)?;
    let (ip, headers, payload) = ip::read(bytes).ok_or(Unread::BadIp)?;
    let mut packet = Packet { time, ip, ports: None, transport: Transport::Other, flaw: None };
    if ip.is_later_fragment() {
        return Ok(packet);
    }
    packet.ports = transport::ports(ip.protocol, payload);
    match transport::read(&ip, headers, payload) {
        Some(transport) => packet.transport = transport,
        None => packet.flaw = Some(Unread::BadTransport),
    }
    Ok(packet)
}

#[cfg(test)]
mod tests;
