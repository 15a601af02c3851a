//! Packets that are sent to expire, and the errors of routers about them, octet by octet.

use etherparse::checksum::Sum16BitWords;

/// A packet that is sent to expire. Its place is in the identification (IPv4) or decides of its length (IPv6), so no two
/// are alike for whoever sees a quote.
pub struct Copied {
    pub v6: bool,
    pub udp: bool,
    pub ttl: u8,
    pub place: u16,
    /// DSCP and ECN.
    pub class: u8,
}

const PROBER_V4: [u8; 4] = [192, 0, 2, 1];
const TARGET_V4: [u8; 4] = [198, 18, 0, 16];
const PROBER_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const TARGET_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];

impl Copied {
    /// Its octets.
    pub fn packet(&self, port: u16) -> Vec<u8> {
        let more = if self.v6 { 16 + usize::from(self.place) } else { 0 };
        let ports = [port.to_be_bytes(), 80u16.to_be_bytes()].concat();
        let transport = match self.udp {
            true => {
                let length = (8 + more + 12) as u16;
                [&ports[..], &length.to_be_bytes(), &[0x12, 0x34], &[7; 12], &vec![1; more]]
                    .concat()
            }
            false => [
                &ports[..],
                &[0, 0, 0, 77, 0, 0, 0, 0, 0x60, 2, 0x20, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4],
                &vec![1; more],
            ]
            .concat(),
        };
        let protocol = if self.udp { 17 } else { 6 };
        ip(
            self.v6,
            (PROBER_V4, PROBER_V6),
            (TARGET_V4, TARGET_V6),
            self.class,
            self.place,
            self.ttl,
            protocol,
            &transport,
        )
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of a header")]
fn ip(
    v6: bool,
    from: ([u8; 4], [u8; 16]),
    to: ([u8; 4], [u8; 16]),
    class: u8,
    id: u16,
    ttl: u8,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    if v6 {
        let length = (payload.len() as u16).to_be_bytes();
        let head = [0x60 | class >> 4, class << 4, 0, 0, length[0], length[1], protocol, ttl];
        return [&head[..], &from.1, &to.1, payload].concat();
    }
    let length = ((20 + payload.len()) as u16).to_be_bytes();
    let id = (0x1000 + id * 7).to_be_bytes();
    let mut head =
        vec![0x45, class, length[0], length[1], id[0], id[1], 0x40, 0, ttl, protocol, 0, 0];
    head.extend(from.0);
    head.extend(to.0);
    let sum = Sum16BitWords::new().add_slice(&head).ones_complement();
    head[10..12].copy_from_slice(&sum.to_ne_bytes());
    [&head[..], payload].concat()
}

/// Sets DSCP and ECN.
pub fn set_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = packet[1] & 15 | class << 4;
    }
}

/// The error of a router about a packet that expires there; it quotes at most this number of octets of the transport.
pub fn error(packet: &[u8], octets: usize, router: u8) -> Vec<u8> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    message(packet, &packet[..packet.len().min(header + octets)], 0, router)
}

/// An error with an extension after a quote of 128 octets (RFC 4884), with a label (RFC 4950).
pub fn extended(packet: &[u8], router: u8) -> Vec<u8> {
    let mut quote = packet.to_vec();
    quote.resize(128, 0);
    let mut extension = vec![0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 0x11, 1];
    let sum = Sum16BitWords::new().add_slice(&extension).ones_complement();
    extension[2..4].copy_from_slice(&sum.to_ne_bytes());
    quote.extend(extension);
    message(packet, &quote, 128, router)
}

fn message(packet: &[u8], quote: &[u8], length: usize, router: u8) -> Vec<u8> {
    let v6 = packet[0] >> 4 == 6;
    let mut message = vec![if v6 { 3 } else { 11 }, 0, 0, 0, 0, 0, 0, 0];
    message[if v6 { 4 } else { 5 }] = (length / if v6 { 8 } else { 4 }) as u8;
    message.extend(quote);
    let mut from_v6 = PROBER_V6;
    (from_v6[5], from_v6[15]) = (2, router);
    let from = ([203, 0, 113, router], from_v6);
    let mut sum = Sum16BitWords::new().add_slice(&message);
    if v6 {
        let length = (message.len() as u32).to_be_bytes();
        sum = sum.add_16bytes(from_v6).add_16bytes(PROBER_V6).add_4bytes(length);
        sum = sum.add_2bytes([0, 58]);
    }
    let sum = sum.ones_complement().to_ne_bytes();
    message[2..4].copy_from_slice(&sum);
    ip(v6, from, (PROBER_V4, PROBER_V6), 0xc0, 0, 60, if v6 { 58 } else { 1 }, &message)
}
