//! IEEE 802.11 data frames, and radiotap (radiotap.org).

use super::ethernet::llc;
use super::{after, le16, le32};
use crate::packet::Unread;

/// Radiotap: the frame's header is padded to a multiple of four octets.
const DATA_PAD: u8 = 0x20;

/// A data frame: header of 24 octets, a fourth address between access points, QoS control.
pub(super) fn data(frame: &[u8], padded: bool) -> Result<&[u8], Unread> {
    let control = le16(frame, 0)?;
    let (kind, subtype) = (control >> 2 & 3, control >> 4 & 0xf);
    let (to_from, protected, order) =
        (control >> 8 & 3, control & 0x4000 != 0, control & 0x8000 != 0);
    // Data frames that have data, and that can be read.
    if kind != 2 || subtype & 4 != 0 || protected {
        return Err(Unread::NotIp);
    }
    let qos = subtype & 8 != 0;
    let fourth = if to_from == 3 { 6 } else { 0 };
    let length = 24 + fourth + if qos { 2 } else { 0 } + if qos && order { 4 } else { 0 };
    llc(after(frame, if padded { usize::next_multiple_of(length, 4) } else { length })?)
}

pub(super) fn radiotap(frame: &[u8]) -> Result<&[u8], Unread> {
    let length = usize::from(le16(frame, 2)?);
    let header = frame.get(..length).ok_or(Unread::BadLink)?;
    data(&frame[length..], flags(header)? & DATA_PAD != 0)
}

/// The Flags field; 0 if there is none.
fn flags(header: &[u8]) -> Result<u8, Unread> {
    let present = le32(header, 4)?;
    if present & 2 == 0 {
        return Ok(0);
    }
    // While the highest bit is set, another word of field bits follows.
    let mut at = 8;
    let mut word = present;
    while word >> 31 == 1 {
        word = le32(header, at)?;
        at += 4;
    }
    // Only TSFT is before it: eight octets, aligned to eight.
    if present & 1 == 1 {
        at = at.next_multiple_of(8) + 8;
    }
    header.get(at).copied().ok_or(Unread::BadLink)
}
