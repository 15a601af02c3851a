//! Link layers: what stands before the IP header.
//!
//! Numbers are those of tcpdump.org/linktypes.html.

/// What stands before the IP header in a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with or without VLAN tags (IEEE 802.1Q, 802.1ad), MPLS labels and PPPoE.
    Ethernet,
    /// Nothing: the frame is the IP packet.
    Raw,
    /// Linux cooked capture, version 1.
    LinuxSll,
    /// Linux cooked capture, version 2.
    LinuxSll2,
    /// BSD loopback: the address family in four octets, of either byte order.
    Null,
    /// PPP, with or without address and control octets (RFC 1661, 1662).
    Ppp,
    /// Cisco HDLC.
    CiscoHdlc,
    /// PPPoE session (RFC 2516) without Ethernet.
    Pppoe,
    /// IEEE 802.11 data frames.
    Ieee80211,
    /// IEEE 802.11 data frames behind a radiotap header.
    Radiotap,
    /// IP over InfiniBand (RFC 4391).
    IpOverInfiniband,
}

/// Every link type that is understood, by number.
static TYPES: &[(i32, Link)] = &[
    (0, Link::Null),
    (1, Link::Ethernet),
    (9, Link::Ppp),
    // DLT_RAW is 12 on most systems and 14 on some.
    (12, Link::Raw),
    (14, Link::Raw),
    (50, Link::Ppp),
    (51, Link::Pppoe),
    (101, Link::Raw),
    (104, Link::CiscoHdlc),
    (105, Link::Ieee80211),
    (108, Link::Null),
    (113, Link::LinuxSll),
    (127, Link::Radiotap),
    (228, Link::Raw),
    (229, Link::Raw),
    (242, Link::IpOverInfiniband),
    (276, Link::LinuxSll2),
];

/// As many tags, labels and encapsulations as anyone stacks, and an end to what a hostile frame does.
const DEEPEST: usize = 16;

impl Link {
    /// From a link-layer header type.
    pub fn from_linktype(linktype: i32) -> Option<Self> {
        TYPES.iter().find(|(number, _)| *number == linktype).map(|(_, link)| *link)
    }

    /// The bytes from the IP header on; `None` if there is no IP header.
    #[inline(always)]
    pub fn strip(self, frame: &[u8]) -> Option<&[u8]> {
        match self {
            Link::Raw => is_ip(frame),
            Link::Ethernet => ethertype(be16(frame, 12)?, frame.get(14..)?),
            Link::LinuxSll => ethertype(be16(frame, 14)?, frame.get(16..)?),
            Link::LinuxSll2 => ethertype(be16(frame, 0)?, frame.get(20..)?),
            // The family's number differs from system to system; the packet says what it is.
            Link::Null => is_ip(frame.get(4..)?),
            Link::Ppp => ppp(frame),
            Link::Pppoe => ppp(frame.get(6..)?),
            Link::CiscoHdlc => ethertype(be16(frame, 2)?, frame.get(4..)?),
            Link::Ieee80211 => ieee80211(frame),
            Link::Radiotap => {
                let length = u16::from_le_bytes([*frame.get(2)?, *frame.get(3)?]);
                ieee80211(frame.get(usize::from(length)..)?)
            }
            Link::IpOverInfiniband => ethertype(be16(frame, 40)?, frame.get(44..)?),
        }
    }
}

#[inline(always)]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn is_ip(bytes: &[u8]) -> Option<&[u8]> {
    matches!(bytes.first()? >> 4, 4 | 6).then_some(bytes)
}

#[inline(always)]
fn ethertype(ethertype: u16, rest: &[u8]) -> Option<&[u8]> {
    match ethertype {
        // Nearly all of them.
        0x0800 | 0x86dd => Some(rest),
        _ => encapsulated(ethertype, rest),
    }
}

fn encapsulated(mut ethertype: u16, mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..DEEPEST {
        match ethertype {
            0x0800 | 0x86dd => return Some(rest),
            // 802.1Q, 802.1ad and the tag that came before it.
            0x8100 | 0x88a8 | 0x9100 => {
                ethertype = be16(rest, 2)?;
                rest = rest.get(4..)?;
            }
            0x8864 => return ppp(rest.get(6..)?),
            0x8847 | 0x8848 => return mpls(rest),
            // A length (IEEE 802.3): LLC and SNAP follow.
            0..=0x05dc => return llc(rest),
            _ => return None,
        }
    }
    None
}

/// Labels to the bottom of the stack (RFC 3032); what follows says itself what it is.
fn mpls(mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..DEEPEST {
        let bottom = rest.get(2)? & 1 == 1;
        rest = rest.get(4..)?;
        if bottom {
            return is_ip(rest);
        }
    }
    None
}

/// LLC with SNAP (IEEE 802, RFC 1042).
fn llc(rest: &[u8]) -> Option<&[u8]> {
    match rest.get(..6)? {
        [0xaa, 0xaa, 0x03, 0, 0, 0] => ethertype(be16(rest, 6)?, rest.get(8..)?),
        _ => None,
    }
}

fn ppp(mut rest: &[u8]) -> Option<&[u8]> {
    if rest.starts_with(&[0xff, 0x03]) {
        rest = rest.get(2..)?;
    }
    // A protocol field may be one octet long, which is then odd (RFC 1661, 6.5).
    let (protocol, rest) = match *rest.first()? {
        one if one & 1 == 1 => (u16::from(one), rest.get(1..)?),
        _ => (be16(rest, 0)?, rest.get(2..)?),
    };
    match protocol {
        0x0021 | 0x0057 => Some(rest),
        0x0281 | 0x0283 => mpls(rest),
        _ => None,
    }
}

/// A data frame: header of 24 octets, a fourth address between access points, QoS control.
fn ieee80211(frame: &[u8]) -> Option<&[u8]> {
    let control = u16::from_le_bytes([*frame.first()?, *frame.get(1)?]);
    let (kind, subtype) = (control >> 2 & 3, control >> 4 & 0xf);
    let (to_from, protected, order) =
        (control >> 8 & 3, control & 0x4000 != 0, control & 0x8000 != 0);
    // Data frames that have data, and that can be read.
    if kind != 2 || subtype & 4 != 0 || protected {
        return None;
    }
    let qos = subtype & 8 != 0;
    let fourth = if to_from == 3 { 6 } else { 0 };
    let length = 24 + fourth + if qos { 2 } else { 0 } + if qos && order { 4 } else { 0 };
    llc(frame.get(length..)?)
}
