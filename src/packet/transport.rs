//! Transport headers.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::extension::{self, Extension};
use super::{Icmp, Ip, Quote, Tcp, Transport, Udp, Unread, flag, ip, protocol};

/// Octets of a TCP header without options.
const TCP_SHORTEST: usize = 20;
/// Octets of a TCP header down to its flags.
const TCP_FLAGS: usize = 14;

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE)
}

/// The ports, if the protocol has them and they were captured.
#[inline(always)]
pub(super) fn ports(protocol: u8, bytes: &[u8]) -> Option<(u16, u16)> {
    match bytes.get(..4)? {
        [a, b, c, d] if has_ports(protocol) => {
            Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
        }
        _ => None,
    }
}

/// Reads the transport header, or the captured part of it.
///
/// # Errors
/// If it is not complete. The part that could be read is in `transport`.
#[inline(always)]
pub(super) fn read<'a>(
    ip: &Ip,
    headers: usize,
    bytes: &'a [u8],
    transport: &mut Transport<'a>,
) -> Result<(), Unread> {
    match ip.protocol {
        protocol::TCP => {
            if let Some((head, rest)) = bytes.split_first_chunk::<TCP_SHORTEST>()
                && let own = usize::from(head[12] >> 4) * 4
                && let Some(length) = own.checked_sub(TCP_SHORTEST)
                && let Some((options, data)) = rest.split_at_checked(length)
            {
                let payload = u32::try_from(headers + own).ok();
                // By the IP header, because the capture may have cut the data.
                let payload = payload.and_then(|before| ip.length.checked_sub(before));
                let payload = payload.ok_or(Unread::BadTransport)?;
                *transport = Transport::Tcp(tcp(head, payload, options, data));
                return Ok(());
            }
            cut_tcp(ip, headers, bytes, transport)
        }
        protocol::UDP => {
            let Some((head, data)) = bytes.split_first_chunk::<8>() else {
                return Err(too_short(ip, headers, bytes));
            };
            let cut = is_cut(ip, headers, bytes);
            let length = u16::from_be_bytes([head[4], head[5]]);
            let checksum = u16::from_be_bytes([head[6], head[7]]);
            *transport = Transport::Udp(Udp { length, checksum, data, cut });
            Ok(())
        }
        protocol::ICMP if ip.source.is_ipv4() => {
            icmp(ip, headers, bytes, transport, |kind| matches!(kind, 3 | 4 | 5 | 11 | 12))
        }
        protocol::ICMP6 if ip.source.is_ipv6() => {
            icmp(ip, headers, bytes, transport, |kind| matches!(kind, 1..=4))
        }
        _ => Ok(()),
    }
}

/// Whether the capture cut the packet.
fn is_cut(ip: &Ip, headers: usize, bytes: &[u8]) -> bool {
    u32::try_from(headers + bytes.len()).is_ok_and(|captured| captured < ip.length)
}

/// Why the header is not complete.
fn too_short(ip: &Ip, headers: usize, bytes: &[u8]) -> Unread {
    if is_cut(ip, headers, bytes) { Unread::CutTransport } else { Unread::BadTransport }
}

#[inline(always)]
fn tcp<'a>(head: &[u8], payload: u32, options: &'a [u8], data: &'a [u8]) -> Tcp<'a> {
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    Tcp {
        flags: u16::from_be_bytes([head[12], head[13]]) & flag::ALL,
        sequence: number(4),
        acknowledgment: number(8),
        window: head.get(14..16).map_or(u16::MAX, |two| u16::from_be_bytes([two[0], two[1]])),
        payload,
        options,
        whole: true,
        data,
    }
}

/// An incomplete TCP header: reads the fields up to the flags, if the capture cut it after them.
#[cold]
fn cut_tcp<'a>(
    ip: &Ip,
    headers: usize,
    bytes: &'a [u8],
    transport: &mut Transport<'a>,
) -> Result<(), Unread> {
    let why = too_short(ip, headers, bytes);
    let head: &[u8; TCP_FLAGS] = bytes.first_chunk().ok_or(why)?;
    let own = usize::from(head[12] >> 4) * 4;
    let before = u32::try_from(headers + own).unwrap_or(u32::MAX);
    if own < TCP_SHORTEST || before > ip.length {
        return Err(Unread::BadTransport);
    }
    let options = bytes.get(TCP_SHORTEST..).unwrap_or_default();
    let tcp = tcp(head, ip.length - before, options, &[]);
    *transport = Transport::Tcp(Tcp { whole: false, ..tcp });
    Err(why)
}

fn icmp<'a>(
    ip: &Ip,
    headers: usize,
    bytes: &'a [u8],
    transport: &mut Transport<'a>,
    is_error: fn(u8) -> bool,
) -> Result<(), Unread> {
    let too_short = || too_short(ip, headers, bytes);
    let [kind, code] = *bytes.first_chunk().ok_or_else(too_short)?;
    let rest = bytes.get(4..).and_then(|rest| rest.first_chunk()).copied();
    let rest = rest.map_or(0, u32::from_be_bytes);
    let mut message =
        Icmp { kind, code, rest, quote: None, intact: None, extension: Extension::default() };
    let mut flaw = Ok(());
    if is_error(kind) {
        let v4 = ip.source.is_ipv4();
        let (end, extension) = extension::split(bytes, v4);
        message.extension = extension;
        message.intact = (!is_cut(ip, headers, bytes)).then(|| has_right_checksum(ip, bytes));
        match bytes.get(8..end).map(|quoted| quote(quoted, v4)) {
            Some(Ok(quote)) => message.quote = quote,
            Some(Err(why)) => flaw = Err(why),
            None => flaw = Err(too_short()),
        }
    }
    *transport = Transport::Icmp(message);
    flaw
}

/// Whether the checksum of a whole ICMP message is right (RFC 792; RFC 4443, 2.3).
fn has_right_checksum(ip: &Ip, bytes: &[u8]) -> bool {
    let mut sum = Sum16BitWords::new().add_slice(bytes);
    if let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        sum = sum.add_16bytes(source.octets()).add_16bytes(destination.octets());
        sum = sum.add_4bytes(length.to_be_bytes()).add_2bytes([0, protocol::ICMP6]);
    }
    sum.ones_complement() == 0
}

/// The quoted packet, if its flow can be known, which is not possible for a later fragment.
///
/// # Errors
/// If the quote is too short to know its flow, or is not a packet of the error's IP version.
#[inline(never)]
fn quote(bytes: &[u8], v4: bool) -> Result<Option<Quote<'_>>, Unread> {
    let mut ip = Ip::BLANK;
    let (_, transport) = ip::read(bytes, &mut ip).ok_or(Unread::BadQuote)?;
    if ip.source.is_ipv4() != v4 {
        return Err(Unread::BadQuote);
    }
    if ip.is_later_fragment() {
        return Ok(None);
    }
    let ports = ports(ip.protocol, transport);
    if ports.is_none() && has_ports(ip.protocol) {
        return Err(Unread::BadQuote);
    }
    Ok(Some(Quote { ip, ports, transport }))
}
