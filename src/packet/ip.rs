//! IP headers, down to the transport.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{Ip, protocol};

/// No next header (RFC 8200, 4.7).
const NO_NEXT_HEADER: u8 = 59;

/// The octets before the transport, and its captured part without padding.
pub(super) type Found<'a> = (usize, &'a [u8]);

/// Reads the IP header at the start of `bytes`.
#[inline(always)]
pub(super) fn read<'a>(bytes: &'a [u8], ip: &mut Ip) -> Option<Found<'a>> {
    match bytes.first()? >> 4 {
        4 => v4(bytes, ip),
        6 => v6(bytes, ip),
        _ => None,
    }
}

#[inline(always)]
fn v4<'a>(bytes: &'a [u8], ip: &mut Ip) -> Option<Found<'a>> {
    let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    let own = header.slice();
    let total = usize::from(header.total_len());
    // 0 means that the network card fills in the length (TSO): take the captured length.
    let length = if total == 0 { bytes.len() } else { total };
    if length < own.len() {
        return None;
    }
    let payload = bytes.get(own.len()..length.min(bytes.len())).unwrap_or_default();
    let offset = u32::from(header.fragments_offset().value()) * 8;
    let fragmented = header.more_fragments() || offset > 0;
    *ip = Ip {
        source: IpAddr::V4(header.source_addr()),
        destination: IpAddr::V4(header.destination_addr()),
        protocol: header.protocol().0,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        traffic_class: own[1],
        ttl: header.ttl(),
        evil: Some(own[6] & 0x80 != 0),
        dont_fragment: own[6] & 0x40 != 0,
        id: Some(u32::from(header.identification())),
        flow_label: None,
        fragment: fragmented.then_some(offset),
    };
    Some((own.len(), payload))
}

#[inline(always)]
fn v6<'a>(bytes: &'a [u8], ip: &mut Ip) -> Option<Found<'a>> {
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let declared = usize::from(header.payload_length());
    let next = header.next_header().0;
    let rest = bytes.get(40..)?;
    // 0 means a jumbogram (RFC 2675), or that the network card fills in the length: take the captured length. After
    // "no next header" there is only padding.
    let taken = if declared == 0 && next != NO_NEXT_HEADER { rest.len() } else { declared };
    *ip = Ip {
        source: IpAddr::V6(header.source_addr()),
        destination: IpAddr::V6(header.destination_addr()),
        protocol: next,
        length: u32::try_from(40 + taken).unwrap_or(u32::MAX),
        traffic_class: header.traffic_class(),
        ttl: header.hop_limit(),
        evil: None,
        dont_fragment: false,
        id: None,
        flow_label: Some(header.flow_label().value()),
        fragment: None,
    };
    let rest = &rest[..taken.min(rest.len())];
    // Most packets have no extension headers.
    if matches!(ip.protocol, protocol::TCP | protocol::UDP) {
        return Some((40, rest));
    }
    let payload = extensions(ip, rest, declared == 0)?;
    Some((40 + rest.len() - payload.len(), payload))
}

/// Walks hop-by-hop options (0), routing (43), fragment (44) and destination options (60) headers
/// (RFC 8200). An authentication header (51) or ESP (50) ends the chain and counts as the transport. `None` if a header
/// is announced but not complete: the transport is unknown.
fn extensions<'a>(ip: &mut Ip, mut rest: &'a [u8], no_length: bool) -> Option<&'a [u8]> {
    // Each header has at least eight octets, so the chain ends with the packet.
    loop {
        let length = match ip.protocol {
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            44 => 8,
            _ => return Some(rest),
        };
        let header = rest.get(..length)?;
        if no_length
            && ip.protocol == 0
            && let Some(length) = jumbo(header)
        {
            ip.length = length.saturating_add(40);
        }
        let fragment = ip.protocol == 44;
        ip.protocol = header[0];
        rest = &rest[length..];
        if fragment {
            let offset = u32::from(u16::from_be_bytes([header[2], header[3]]) & 0xfff8);
            ip.fragment = Some(offset);
            ip.id = Some(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
            if offset > 0 {
                // The rest of the chain is in the first fragment.
                return Some(rest);
            }
        }
    }
}

/// The Jumbo Payload option (RFC 2675) of a hop-by-hop header.
fn jumbo(header: &[u8]) -> Option<u32> {
    let mut options = header.get(2..)?;
    loop {
        match *options.first()? {
            0 => options = &options[1..],
            0xc2 => {
                let value = options.get(2..6)?;
                return Some(u32::from_be_bytes([value[0], value[1], value[2], value[3]]));
            }
            _ => options = options.get(2 + usize::from(*options.get(1)?)..)?,
        }
    }
}
