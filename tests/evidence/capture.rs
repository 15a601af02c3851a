//! A reader of pcapng for tests: it knows nothing of the program's own.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A packet of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Octets on the wire.
    pub wire: u32,
    /// Octets captured.
    pub octets: u32,
    pub comment: String,
    /// The addresses of the outer IP header.
    pub addresses: [String; 2],
}

/// The packets of a file, whose interfaces are Ethernet. A block that is not whole is an error.
pub fn read(file: &[u8]) -> Vec<Captured> {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut packets, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let (kind, length) = (number(at), number(at + 4) as usize);
        assert_eq!(number(at + length - 4) as usize, length, "block at {at}");
        match kind {
            0x0a0d_0d0a => assert_eq!(number(at + 8), 0x1a2b_3c4d),
            1 => assert_eq!(number(at + 8) & 0xffff, 1, "Ethernet"),
            6 => {
                let (high, low) = (number(at + 12), number(at + 16));
                let (octets, wire) = (number(at + 20), number(at + 24));
                let data = &file[at + 28..at + 28 + octets as usize];
                let option = at + 28 + octets.next_multiple_of(4) as usize;
                let head = number(option);
                assert_eq!(head & 0xffff, 1, "a comment");
                let comment = &file[option + 4..option + 4 + (head >> 16) as usize];
                packets.push(Captured {
                    time: u64::from(high) << 32 | u64::from(low),
                    wire,
                    octets,
                    comment: String::from_utf8(comment.to_vec()).unwrap(),
                    addresses: addresses(&data[14..]),
                });
            }
            kind => panic!("block of type {kind}"),
        }
        at += length;
    }
    packets
}

fn addresses(packet: &[u8]) -> [String; 2] {
    match packet[0] >> 4 {
        4 => [12, 16].map(|at| {
            let octets: [u8; 4] = packet[at..at + 4].try_into().unwrap();
            Ipv4Addr::from(octets).to_string()
        }),
        _ => [8, 24].map(|at| {
            let octets: [u8; 16] = packet[at..at + 16].try_into().unwrap();
            Ipv6Addr::from(octets).to_string()
        }),
    }
}
