//! A wire: a device of a namespace whose packets one of our threads reads and writes. It is a TUN device if
//! `/dev/net/tun` can be opened. Otherwise (that file often belongs to root) it is a veth pair whose far end is in a
//! separate namespace, and is read and written by whole frames.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::error::{Doing, Error, Result};
use crate::lab::namespace::{Namespace, set_sysctl};
use crate::lab::{net, tun};

const ETHERNET: usize = 14;
const LARGEST: usize = 65_536;
/// A frame of the Ethernet MTU, with some reserve.
const SNAP_LENGTH: i32 = 2048;

/// How this process makes wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tun,
    Packet,
}

impl Kind {
    /// TUN if this process may open it.
    pub(crate) fn available() -> Self {
        match File::options().read(true).write(true).open("/dev/net/tun") {
            Ok(_) => Kind::Tun,
            Err(_) => Kind::Packet,
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Kind::Tun => "TUN devices",
            Kind::Packet => "veth pairs with packet sockets (/dev/net/tun cannot be opened)",
        }
    }
}

/// One wire.
pub(crate) enum Wire {
    Tun { file: File, buffer: Vec<u8> },
    Packet { capture: pcap::Capture<pcap::Active>, near: [u8; 6], far: [u8; 6], _home: Namespace },
}

impl Wire {
    /// Creates the device in a namespace and brings it up. `number` distinguishes the hardware addresses of wires.
    pub(crate) fn open(
        kind: Kind,
        namespace: &Namespace,
        device: &str,
        number: u8,
    ) -> Result<Self> {
        match kind {
            Kind::Tun => namespace.run(|| {
                let file = tun::open(device).doing(|| format!("make the TUN device {device}"))?;
                net::ip_batch(&format!("link set {device} up\n"))?;
                Ok(Wire::Tun { file, buffer: vec![0; LARGEST] })
            }),
            Kind::Packet => Self::packet(namespace, device, number),
        }
    }

    fn packet(namespace: &Namespace, device: &str, number: u8) -> Result<Self> {
        let home = Namespace::create(&format!("far end of {device}"))?;
        // The far end has no IP of its own: only our thread may answer there.
        home.run(|| set_sysctl("net.ipv6.conf.default.disable_ipv6", "1"))?;
        let near = [2, 0, 0, 1, number, 1];
        let far = [2, 0, 0, 1, number, 2];
        namespace.run(|| {
            // Without ARP, the device uses its own address as the destination of its packets, so the far end's kernel
            // ignores the frames as addressed to another host. No segmentation offload: a packet socket must read
            // what a wire would carry.
            net::ip_batch(&format!(
                "link add {device} address {} type veth peer name wire address {} netns {}\n\
                 link set {device} arp off gso_max_segs 1\n\
                 link set {device} up\n",
                colons(near),
                colons(far),
                home.path()
            ))
        })?;
        let capture = home.run(|| {
            net::ip_batch("link set wire up\n")?;
            let open = || {
                let capture = pcap::Capture::from_device("wire")?
                    .immediate_mode(true)
                    .promisc(false)
                    // In immediate mode every slot of the ring is this long, so a large snap length leaves room for
                    // few packets.
                    .snaplen(SNAP_LENGTH)
                    .buffer_size(4 << 20)
                    .open()?
                    .setnonblock()?;
                // Not what we write ourselves.
                capture.direction(pcap::Direction::In)?;
                Ok(capture)
            };
            open().map_err(|e: pcap::Error| Error::failed(format!("listen on {device}"), e))
        })?;
        Ok(Wire::Packet { capture, near, far, _home: home })
    }

    /// Registers it with a poll.
    pub(crate) fn register(&self, poll: &Poll, token: usize) -> Result<()> {
        poll.registry()
            .register(&mut SourceFd(&self.descriptor()), Token(token), Interest::READABLE)
            .doing(|| "watch a wire of the lab")
    }

