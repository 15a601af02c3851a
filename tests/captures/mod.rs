//! Small captures of the project's own, made here packet by packet: each shows one thing, with
//! addresses of RFC 5737 and RFC 3849.

mod file;
mod packet;

use std::net::IpAddr;

pub use file::{Frame, pcap, pcapng};
use packet::{Connection, ethernet, evil, fragment, icmp, sctp, udp};

/// A capture: its name, its link type, its frames.
pub struct Capture {
    pub name: &'static str,
    pub link: u32,
    pub frames: Vec<Frame>,
}

const ETHERNET: u32 = 1;
/// Nanoseconds since 1970 of the first frame of each capture; the next ones follow by 10 ms.
const BEGIN: u64 = 1_700_000_000_000_000_000;

const SYN: u16 = 0x02;
const SYNACK: u16 = 0x12;
const ACK: u16 = 0x10;
const FINACK: u16 = 0x11;
const RST: u16 = 0x04;
const ECE: u16 = 0x40;
const CWR: u16 = 0x80;

fn capture(name: &'static str, link: u32, frames: impl IntoIterator<Item = Vec<u8>>) -> Capture {
    let frames = frames.into_iter().zip(0u64..);
    let frames = frames.map(|(bytes, i)| Frame { time: BEGIN + i * 10_000_000, bytes }).collect();
    Capture { name, link, frames }
}

fn on_ethernet(name: &'static str, packets: impl IntoIterator<Item = Vec<u8>>) -> Capture {
    capture(name, ETHERNET, packets.into_iter().map(|packet| ethernet(&[], &packet)))
}

/// Every capture whose records are agreed.
pub fn all() -> Vec<Capture> {
    let mut all = vec![
        connection(),
        options(),
        answers(),
        fallback(),
        marks(),
        ends(),
        on_the_way(),
        forged(),
        routers(),
        fragments(),
        checksums(),
        dns(),
        on_ethernet("sctp", [sctp(true), sctp(false)]),
        cut_short(),
    ];
    all.extend(links());
    all
}

fn v4(port: u16) -> Connection {
    Connection::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), port, 80)
}

fn v6(port: u16) -> Connection {
    let end = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
    Connection::new(end(1), end(2), port, 443)
}

/// With ECN from SYN to FIN: marks on data, none on pure ACKs.
fn connection() -> Capture {
    let whole = |on: Connection| {
        [
            on.out(SYN | ECE | CWR, 0, &[], b""),
            on.back(SYNACK | ECE, 0, &[], b""),
            on.out(ACK, 0, &[], b""),
            on.out(ACK, 2, &[], b"question"),
            on.back(ACK, 0, &[], b""),
            on.back(ACK, 3, &[], b"answer"),
            on.out(ACK | ECE, 0, &[], b""),
            on.out(FINACK, 0, &[], b""),
            on.back(FINACK, 0, &[], b""),
            on.out(ACK, 0, &[], b""),
        ]
    };
    let (four, six) = (whole(v4(40_000)), whole(v6(40_001)));
    on_ethernet("connection", four.into_iter().zip(six).flat_map(<[_; 2]>::from))
}

