//! Transport headers.

use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::{Icmp, Ip, Quote, Tcp, Transport, Udp, flag, ip, protocol};

/// The ports, if the protocol has them and they are there.
#[inline(always)]
pub(super) fn ports(protocol: u8, bytes: &[u8]) -> Option<(u16, u16)> {
    let has =
        matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE);
    match bytes.get(..4)? {
        [a, b, c, d] if has => Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
        _ => None,
    }
}

/// Reads the transport header; `None` if it should be there and cannot be read.
#[inline(always)]
pub(super) fn read<'a>(
    ip: &Ip,
    headers: usize,
    bytes: &'a [u8],
    transport: &mut Transport<'a>,
) -> Option<()> {
    match ip.protocol {
        protocol::TCP => {
            let header = TcpHeaderSlice::from_slice(bytes).ok()?;
            let own = header.slice();
            let before = u32::try_from(headers + own.len()).unwrap_or(u32::MAX);
            *transport = Transport::Tcp(Tcp {
                flags: u16::from_be_bytes([own[12], own[13]]) & flag::ALL,
                sequence: header.sequence_number(),
                acknowledgment: header.acknowledgment_number(),
                // By the IP header, for the capture may have cut the data.
                payload: ip.length.saturating_sub(before),
                options: &bytes[20..own.len()],
                data: &bytes[own.len()..],
            });
        }
        protocol::UDP => {
            let header = UdpHeaderSlice::from_slice(bytes).ok()?;
            *transport = Transport::Udp(Udp { checksum: header.checksum(), data: &bytes[8..] });
        }
        protocol::ICMP | protocol::ICMP6 => {
            let [kind, code] = *bytes.get(..2)? else { return None };
            let is_error = match ip.protocol {
                protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
                _ => matches!(kind, 1..=4),
            };
            let rest = bytes
                .get(4..8)
                .map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
            let quote = if is_error { bytes.get(8..).and_then(quote) } else { None };
            *transport = Transport::Icmp(Icmp { kind, code, rest, quote });
        }
        _ => {}
    }
    Some(())
}

/// The quoted packet, if the quote is long enough to know its flow.
#[inline(never)]
fn quote(bytes: &[u8]) -> Option<Quote<'_>> {
    let mut ip = Ip::BLANK;
    let (_, transport) = ip::read(bytes, &mut ip)?;
    if ip.is_later_fragment() {
        return None;
    }
    let ports = ports(ip.protocol, transport);
    let has =
        matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE);
    (ports.is_some() || !has).then_some(Quote { ip, ports, transport })
}
