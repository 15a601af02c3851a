//! Link layers: the headers before the IP header.
//!
//! Numbers and names are those of tcpdump.org/linktypes.html. [`TYPES`] is the registry, which
//! `observe --help` prints; `ethernet` reads what EtherTypes and LLC announce, `wireless` reads
//! IEEE 802.11, `wrapped` reads headers that put metadata before another link layer's frame.

mod ethernet;
mod wireless;
mod wrapped;

use super::Unread;
use ethernet::{ethertype, ppp};

/// A kind of header before the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet.
    Ethernet,
    /// No header: the frame is the IP packet.
    Raw,
    /// Linux cooked capture, version 1.
    LinuxSll,
    /// Linux cooked capture, version 2.
    LinuxSll2,
    /// BSD loopback: the address family in four octets, of either byte order.
    Null,
    /// PPP, with or without address and control octets (RFC 1661, 1662).
    Ppp,
    /// An octet that says the direction, then PPP.
    PppWithDirection,
    /// Cisco HDLC.
    CiscoHdlc,
    /// PPPoE session (RFC 2516) without Ethernet.
    Pppoe,
    /// IEEE 802.11 data frames.
    Ieee80211,
    /// IEEE 802.11 data frames after a radiotap header.
    Radiotap,
    /// A frame of another link type after a Per-Packet Information header.
    Ppi,
    /// A frame of another link type after a header of macOS.
    Pktap,
    /// OpenBSD's IPsec interface: family, SPI and flags.
    Enc,
    /// OpenBSD's packet filter log.
    Pflog,
    /// Linux's netfilter log: the packet is one of several attributes.
    Nflog,
    /// IP over InfiniBand (RFC 4391).
    IpOverInfiniband,
}

/// A supported link type.
#[derive(Debug)]
pub struct LinkType {
    /// The number in a capture file.
    pub number: u16,
    /// The name, `LINKTYPE_` left out.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// How it is read.
    pub link: Link,
}

const fn row(number: u16, name: &'static str, doc: &'static str, link: Link) -> LinkType {
    LinkType { number, name, doc, link }
}

/// Every supported link type, by number.
pub static TYPES: &[LinkType] = &[
    row(0, "NULL", "BSD loopback", Link::Null),
    row(
        1,
        "ETHERNET",
        "Ethernet, also with VLAN tags (802.1Q, 802.1ad, 802.1BR, VN-Tag), PBB (802.1ah), MPLS, PPPoE, Cisco metadata",
        Link::Ethernet,
    ),
    row(9, "PPP", "PPP", Link::Ppp),
    // DLT_RAW is 12 on most systems and 14 on OpenBSD; some files have these numbers.
    row(12, "RAW", "IP, as some systems number it", Link::Raw),
    row(14, "RAW", "IP, as OpenBSD numbers it", Link::Raw),
    row(50, "PPP_HDLC", "PPP in HDLC-like framing", Link::Ppp),
    row(51, "PPP_ETHER", "PPPoE session", Link::Pppoe),
    row(101, "RAW", "IP", Link::Raw),
    row(104, "C_HDLC", "Cisco HDLC", Link::CiscoHdlc),
    row(105, "IEEE802_11", "Wi-Fi data frames", Link::Ieee80211),
    row(108, "LOOP", "OpenBSD loopback", Link::Null),
    row(109, "ENC", "OpenBSD IPsec", Link::Enc),
    row(113, "LINUX_SLL", "Linux cooked capture", Link::LinuxSll),
    row(117, "PFLOG", "OpenBSD packet filter log", Link::Pflog),
    row(127, "IEEE802_11_RADIOTAP", "Wi-Fi data frames with radiotap", Link::Radiotap),
    row(192, "PPI", "Per-Packet Information, then another link type", Link::Ppi),
    row(204, "PPP_WITH_DIR", "PPP with direction", Link::PppWithDirection),
    row(228, "IPV4", "IPv4", Link::Raw),
    row(229, "IPV6", "IPv6", Link::Raw),
    row(239, "NFLOG", "Linux netfilter log", Link::Nflog),
    row(242, "IPOIB", "IP over InfiniBand", Link::IpOverInfiniband),
    row(258, "PKTAP", "macOS packet tap, then another link type", Link::Pktap),
    row(276, "LINUX_SLL2", "Linux cooked capture, version 2", Link::LinuxSll2),
];

