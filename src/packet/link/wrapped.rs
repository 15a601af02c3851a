//! Headers of metadata before an IP packet or before another link layer's frame.

use super::{Link, after, is_ip, le16, le32};
use crate::packet::Unread;

/// Attribute of a netfilter log: the packet.
const PAYLOAD: u16 = 9;
/// Attributes that are looked at: a limit on the work that a hostile frame causes.
const MOST: usize = 64;

/// Per-Packet Information: version, flags, length of the header, link type of what follows; all little-endian.
pub(super) fn ppi(frame: &[u8]) -> Result<&[u8], Unread> {
    let (length, linktype) = (le16(frame, 2)?, le32(frame, 4)?);
    inner(linktype, after(frame, length.into())?)
}

/// A header that says its length, the type of the record, and the link type of what follows, in the byte
/// order of the host: little-endian, as all that have it are.
pub(super) fn pktap(frame: &[u8]) -> Result<&[u8], Unread> {
    let (length, record, linktype) = (le32(frame, 0)?, le32(frame, 4)?, le32(frame, 8)?);
    if record != 1 {
        return Err(Unread::NotIp);
    }
    inner(linktype, after(frame, usize::try_from(length).unwrap_or(usize::MAX))?)
}

/// The frame in a wrapping; a wrapping in a wrapping is not read, for nobody writes it.
fn inner(linktype: u32, frame: &[u8]) -> Result<&[u8], Unread> {
    match i32::try_from(linktype).ok().and_then(Link::from_linktype) {
        None | Some(Link::Ppi | Link::Pktap) => Err(Unread::NotIp),
        Some(link) => link.strip(frame),
    }
}

/// The first octet is the header's length without the padding to four octets.
pub(super) fn pflog(frame: &[u8]) -> Result<&[u8], Unread> {
    let length = usize::from(*frame.first().ok_or(Unread::BadLink)?);
    is_ip(after(frame, length.next_multiple_of(4))?)
}

/// Family, version and resource, then attributes in the byte order of the host that captured: the one in which
/// they fit together.
pub(super) fn nflog(frame: &[u8]) -> Result<&[u8], Unread> {
    let attributes = after(frame, 4)?;
    payload(attributes, u16::from_le_bytes)
        .or_else(|_| payload(attributes, u16::from_be_bytes))
        .and_then(is_ip)
}

/// The packet among attributes: each has its length, its own header included, its type and its value, padded to
/// four octets.
fn payload(mut rest: &[u8], number: fn([u8; 2]) -> u16) -> Result<&[u8], Unread> {
    for _ in 0..MOST {
        let [a, b, c, d] = *rest.first_chunk().ok_or(Unread::BadLink)?;
        let length = usize::from(number([a, b]));
        if length < 4 {
            return Err(Unread::BadLink);
        }
        if number([c, d]) & 0x7fff == PAYLOAD {
            // The capture may have cut it.
            return Ok(&rest[4..length.min(rest.len())]);
        }
        rest = after(rest, length.next_multiple_of(4))?;
    }
    Err(Unread::BadLink)
}
