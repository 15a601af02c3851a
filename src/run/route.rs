//! Asks the kernel which interface a packet would leave through (rtnetlink(7)). Nothing is sent.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::{InterfaceFlags, if_indextoname, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Out through this interface.
    Through(String),
    /// Nowhere; why.
    Nowhere(String),
}

/// The routes of a host.
pub trait Routes {
    /// Where a packet to an address goes, from a socket bound to an interface or to none.
    fn way(&self, to: IpAddr, through: Option<&str>) -> Way;
    /// Where a packet to an address goes from the address of an interface. The kernel's reverse-path filter compares this
    /// with the interface of an incoming packet.
    fn way_back(&self, to: IpAddr, from: &str) -> Way;
    /// Whether the reverse-path filter of an interface is strict (rp_filter is 1).
    fn is_strict(&self, interface: &str) -> bool;
}

/// The routes of this thread's network namespace.
#[derive(Debug, Clone, Copy)]
pub struct Kernel;

impl Routes for Kernel {
    fn way(&self, to: IpAddr, through: Option<&str>) -> Way {
        let index = through.and_then(|name| if_nametoindex(name).ok());
        let way = look_up(to, None, index);
        // For a bound socket, the kernel treats an IPv4 address without a route as a neighbour.
        let is_guess = index.is_some()
            && exchange(&question(to, None, index, MATCH)).is_err_and(|why| why != Errno::EBADMSG);
        match through.filter(|name| is_guess && needs_neighbours(name)) {
            None => way,
            Some(name) => match look_up(to, None, None) {
                Way::Through(_) => Way::Nowhere(format!("there is no route through {name}")),
                nowhere => nowhere,
            },
        }
    }

    fn way_back(&self, to: IpAddr, from: &str) -> Way {
        let source = getifaddrs().into_iter().flatten().find_map(|address| {
            let v4 = address.address.filter(|_| address.interface_name == from)?;
            Some(IpAddr::from(v4.as_sockaddr_in()?.ip()))
        });
        look_up(to, source, None)
    }

    fn is_strict(&self, interface: &str) -> bool {
        let value = |of: &str| -> Option<u8> {
            let path = format!("/proc/sys/net/ipv4/conf/{of}/rp_filter");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        // The larger of both applies.
        value("all").max(value(interface)) == Some(1)
    }
}

/// Whether an interface needs neighbour discovery.
fn needs_neighbours(interface: &str) -> bool {
    let without = InterfaceFlags::IFF_NOARP | InterfaceFlags::IFF_POINTOPOINT;
    let mut addresses = getifaddrs().into_iter().flatten();
    !addresses.any(|one| one.interface_name == interface && one.flags.intersects(without))
}

/// Requests the matching route itself (RTM_F_FIB_MATCH).
const MATCH: u32 = 0x2000;

/// The headers of a message and of a route, in bytes.
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// Kinds of attributes.
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const INTERFACE: u16 = 4;

fn look_up(to: IpAddr, from: Option<IpAddr>, index: Option<u32>) -> Way {
    match exchange(&question(to, from, index, 0)) {
        Ok(index) => match if_indextoname(index) {
            Ok(name) => Way::Through(name.to_string_lossy().into_owned()),
            Err(why) => Way::Nowhere(why.desc().to_owned()),
        },
        Err(why) => Way::Nowhere(
            match why {
                Errno::EINVAL => "its route is a blackhole",
                Errno::EACCES => "its route is prohibited",
                Errno::EHOSTUNREACH => "its route is unreachable",
                Errno::ENETUNREACH | Errno::EAGAIN => "there is no route",
                other => other.desc(),
            }
            .to_owned(),
        ),
    }
}

/// RTM_GETROUTE.
fn question(to: IpAddr, from: Option<IpAddr>, index: Option<u32>, flags: u32) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut attributes = Vec::new();
    let mut lengths = [0u8; 2];
    let addresses = [(DESTINATION, Some(to)), (SOURCE, from)];
    for ((kind, address), length) in addresses.into_iter().zip(&mut lengths) {
        let Some(octets) = address.map(octets) else { continue };
        *length = u8::try_from(octets.len() * 8).unwrap_or(u8::MAX);
        attribute(&mut attributes, kind, &octets);
    }
    if let Some(index) = index {
        attribute(&mut attributes, INTERFACE, &index.to_ne_bytes());
    }
    let length = u32::try_from(HEADER + ROUTE + attributes.len()).unwrap_or(u32::MAX);
    let request = u16::try_from(libc::NLM_F_REQUEST).unwrap_or_default();
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(libc::RTM_GETROUTE.to_ne_bytes());
    message.extend(request.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([u8::try_from(family).unwrap_or_default(), lengths[0], lengths[1]]);
    message.extend([0; 5]);
    message.extend(flags.to_ne_bytes());
    message.extend(attributes);
    message
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
}

fn exchange(question: &[u8]) -> Result<u32, Errno> {
    let route = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, route)?;
    let fd = socket.as_raw_fd();
    sendto(fd, question, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; 16 << 10];
    let length = recv(fd, &mut buffer, MsgFlags::empty())?;
    answer(&buffer[..length])
}

/// The interface index in the kernel's answer.
fn answer(message: &[u8]) -> Result<u32, Errno> {
    let short =
        |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let number =
        |bytes: &[u8], at: usize| Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if short(message, 4).map(i32::from) == Some(libc::NLMSG_ERROR) {
        let errno = number(message, HEADER).unwrap_or_default();
        return Err(Errno::from_raw(errno.wrapping_neg()));
    }
    match message.get(HEADER + 7).copied() {
        Some(libc::RTN_BLACKHOLE) => return Err(Errno::EINVAL),
        Some(libc::RTN_PROHIBIT) => return Err(Errno::EACCES),
        Some(libc::RTN_UNREACHABLE) => return Err(Errno::EHOSTUNREACH),
        _ => {}
    }
    let mut attributes = message.get(HEADER + ROUTE..).unwrap_or_default();
    while let (Some(length), Some(kind)) = (short(attributes, 0), short(attributes, 2)) {
        if kind == INTERFACE {
            return number(attributes, 4).map(i32::cast_unsigned).ok_or(Errno::EBADMSG);
        }
        let next = usize::from(length.max(4)).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    Err(Errno::EBADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_is_the_loopback() {
        let lo = Way::Through("lo".into());
        assert_eq!(Kernel.way([127, 0, 0, 1].into(), None), lo);
        assert_eq!(Kernel.way([127, 0, 0, 1].into(), Some("lo")), lo);
        assert_eq!(Kernel.way_back([127, 0, 0, 1].into(), "lo"), lo);
    }

    #[test]
    fn truncated_answers_do_not_panic() {
        let mut message = question([192, 0, 2, 1].into(), None, Some(7), 0);
        message[4..6].copy_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
        assert_eq!(answer(&message), Ok(7));
        for cut in 0..message.len() {
            assert!(answer(&message[..cut]).is_err(), "{cut}");
        }
        for (kind, errno) in
            [(libc::RTN_BLACKHOLE, Errno::EINVAL), (libc::RTN_PROHIBIT, Errno::EACCES)]
        {
            message[HEADER + 7] = kind;
            assert_eq!(answer(&message), Err(errno));
        }
    }
}
