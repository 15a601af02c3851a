//! What the kernel remembers about hosts from one connection to the next, and an experiment may depend on.
//!
//! For each address it keeps round-trip times, windows and the TCP Fast Open cookie (tcp_metrics); [`forget`] deletes
//! those of some addresses and keeps those of others. Such an entry belongs to the network namespace.
//!
//! Besides, the kernel disables TCP Fast Open for a while, for every host, after connections with it looked like a black
//! hole. A `sysctl` step that writes `net.ipv4.tcp_fastopen_blackhole_timeout_sec` ends that at once, whatever the value,
//! and with 0 prevents it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NlasIterator, parse_u16};
use nix::errno::Errno;
use nix::libc;

use super::netlink::{Netlink, Refusal};
use crate::error::{Error, Result};

/// The family of generic netlink, and its version.
const FAMILY: &[u8] = b"tcp_metrics\0";
const VERSION: u8 = 1;
/// Deletes the entry of an address (`TCP_METRICS_CMD_DEL`).
const DELETE: u8 = 2;
/// The attributes with an address (`TCP_METRICS_ATTR_ADDR_IPV4`, `TCP_METRICS_ATTR_ADDR_IPV6`).
const V4: u16 = 1;
const V6: u16 = 2;
/// The version of the family that finds the others.
const CONTROL: u8 = 2;

/// A request to a family of generic netlink: a header of four octets, then attributes.
struct Request {
    command: u8,
    version: u8,
    attributes: Vec<DefaultNla>,
}

/// The size of the header.
const HEADER: usize = 4;

impl Emitable for Request {
    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(HEADER);
        header.copy_from_slice(&[self.command, self.version, 0, 0]);
        self.attributes.as_slice().emit(attributes);
    }
}

/// Makes the kernel forget what it remembers about these addresses: round-trip times, windows, TCP Fast Open cookies.
/// Needs CAP_NET_ADMIN of the host: in a user namespace, such as the lab's, the kernel refuses it to everyone; but a new
/// network namespace remembers nothing.
///
/// # Errors
/// If the kernel refuses. It is not an error if nothing is remembered about an address.
pub fn forget(addresses: &[IpAddr]) -> Result<()> {
    let unique: BTreeSet<&IpAddr> = addresses.iter().collect();
    if unique.is_empty() {
        return Ok(());
    }
    delete(&unique).map_err(|why| {
        let hint = match why.is(Errno::EPERM) {
            true => ", and not in a user namespace",
            false => "",
        };
        Error::failed("make the kernel forget what it knows about targets", format!("{why}{hint}"))
    })
}

fn delete(addresses: &BTreeSet<&IpAddr>) -> Result<(), Refusal> {
    let mut netlink = Netlink::generic()?;
    let family = family(&mut netlink)?;
    for address in addresses {
        let attribute = match address {
            IpAddr::V4(v4) => DefaultNla::new(V4, v4.octets().to_vec()),
            IpAddr::V6(v6) => DefaultNla::new(V6, v6.octets().to_vec()),
        };
        let request = Request { command: DELETE, version: VERSION, attributes: vec![attribute] };
        match netlink.request(family, 0, &request) {
            // Nothing is remembered.
            Err(why) if why.is(Errno::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The number of the family, which the kernel assigns.
fn family(netlink: &mut Netlink) -> Result<u16, Refusal> {
    let name = u16::try_from(libc::CTRL_ATTR_FAMILY_NAME).unwrap_or_default();
    let request = Request {
        command: u8::try_from(libc::CTRL_CMD_GETFAMILY).unwrap_or_default(),
        version: CONTROL,
        attributes: vec![DefaultNla::new(name, FAMILY.to_vec())],
    };
    let control = u16::try_from(libc::GENL_ID_CTRL).unwrap_or_default();
    let answer = netlink.get(control, &request)?;
    number(&answer).ok_or_else(|| Errno::EBADMSG.into())
}

/// The number of a family in the answer about it.
fn number(answer: &[u8]) -> Option<u16> {
    let mut attributes = NlasIterator::new(answer.get(HEADER..)?).flatten();
    let id = attributes.find(|nla| i32::from(nla.kind()) == libc::CTRL_ATTR_FAMILY_ID)?;
    parse_u16(id.value()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_family_is_read() {
        let attributes = vec![
            DefaultNla::new(2, FAMILY.to_vec()),
            DefaultNla::new(1, 29_u16.to_ne_bytes().to_vec()),
        ];
        let answer = Request { command: 1, version: 2, attributes };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut bytes);
        assert_eq!(number(&bytes), Some(29));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(number(&bytes[..cut]), None, "{cut}");
        }
    }
}