/// The number that capture files have for what libpcap calls this link type: systems number raw IP differently.
pub fn in_files(linktype: i32) -> u16 {
    const RAW: u16 = 101;
    match linktype {
        12 | 14 => RAW,
        // All others are equal, and have 16 bits.
        same => u16::try_from(same).unwrap_or(RAW),
    }
}

impl Link {
    /// The link layer of a link-layer header type.
    pub fn from_linktype(linktype: i32) -> Option<Self> {
        TYPES.iter().find(|row| i32::from(row.number) == linktype).map(|row| row.link)
    }

    /// The bytes from the IP header on.
    ///
    /// # Errors
    /// [`Unread::NotIp`] or [`Unread::BadLink`].
    #[inline(always)]
    pub fn strip(self, frame: &[u8]) -> Result<&[u8], Unread> {
        match self {
            Link::Ethernet => ethertype(be16(frame, 12)?, after(frame, 14)?),
            Link::Raw => is_ip(frame),
            _ => self.strip_rarer(frame),
        }
    }

    fn strip_rarer(self, frame: &[u8]) -> Result<&[u8], Unread> {
        match self {
            Link::Ethernet => ethertype(be16(frame, 12)?, after(frame, 14)?),
            Link::Raw => is_ip(frame),
            Link::LinuxSll => ethertype(be16(frame, 14)?, after(frame, 16)?),
            Link::LinuxSll2 => ethertype(be16(frame, 0)?, after(frame, 20)?),
            // The family's number differs between systems; the packet has its version.
            Link::Null => is_ip(after(frame, 4)?),
            Link::Enc => is_ip(after(frame, 12)?),
            Link::Ppp => ppp(frame),
            Link::PppWithDirection => ppp(after(frame, 1)?),
            Link::Pppoe => ppp(after(frame, 6)?),
            Link::CiscoHdlc => ethertype(be16(frame, 2)?, after(frame, 4)?),
            Link::Ieee80211 => wireless::data(frame, false),
            Link::Radiotap => wireless::radiotap(frame),
            Link::Ppi => wrapped::ppi(frame),
            Link::Pktap => wrapped::pktap(frame),
            Link::Pflog => wrapped::pflog(frame),
            Link::Nflog => wrapped::nflog(frame),
            Link::IpOverInfiniband => ethertype(be16(frame, 40)?, after(frame, 44)?),
        }
    }
}

#[inline(always)]
fn be16(bytes: &[u8], at: usize) -> Result<u16, Unread> {
    let two = bytes.get(at..at + 2).ok_or(Unread::BadLink)?;
    Ok(u16::from_be_bytes([two[0], two[1]]))
}

fn le16(bytes: &[u8], at: usize) -> Result<u16, Unread> {
    be16(bytes, at).map(u16::swap_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Result<u32, Unread> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Unread::BadLink)?;
    Ok(u32::from_le_bytes(*four))
}

/// The bytes after this many octets.
#[inline(always)]
fn after(bytes: &[u8], octets: usize) -> Result<&[u8], Unread> {
    bytes.get(octets..).ok_or(Unread::BadLink)
}

fn is_ip(bytes: &[u8]) -> Result<&[u8], Unread> {
    match bytes.first().ok_or(Unread::BadLink)? >> 4 {
        4 | 6 => Ok(bytes),
        _ => Err(Unread::NotIp),
    }
}

#[cfg(test)]
mod tests;
