//! The offloads of an interface, which decide what a capture sees: segments that were put together (GRO, LRO) or not
//! cut yet (TSO, GSO), and checksums that are not computed yet.
#![expect(unsafe_code, reason = "SIOCETHTOOL is an ioctl that no crate in use wraps")]

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde_json::{Map, Value};

nix::ioctl_readwrite_bad!(
    /// Asks the driver of an interface.
    ask_driver,
    libc::SIOCETHTOOL,
    libc::ifreq
);

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Asked {
    command: u32,
    data: u32,
}

/// The offloads by name: the command that reads each, and the bit of the answer.
const OFFLOADS: [(&str, u32, u32); 7] = [
    ("rx_checksum", 0x14, 1),
    ("tx_checksum", 0x16, 1),
    ("tso", 0x1e, 1),
    ("ufo", 0x21, 1),
    ("gso", 0x23, 1),
    ("gro", 0x2b, 1),
    // ETHTOOL_GFLAGS, ETH_FLAG_LRO.
    ("lro", 0x25, 1 << 15),
];

/// The offloads of an interface in this thread's network namespace, as JSON. What its driver does not know is absent.
pub fn of(interface: &str) -> Value {
    let flags = SockFlag::SOCK_CLOEXEC;
    let Ok(socket) = socket(AddressFamily::Inet, SockType::Datagram, flags, None) else {
        return Value::Null;
    };
    let known = OFFLOADS.iter().filter_map(|(name, command, bit)| {
        Some(((*name).to_owned(), (ask(&socket, interface, *command)? & bit != 0).into()))
    });
    Value::Object(known.collect::<Map<_, _>>())
}

fn ask(socket: &OwnedFd, interface: &str, command: u32) -> Option<u32> {
    let mut asked = Asked { command, data: 0 };
    let mut ifr_name = [0; libc::IFNAMSIZ];
    // The last octet is reserved for the terminating zero.
    for (to, from) in ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut asked).cast() };
    let mut request = libc::ifreq { ifr_name, ifr_ifru };
    // SAFETY: the descriptor is open; `request` is a complete `ifreq` that points to an `ethtool_value`, which is what
    // these commands read and write. Both outlive the call.
    unsafe { ask_driver(socket.as_raw_fd(), &raw mut request) }.ok()?;
    Some(asked.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_offloads_and_an_unknown_interface_has_none() {
        let loopback = of("lo");
        assert!(loopback["gso"].is_boolean() && loopback["gro"].is_boolean(), "{loopback}");
        assert_eq!(of("no-such0"), Value::Object(Map::new()));
    }
}
