//! Headers of metadata before an IP packet or before another link layer's frame.

use super::{Link, after, is_ip, le16, le32};
use crate::packet::Unread;

/// Attribute of a netfilter log: the packet.
const PAYLOAD: u16 = 9;
/// Limit on the attributes of a frame, against hostile frames.
const MOST: usize = 64;

/// Per-Packet Information: version, flags, length of the header, link type of what follows; all little-endian.
pub(super) fn ppi(frame: &[u8]) -> Result<&[u8], Unread> {
    let (length, linktype) = (le16(frame, 2)?, le32(frame, 4)?);
    inner(linktype, after(frame, length.into())?)
}

/// PKTAP: length of the header, type of record, link type of what follows. The byte order is the host's; all hosts
/// with PKTAP are little-endian.
pub(super) fn pktap(frame: &[u8]) -> Result<&[u8], Unread> {
    let (length, record, linktype) = (le32(frame, 0)?, le32(frame, 4)?, le32(frame, 8)?);
    if record != 1 {
        return Err(Unread::NotIp);
    }
    inner(linktype, after(frame, usize::try_from(length).unwrap_or(usize::MAX))?)
}

/// Reads the inner frame. Nested PPI and PKTAP are not read, so the recursion is bounded.
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

/// Family, version and resource, then attributes in the byte order of the capturing host: the order in which the
/// attributes can be walked.
pub(super) fn nflog(frame: &[u8]) -> Result<&[u8], Unread> {
    let attributes = after(frame, 4)?;
    payload(attributes, u16::from_le_bytes)
        .or_else(|_| payload(attributes, u16::from_be_bytes))
        .and_then(is_ip)
}

/// The packet attribute. An attribute has a length that includes its header, a type, and a value padded to four
/// octets.
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
