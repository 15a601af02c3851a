//! What an EtherType, LLC or PPP announces, down to the IP header.

use super::{after, be16, is_ip};
use crate::packet::Unread;

/// Limit on stacked tags and labels, against hostile frames.
const DEEPEST: usize = 16;
/// The largest value that is a length and not an EtherType (IEEE 802.3, 3.2.6).
const LONGEST: u16 = 0x05dc;

/// The IP packet that follows an EtherType.
#[inline(always)]
pub(super) fn ethertype(ethertype: u16, rest: &[u8]) -> Result<&[u8], Unread> {
    match ethertype {
        // The usual case.
        0x0800 | 0x86dd => Ok(rest),
        _ => encapsulated(ethertype, rest),
    }
}

fn encapsulated(mut ethertype: u16, mut rest: &[u8]) -> Result<&[u8], Unread> {
    for _ in 0..DEEPEST {
        // Octets before the next EtherType.
        let tag = match ethertype {
            0x0800 | 0x86dd => return Ok(rest),
            // 802.1Q, 802.1ad and the pre-standard QinQ types.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => 2,
            // VN-Tag.
            0x8926 => 4,
            // E-Tag (802.1BR).
            0x893f => 6,
            // Provider backbone bridges (802.1ah): the service's identifier, then a whole Ethernet header.
            0x88e7 => 4 + 12,
            // Cisco metadata: version, length in units of four octets, options.
            0x8909 => 2 + 4 * usize::from(*rest.get(1).ok_or(Unread::BadLink)?),
            0x8864 => return ppp(after(rest, 6)?),
            0x8847 | 0x8848 => return mpls(rest),
            // A length: LLC follows, and what is beyond the length is padding.
            0..=LONGEST => return llc(&rest[..rest.len().min(ethertype.into())]),
            _ => return Err(Unread::NotIp),
        };
        ethertype = be16(rest, tag)?;
        rest = after(rest, tag + 2)?;
    }
    Err(Unread::BadLink)
}

/// MPLS labels to the bottom of the stack (RFC 3032). The payload is IP if its version says so.
fn mpls(mut rest: &[u8]) -> Result<&[u8], Unread> {
    for _ in 0..DEEPEST {
        let bottom = rest.get(2).ok_or(Unread::BadLink)? & 1 == 1;
        rest = after(rest, 4)?;
        if bottom {
            return is_ip(rest);
        }
    }
    Err(Unread::BadLink)
}

/// LLC with SNAP (IEEE 802, RFC 1042).
pub(super) fn llc(rest: &[u8]) -> Result<&[u8], Unread> {
    if !rest.get(..3).ok_or(Unread::BadLink)?.starts_with(&[0xaa, 0xaa, 0x03]) {
        return Err(Unread::NotIp);
    }
    match (rest.get(3..6).ok_or(Unread::BadLink)?, be16(rest, 6)?) {
        // A length is not valid here.
        ([0, 0, 0], kind) if kind > LONGEST => ethertype(kind, after(rest, 8)?),
        _ => Err(Unread::NotIp),
    }
}

pub(super) fn ppp(mut rest: &[u8]) -> Result<&[u8], Unread> {
    if rest.starts_with(&[0xff, 0x03]) {
        rest = &rest[2..];
    }
    // A protocol field may be one octet long, which is then odd (RFC 1661, 6.5).
    let (protocol, rest) = match *rest.first().ok_or(Unread::BadLink)? {
        one if one & 1 == 1 => (u16::from(one), &rest[1..]),
        _ => (be16(rest, 0)?, &rest[2..]),
    };
    match protocol {
        0x0021 | 0x0057 => Ok(rest),
        0x0281 | 0x0283 => mpls(rest),
        _ => Err(Unread::NotIp),
    }
}