/// Every option that a function reads, and one that nobody knows.
fn options() -> Capture {
    let on = v4(40_000);
    let mut syn = vec![2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
    syn.extend([34, 2, 30, 4, 0x01, 0x81, 76, 4, 1, 2]);
    let answer = [2, 4, 5, 100, 3, 3, 2, 1, 34, 6, 1, 2, 3, 4, 1, 1];
    let old = [254, 4, 0xf9, 0x89, 254, 4, 0x12, 0x34];
    let other = v4(40_001);
    on_ethernet(
        "options",
        [on.out(SYN, 0, &syn, b""), on.back(SYNACK, 0, &answer, b""), other.out(SYN, 0, &old, b"")],
    )
}

/// Options of SYN-ACKs; a Fast Open cookie with data, of which the SYN alone is acknowledged; an MPTCP join.
fn answers() -> Capture {
    let (on, other) = (v4(40_000), v6(40_001));
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let mut answer = vec![4, 2, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 30, 12, 0x01, 0x81];
    answer.extend([1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    let join = [30, 12, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    on_ethernet(
        "answers",
        [
            on.out(SYN, 0, &cookie, b"early"),
            on.back(SYNACK, 0, &answer, b""),
            other.out(SYN, 0, &join, b""),
            other.back(SYNACK, 0, &join, b""),
        ],
    )
}

/// Every ECN codepoint on SYNs and on data of both directions, each with DSCPs of its own, on the last two with the
/// evil bit; the first connection's data begins with DSCP 0, which is a value, and varies.
fn marks() -> Capture {
    let packets = (0..4u8).flat_map(|ecn| {
        let on = v4(40_000 + u16::from(ecn));
        let class = |dscp: u8| (dscp << 2) | ecn;
        let packets = [
            on.out(SYN, class(10 + ecn), &[], b""),
            on.back(SYNACK, class(20 + ecn), &[], b""),
            on.out(ACK, class(63), &[], b""),
            on.out(ACK, class(30 * ecn.min(1)), &[], b"question"),
            on.back(ACK, class(40 * ecn.min(1)), &[], b"answer"),
            on.out(ACK, class(30), &[], b"question"),
            on.back(ACK, class(40), &[], b"answer"),
            on.back(ACK, class(62), &[], b""),
        ];
        packets.map(|packet| if ecn < 2 { packet } else { evil(packet) })
    });
    on_ethernet("marks", packets)
}

/// One end resets, the other does, each alone says that it has no more; and segments that no Ethernet carries.
fn ends() -> Capture {
    let (us, them) = (v4(40_000), v4(40_001));
    let (we, they) = (v4(40_002), v4(40_003));
    let large = [7; 1500];
    on_ethernet(
        "ends",
        [
            us.out(SYN | ECE | CWR, 0, &[], b""),
            us.back(SYNACK | ECE | CWR, 0, &[], b""),
            us.out(ACK, 0, &[], &large),
            us.back(ACK, 0, &[], &large),
            us.out(RST, 0, &[], b""),
            them.out(SYN, 0, &[], b""),
            them.back(RST | ACK, 0, &[], b""),
            we.out(SYN, 0, &[], b""),
            we.out(FINACK, 0, &[], b""),
            they.out(SYN, 0, &[], b""),
            they.back(FINACK, 0, &[], b""),
        ],
    )
}

/// A router quotes what it got: other marks and flags than were sent, no hops left.
fn on_the_way() -> Capture {
    let (four, six) = (v4(40_000), v6(40_001));
    let router: IpAddr = [198, 51, 100, 1].into();
    let mut quote = four.out(SYN, (8 << 2) | 3, &[], b"");
    quote[8] = 1; // hops left
    let mut quote6 = six.out(SYN, 1, &[], b"");
    quote6[7] = 1;
    on_ethernet(
        "on-the-way",
        [
            four.out(SYN | ECE | CWR, (46 << 2) | 2, &[], b""),
            icmp(router, four.us, 11, 0, 0, &quote),
            six.out(SYN | ECE | CWR, 2, &[], b""),
            icmp(six.them, six.us, 3, 0, 0, &quote6),
        ],
    )
}

/// The packet with another number at a place of its IPv4 payload.
fn numbered(mut packet: Vec<u8>, place: usize, number: u32) -> Vec<u8> {
    packet[20 + place..][..4].copy_from_slice(&number.to_be_bytes());
    packet
}

/// What a host off the path sends between the packets of a connection, in ignorance of its numbers; and the same to
/// a connection whose beginning nobody saw.
fn forged() -> Capture {
    const SEQUENCE: usize = 4;
    const ACKNOWLEDGMENT: usize = 8;
    /// Behind the header of ICMP and the quoted one of IPv4.
    const QUOTED_SEQUENCE: usize = 8 + 20 + 4;
    const FAR: u32 = 1_000_000_000;
    let (on, older) = (v4(40_000), v4(40_001));
    let router: IpAddr = [198, 51, 100, 1].into();
    let error = icmp(router, on.us, 3, 1, 0, &on.out(SYN, 0, &[], b""));
    let data = |on: &Connection| on.back(ACK, 3, &[], b"forged");
    on_ethernet(
        "forged",
        [
            on.out(SYN | ECE | CWR, 0, &[], b""),
            numbered(on.back(SYNACK, 3, &[], b""), ACKNOWLEDGMENT, FAR),
            numbered(data(&on), ACKNOWLEDGMENT, FAR),
            numbered(error, QUOTED_SEQUENCE, FAR),
            on.back(SYNACK | ECE, 0, &[], b""),
            on.out(ACK, 2, &[], b"question"),
            numbered(data(&on), SEQUENCE, FAR),
            numbered(on.back(RST, 0, &[], b""), SEQUENCE, FAR),
            on.back(ACK, 2, &[], b"answer"),
            older.out(ACK, 2, &[], b"question"),
            numbered(data(&older), SEQUENCE, FAR),
        ],
    )
}

/// The second SYN asks for no ECN any more.
fn fallback() -> Capture {
    let on = v4(40_000);
    let first = on.out(SYN | ECE | CWR, 0, &[], b"");
    on_ethernet("fallback", [first, on.out(SYN, 0, &[], b""), on.back(SYNACK, 0, &[], b"")])
}

/// Errors go to the flow that they quote, also if only its first octets are quoted.
fn routers() -> Capture {
    let (tcp4, tcp6) = (v4(40_000), v6(40_000));
    let question = udp([192, 0, 2, 1], [192, 0, 2, 2], 5000, 5001, true, b"anyone?");
    let router: IpAddr = [198, 51, 100, 1].into();
    let mut on_the_way = tcp4.out(ACK, 0, &[], b"much");
    on_the_way[8] = 3; // hops left
    on_ethernet(
        "routers",
        [
            question.clone(),
            icmp([192, 0, 2, 2].into(), [192, 0, 2, 1].into(), 3, 3, 0, &question[..28]),
            tcp4.out(ACK, 2, &[], b"much"),
            icmp(router, [192, 0, 2, 1].into(), 3, 4, 1400, &on_the_way),
            tcp6.out(ACK, 0, &[], b"much"),
            icmp(tcp6.them, tcp6.us, 2, 0, 1280, &tcp6.out(ACK, 0, &[], b"much")),
            icmp(router, [192, 0, 2, 1].into(), 11, 0, 0, &question[..10]),
        ],
    )
}

/// Three pieces of a datagram, then one whose first piece nobody saw.
fn fragments() -> Capture {
    let whole = udp([192, 0, 2, 1], [192, 0, 2, 2], 5000, 5001, true, &[7; 64]);
    let data = &whole[20..];
    on_ethernet(
        "fragments",
        [
            fragment(77, 0, true, &data[..24]),
            fragment(77, 24, true, &data[24..48]),
            fragment(77, 48, false, &data[48..]),
            fragment(78, 24, false, &data[48..]),
        ],
    )
}

fn checksums() -> Capture {
    let (us, them) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let out = udp(us, them, 5000, 5001, false, b"no checksum");
    let back = udp(them, us, 5001, 5000, true, b"checksum");
    let other = udp(us, them, 5002, 5001, true, b"checksum");
    on_ethernet("checksums", [out, back, other, udp(them, us, 5001, 5002, false, b"no checksum")])
}

/// One question is answered, one gets another's answer.
fn dns() -> Capture {
    let message = |id: u8, flags: [u8; 2], answers: u8, name: &[u8]| {
        let mut bytes = vec![0, id, flags[0], flags[1], 0, 1, 0, answers, 0, 0, 0, 0];
        bytes.extend(name);
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    };
    let (us, server) = ([192, 0, 2, 1], [192, 0, 2, 53]);
    let ask = |port, id| udp(us, server, port, 53, true, &message(id, [1, 0], 0, b"\x04path"));
    let answer = |port, id, name: &[u8]| {
        udp(server, us, 53, port, true, &message(id, [0x83, 0x83], 2, name))
    };
    on_ethernet(
        "dns",
        [ask(5000, 1), ask(5001, 2), answer(5000, 1, b"\x04PATH"), answer(5001, 2, b"\x04hint")],
    )
}

/// Headers that a snap length cut: before their flags, within their options, before a checksum, within a message.
fn cut_short() -> Capture {
    let (on, other) = (v4(40_000), v6(40_001));
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
    let up_to = |mut packet: Vec<u8>, octets: usize| {
        packet.truncate(octets);
        packet
    };
    let message =
        [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &b"\x07example\x03org\0\0\x01\0\x01"[..]].concat();
    let question = udp([192, 0, 2, 1], [192, 0, 2, 53], 5000, 53, true, &message);
    let datagram = |checksum| udp([192, 0, 2, 1], [192, 0, 2, 2], 5001, 5002, checksum, b"data");
    on_ethernet(
        "cut-short",
        [
            // Options of both SYNs end in the middle of the third one.
            up_to(on.out(SYN | ECE | CWR, 0, &options, b""), 20 + 20 + 6 + 4),
            up_to(on.back(SYNACK | ECE, 0, &options, b""), 20 + 20 + 6 + 4),
            on.out(ACK, 2, &[], b"question"),
            // Nobody can say what this one is; it has CE and another DSCP.
            up_to(on.out(ACK, (10 << 2) | 3, &[], b"question"), 20 + 12),
            // Nothing but ports, of both directions.
            up_to(other.out(SYN, 1, &[], b""), 40 + 4),
            up_to(other.back(SYNACK, 2, &[], b""), 40 + 4),
            datagram(false),
            up_to(datagram(true), 20 + 4),
            up_to(question, 20 + 8 + 14),
        ],
    )
}

/// The same two packets behind every link layer.
fn links() -> Vec<Capture> {
    let on = v4(40_000);
    let packets = [on.out(SYN, 0, &[], b""), on.back(SYNACK, 0, &[], b"")];
    let behind = |name, link, before: &[u8]| {
        capture(name, link, packets.iter().map(|packet| [before, packet].concat()))
    };
    let tagged = |name, tags: &[u8]| {
        capture(name, ETHERNET, packets.iter().map(|packet| ethernet(tags, packet)))
    };
    vec![
        tagged("link-vlan", &[0x81, 0, 0, 7]),
        tagged("link-qinq", &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]),
        behind("link-raw", 101, &[]),
        behind("link-null", 0, &[2, 0, 0, 0]),
        behind("link-loop", 108, &[0, 0, 0, 2]),
        behind("link-sll", 113, &[0, 4, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0]),
        behind("link-sll2", 276, &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 6, 2, 2, 2, 2, 2, 2, 0, 0]),
        behind("link-ppp", 9, &[0xff, 3, 0, 0x21]),
        behind("link-pppoe", 1, &{
            let mut before = ethernet(&[], &[])[..12].to_vec();
            before.extend([0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21]);
            before
        }),
    ]
}

/// SYNs from so many ports.
pub fn syns(count: u16) -> Capture {
    on_ethernet("syns", (0..count).map(|i| v4(40_000 + i).out(SYN, 0, &[], b"")))
}
