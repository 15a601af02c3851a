//! Watches the interface that packets leave by: whether it goes down or loses an address (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::error::{Doing as _, Error, Result};

/// Messages about links, and about addresses of either family.
const GROUPS: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
/// The header of every message: length, type, flags, sequence, port.
const HEADER: usize = 16;

/// An interface that is watched.
pub(super) struct Link {
    name: String,
    index: u32,
    socket: OwnedFd,
    /// Whether it had addresses of IPv4 and IPv6.
    had: [bool; 2],
}

impl Link {
    /// Begins to watch.
    pub(super) fn watch(name: &str) -> Result<Self> {
        let doing = || format!("watch the state of {name}");
        let index = if_nametoindex(name).doing(doing)?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route).doing(doing)?;
        let groups = u32::try_from(GROUPS).unwrap_or_default();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).doing(doing)?;
        let (_, had) = state(name)?;
        Ok(Self { name: name.to_owned(), index, socket, had })
    }

    /// What happened to it since the last call, if it is in order again.
    ///
    /// # Errors
    /// If it is down now, or has lost its addresses: nothing can be sent or received.
    pub(super) fn poll(&mut self) -> Result<Option<String>> {
        let Self { name, had, .. } = self;
        let name = name.clone();
        let had = *had;
        let Some(what) = self.events()? else { return Ok(None) };
        let (up, has) = state(&name)?;
        let family = ["IPv4", "IPv6"].into_iter().zip(had).zip(has);
        let lost =
            family.filter(|((_, had), has)| *had && !has).map(|((family, _), _)| family).next();
        let why = match (up, lost) {
            (false, _) => "it went down".to_owned(),
            (true, Some(family)) => format!("it lost its {family} address"),
            (true, None) => return Ok(Some(format!("{name} {what}"))),
        };
        Err(Error::failed(
            format!("send through {name}"),
            format!("{why} during the run; attempts in flight have no record"),
        ))
    }

    /// Reads the kernel's messages; returns the last event that matters.
    fn events(&self) -> Result<Option<&'static str>> {
        let mut buffer = vec![0; 64 << 10];
        let mut what = None;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(what),
                Ok(length) => what = event(&buffer[..length], self.index).or(what),
                Err(Errno::EINTR) => {}
                // The kernel dropped messages: there were many changes.
                Err(Errno::ENOBUFS) => what = Some("changed too often to say how"),
                Err(why) => return Err(why).doing(|| format!("watch the state of {}", self.name)),
            }
        }
    }
}

/// What messages say about an interface, if it matters.
fn event(mut messages: &[u8], index: u32) -> Option<&'static str> {
    let mut what = None;
    let number =
        |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    while let Some(length) = number(messages, 0) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (Some(message), true) = (messages.get(..length), length >= HEADER) else { break };
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let body = &message[HEADER..];
        // Both have the index in their second four octets (ifinfomsg, ifaddrmsg).
        if number(body, 4) == Some(index) {
            let flags = number(body, 8).unwrap_or_default().cast_signed();
            let runs = flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0;
            match kind {
                libc::RTM_NEWLINK if !runs => what = Some("was down for a while"),
                libc::RTM_DELLINK => what = Some("was removed"),
                // A deprecated address has no new connections, and disappears by itself (RFC 8981).
                libc::RTM_DELADDR if u32::from(body[2]) & libc::IFA_F_DEPRECATED == 0 => {
                    what = Some("lost an address");
                }
                _ => {}
            }
        }
        // Messages begin at multiples of four.
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    what
}

/// Whether an interface is up, and whether it has addresses of IPv4 and IPv6 other than link-local ones.
fn state(name: &str) -> Result<(bool, [bool; 2])> {
    let (mut up, mut has) = (false, [false; 2]);
    for address in getifaddrs().map_err(io::Error::from).doing(|| "list the interfaces")? {
        if address.interface_name != name {
            continue;
        }
        up = address.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        let Some(storage) = address.address else { continue };
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
        match v4.or(v6) {
            Some(IpAddr::V4(_)) => has[0] = true,
            Some(IpAddr::V6(v6)) if !v6.is_unicast_link_local() => has[1] = true,
            _ => {}
        }
    }
    Ok((up, has))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: [u8; 16]) -> Vec<u8> {
        let mut bytes = vec![32, 0, 0, 0];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn only_messages_about_the_interface_count() {
        let link = |index: u8, flags: i32| {
            let mut body = [0; 16];
            body[4] = index;
            body[8..12].copy_from_slice(&flags.to_ne_bytes());
            body
        };
        let up = libc::IFF_UP | libc::IFF_RUNNING;
        let new = libc::RTM_NEWLINK;
        assert_eq!(event(&message(new, link(7, up)), 7), None);
        assert_eq!(event(&message(new, link(8, 0)), 7), None, "another interface");
        let both = [message(new, link(7, libc::IFF_UP)), message(new, link(7, up))].concat();
        assert_eq!(event(&both, 7), Some("was down for a while"));
        let mut address = link(7, 0);
        assert_eq!(event(&message(libc::RTM_DELADDR, address), 7), Some("lost an address"));
        address[2] = 0x20;
        assert_eq!(event(&message(libc::RTM_DELADDR, address), 7), None);
        for cut in 0..both.len() {
            event(&both[..cut], 7);
        }
    }
}