    fn descriptor(&self) -> RawFd {
        match self {
            Wire::Tun { file, .. } => file.as_raw_fd(),
            Wire::Packet { capture, .. } => capture.as_raw_fd(),
        }
    }

    /// The next IP packet, if there is one.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self {
                Wire::Tun { file, buffer } => match file.read(buffer) {
                    Ok(length) => return Ok(Some(buffer[..length].to_vec())),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                },
                Wire::Packet { capture, .. } => match capture.next_packet() {
                    Ok(frame) => {
                        if let Some(packet) = frame.data.get(ETHERNET..) {
                            let mut packet = packet.to_vec();
                            fill_checksum(&mut packet);
                            return Ok(Some(packet));
                        }
                    }
                    Err(pcap::Error::TimeoutExpired) => return Ok(None),
                    Err(error) => return Err(io::Error::other(error)),
                },
            }
        }
    }

    /// Sends an IP packet to the namespace of the device.
    pub(crate) fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Wire::Tun { file, .. } => file.write(packet).map(|_| ()),
            Wire::Packet { capture, near, far, .. } => {
                let protocol: [u8; 2] = match packet.first().map(|byte| byte >> 4) {
                    Some(4) => [0x08, 0x00],
                    Some(6) => [0x86, 0xdd],
                    _ => return Err(io::ErrorKind::InvalidInput.into()),
                };
                let mut frame = Vec::with_capacity(ETHERNET + packet.len());
                frame.extend_from_slice(near);
                frame.extend_from_slice(far);
                frame.extend_from_slice(&protocol);
                frame.extend_from_slice(packet);
                capture.sendpacket(frame).map_err(io::Error::other)
            }
        }
    }
}

fn colons(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

/// Computes the TCP or UDP checksum of an IP packet in place. The kernel leaves it to the hardware for packets over
/// veth, and a packet socket reads them without it.
pub(super) fn fill_checksum(packet: &mut [u8]) {
    let (protocol, start, addresses) = match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= 20 => {
            let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff;
            if fragment != 0 {
                return;
            }
            (packet[9], usize::from(packet[0] & 15) * 4, 12..20)
        }
        Some(6) if packet.len() >= 40 => (packet[6], 40, 8..40),
        _ => return,
    };
    let Some(length) = packet.len().checked_sub(start) else { return };
    let at = start
        + match protocol {
            6 if length >= 20 => 16,
            17 if length >= 8 => 6,
            _ => return,
        };
    // UDP without a checksum stays without.
    if protocol == 17 && packet[at..at + 2] == [0, 0] {
        return;
    }
    packet[at..at + 2].fill(0);
    let sum =
        u64::from(protocol) + length as u64 + words(&packet[addresses]) + words(&packet[start..]);
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    let checksum = match !(folded as u16) {
        0 if protocol == 17 => 0xffff,
        other => other,
    };
    packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The sum of the 16-bit words, the last one padded with a zero.
fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn checksums_are_what_a_packet_needs() {
        let v4 = || PacketBuilder::ipv4([192, 0, 2, 1], [198, 18, 0, 16], 64);
        let v6 = PacketBuilder::ipv6([1; 16], [2; 16], 64);
        let mut packets = [Vec::new(), Vec::new(), Vec::new()];
        v4().tcp(1, 80, 7, 9).syn().write(&mut packets[0], b"odd").unwrap();
        v6.tcp(1, 80, 7, 9).syn().write(&mut packets[1], b"even").unwrap();
        v4().udp(1, 53).write(&mut packets[2], b"x").unwrap();
        for (right, at) in packets.iter().zip([36, 56, 26]) {
            let mut packet = right.clone();
            packet[at] ^= 0x55;
            fill_checksum(&mut packet);
            assert_eq!(&packet, right);
        }
        for length in 0..60 {
            for first in [0x45, 0x4f, 0x60, 0] {
                let mut packet = vec![6; length];
                if let Some(byte) = packet.first_mut() {
                    *byte = first;
                }
                fill_checksum(&mut packet);
            }
        }
    }
}
