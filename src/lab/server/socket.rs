//! The sockets of a lab's servers: each is for every address of its namespace, of both families.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use mio::net::{TcpListener, UdpSocket};
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::step::setsockopt;

/// The maximum queue length, for connections and for those with data in the SYN.
const QUEUE: u16 = 65_535;

/// Octets of datagrams that may wait for a server.
const ROOM: libc::c_int = 8 << 20;

/// A listener that also accepts data in the SYN. With `mptcp` it accepts Multipath TCP, if the kernel can.
pub(super) fn listen(port: u16, mptcp: bool) -> io::Result<TcpListener> {
    let socket = open(mptcp)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // How many connections with data in the SYN may wait (RFC 7413).
    let queue = libc::c_int::from(QUEUE).to_ne_bytes();
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_FASTOPEN);
    if let Err(error) = setsockopt::set(socket.as_fd(), level, name, &queue) {
        log::debug!("lab: take data in the SYN: {error}");
    }
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(QUEUE.into())?;
    Ok(TcpListener::from_std(socket.into()))
}

fn open(mptcp: bool) -> io::Result<Socket> {
    if mptcp {
        match Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::MPTCP)) {
            Err(error) => log::warn!("lab: this kernel has no Multipath TCP: {error}"),
            socket => return socket,
        }
    }
    Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))
}

/// A socket for datagrams that reports the destination address of each. With `zero6` it also accepts those without a
/// checksum over IPv6.
pub(super) fn datagrams(port: u16, zero6: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.set_nonblocking(true)?;
    // Whole prefixes are local here, and none of their addresses is on a device.
    socket.set_freebind_v6(true)?;
    nix::sys::socket::setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    // A wave's questions come faster than a thread that waits for a processor takes them.
    let room = ROOM.to_ne_bytes();
    let set = |option| setsockopt::set(socket.as_fd(), libc::SOL_SOCKET, option, &room);
    // The first needs privileges outside the lab; the second sets at most net.core.rmem_max.
    if let Err(error) = set(libc::SO_RCVBUFFORCE).or_else(|_| set(libc::SO_RCVBUF)) {
        log::debug!("lab: a large buffer for datagrams: {error}");
    }
    if zero6 {
        // linux/udp.h: UDP_NO_CHECK6_RX.
        const NO_CHECK6_RX: libc::c_int = 102;
        let on = libc::c_int::from(true).to_ne_bytes();
        setsockopt::set(socket.as_fd(), libc::IPPROTO_UDP, NO_CHECK6_RX, &on)?;
    }
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// A datagram's length and its ends.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) from: SocketAddrV6,
    /// An IPv4 address is mapped to IPv6.
    pub(super) to: SocketAddrV6,
}

/// The next datagram, if there is one; datagrams that cannot be answered are skipped.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<Received> {
    loop {
        let mut space = nix::cmsg_space!(libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message =
            match recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Ok(message) => message,
                Err(nix::Error::EINTR) => continue,
                // The error of an earlier answer, for example because its port was closed.
                Err(nix::Error::ECONNREFUSED | nix::Error::EHOSTUNREACH) => continue,
                Err(_) => return None,
            };
        let info = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_addr.s6_addr),
                _ => None,
            })
        });
        if let (Some(from), Some(to)) = (message.address, info) {
            let to = SocketAddrV6::new(to.into(), 0, 0, 0);
            return Some(Received { length: message.bytes, from: from.into(), to });
        }
    }
}

/// Answers a datagram, from the address that it was sent to. An answer that cannot be sent is lost.
pub(super) fn send(socket: &UdpSocket, answer: &[u8], asked: &Received) {
    let ipi6_addr = libc::in6_addr { s6_addr: asked.to.ip().octets() };
    let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
    let sent = sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(answer)],
        &[ControlMessage::Ipv6PacketInfo(&info)],
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrIn6::from(asked.from)),
    );
    if let Err(error) = sent {
        log::debug!("lab: answer {} from {}: {error}", asked.from, asked.to.ip());
    }
}
