//! Sockets: opened for an attempt, then read and written in the same way for every transport.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::ready::Ready;
use crate::connect::{Fault, Transport};
use crate::error::{Doing as _, Error, Result, Setting};
use crate::packet::owner::Owners;
use crate::step::{Family, Sockopt};

/// The properties of a new socket.
pub(super) struct Opening<'a> {
    /// The transport of the attempt: TCP, MPTCP or UDP.
    pub(super) transport: Transport,
    /// The target.
    pub(super) address: SocketAddr,
    /// Send through this interface, whatever the routing table prefers.
    pub(super) device: Option<&'a str>,
    /// The firewall mark of its packets.
    pub(super) mark: Option<u32>,
    /// Options that a measurement sets, in order.
    pub(super) options: &'a [Sockopt],
    /// Ask for TCP Fast Open, and send this with the SYN if a cookie is known (RFC 7413).
    pub(super) early: Option<&'a [u8]>,
}

impl Opening<'_> {
    /// Like [`open`](Self::open), with a port that is claimed for the target before the first packet leaves.
    pub(super) fn claim(
        &self,
        owners: &Owners,
        protocol: u8,
        port: u16,
    ) -> io::Result<(Channel, usize)> {
        owners.claim(protocol, port, self.address);
        let opened = self.open(port)?;
        if let Some(local) = opened.0.local {
            owners.bind(port, local);
        }
        Ok(opened)
    }

    /// A socket that is bound to a source port and whose SYN, if it has one, is sent; and how much of the early data went with
    /// it.
    pub(super) fn open(&self, port: u16) -> io::Result<(Channel, usize)> {
        let domain = Domain::for_address(self.address);
        let socket = blank(self.transport, domain)?;
        if self.transport == Transport::Udp {
            ignore_path_mtu(&socket, domain)?;
        }
        self.prepare(&socket)?;
        socket.bind(&SocketAddr::new(unspecified(self.address), port).into())?;
        let address = self.address.into();
        let sent = match self.early {
            // Without a cookie the SYN requests one, and the data is not sent yet.
            Some(data) => socket.send_to_with_flags(data, &address, libc::MSG_FASTOPEN),
            None => socket.connect(&address).map(|()| 0),
        };
        let sent = match sent {
            Err(why) if errno(&why) == Errno::EINPROGRESS => 0,
            Err(why) => return Err(why),
            // A connection that is made at once is writable, which the loop learns as for any other.
            Ok(sent) => sent,
        };
        let transport = self.transport;
        let (datagrams, is_tcp) = (transport == Transport::Udp, transport == Transport::Tcp);
        let local = local(&socket);
        Ok((Channel { socket, datagrams, is_tcp, hears: true, local, raw: None }, sent))
    }

    /// Sets what must be set before anything is sent.
    pub(super) fn prepare(&self, socket: &Socket) -> io::Result<()> {
        // Ports are shared: the peer makes the difference.
        socket.set_reuse_address(true)?;
        if let Some(device) = self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        let family = if self.address.is_ipv4() { Family::V4 } else { Family::V6 };
        self.options.iter().try_for_each(|option| option.set(socket.as_fd(), family))
    }
}

/// A socket with no options set.
pub(super) fn blank(transport: Transport, domain: Domain) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp | Transport::Raw => (Type::STREAM, Protocol::TCP),
        Transport::Mptcp => (Type::STREAM, Protocol::MPTCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    Socket::new(domain, kind.nonblocking(), Some(protocol))
}

/// Makes the kernel ignore the path MTU in ICMP errors for this socket. It checks only their ports or, for a raw socket, not
/// even those, and keeps the path MTU for all connections to the address that an error quotes: any host could change it.
/// (TCP compares the sequence number.) Datagrams then have no "don't fragment" bit; they are short.
pub(super) fn ignore_path_mtu(socket: &Socket, domain: Domain) -> io::Result<()> {
    /// `IP_PMTUDISC_INTERFACE` and `IPV6_PMTUDISC_INTERFACE` of Linux.
    const INTERFACE: i32 = 4;
    let (level, name, family) = match domain {
        Domain::IPV6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, Family::V6),
        _ => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, Family::V4),
    };
    Sockopt::Raw { level, name, value: INTERFACE }.set(socket.as_fd(), family)
}

/// The address that a connected socket sends from.
fn local(socket: &Socket) -> Option<IpAddr> {
    let address = socket.local_addr().ok()?.as_socket()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// The address that lets the kernel choose the source.
pub(super) fn unspecified(target: SocketAddr) -> IpAddr {
    match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An open channel to a target.
pub(super) struct Channel {
    socket: Socket,
    /// Whether it carries datagrams rather than a stream of bytes.
    pub(super) datagrams: bool,
    /// Whether it is a TCP socket and no other: what an event says of it is exact.
    pub(super) is_tcp: bool,
    /// Whether answers are read from the socket.
    pub(super) hears: bool,
    /// The address of this host that the kernel chose.
    pub(super) local: Option<IpAddr>,
    /// The socket that sends packets made by hand, and their target.
    raw: Option<(Arc<Socket>, SocketAddr)>,
}

impl Channel {
    /// A channel for packets made by hand: they leave by `raw`, while `socket` holds the port. A UDP socket also receives the
    /// answers; a TCP socket without a connection would not.
    pub(super) fn by_hand(
        socket: Socket,
        hears: bool,
        local: IpAddr,
        raw: Arc<Socket>,
        to: SocketAddr,
    ) -> Self {
        let (local, raw) = (Some(local), Some((raw, to)));
        Self { socket, datagrams: true, is_tcp: false, hears, local, raw }
    }

    /// Whether its packets are made by hand.
    pub(super) fn is_by_hand(&self) -> bool {
        self.raw.is_some()
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Its own end.
    #[cfg(test)]
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }

    /// The error that the socket reported, if it did. One that only holds a port has none.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        if self.hears { self.socket.take_error() } else { Ok(None) }
    }

    /// Sends what can be sent now.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.raw {
            // The kernel would take the port in the address for a protocol.
            Some((raw, to)) => raw.send_to(bytes, &SocketAddr::new(to.ip(), 0).into()),
            None => self.socket.send(bytes),
        }
    }

    /// Sends the last packet of an attempt, for which the event loop does not wait: waits a little where the buffer is full.
    pub(super) fn send_last(&self, bytes: &[u8]) -> io::Result<()> {
        /// Milliseconds to wait for the buffer, at most this often.
        const WAIT: u8 = 100;
        const TRIES: u32 = 3;
        let mut tries = TRIES;
        loop {
            match (self.send(bytes), &self.raw) {
                (Ok(_), _) => return Ok(()),
                (Err(why), _) if why.kind() == io::ErrorKind::Interrupted => {}
                (Err(why), Some((raw, _)))
                    if why.kind() == io::ErrorKind::WouldBlock && tries > 0 =>
                {
                    tries -= 1;
                    let mut fds = [PollFd::new(raw.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, PollTimeout::from(WAIT));
                }
                (Err(why), _) => return Err(why),
            }
        }
    }

    /// Reads what is available.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut &self.socket, buffer)
    }

    /// The state of the socket at this moment.
    pub(super) fn is_ready(&self) -> Ready {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
        let events = match poll(&mut fds, PollTimeout::ZERO) {
            Ok(1..) => fds[0].revents().unwrap_or(PollFlags::empty()),
            _ => PollFlags::empty(),
        };
        let failed = events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
        let is = |flag| events.contains(flag) || failed;
        let (writable, readable) = (is(PollFlags::POLLOUT), is(PollFlags::POLLIN));
        Ready { writable, readable, plain: false }
    }

    /// Sends a FIN.
    pub(super) fn half_close(&self) {
        // Fails only if the peer has sent a reset, which reading reports.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

pub(super) fn errno(why: &io::Error) -> Errno {
    Errno::from_raw(why.raw_os_error().unwrap_or(0))
}

/// An error that came back from the network, or later than the call that sent the first packet.
pub(super) fn fault(why: &io::Error) -> Fault {
    let errno = errno(why);
    use Errno::*;
    let local = matches!(
        errno,
        EADDRINUSE
            | EADDRNOTAVAIL
            | EMFILE
            | ENFILE
            | ENOBUFS
            | ENOMEM
            | ENETDOWN
            | ENODEV
            | EBADF
            | EINVAL
            | EPERM
    );
    Fault { word: errno.desc(), local }
}

/// An error of the very call that should have sent the first packet: no packet of the path can have caused it, except a
/// reset that came back at once.
pub(super) fn at_once(why: &io::Error) -> Fault {
    let errno = errno(why);
    let answered = matches!(errno, Errno::ECONNREFUSED | Errno::ECONNRESET);
    Fault { word: errno.desc(), local: !answered }
}

/// Why nothing could be sent, and from which port.
pub(super) type Unsent = (io::Error, Option<u16>);

/// Tries port after port until one can be used; `next` gets the number of those that could not.
pub(super) fn from_some_port<T>(
    mut next: impl FnMut(u32) -> Option<u16>,
    mut open: impl FnMut(u16) -> io::Result<T>,
) -> std::result::Result<(T, u16), Unsent> {
    let mut tried = 0..;
    loop {
        let port = tried.next().and_then(&mut next);
        let Some(port) = port else { return Err((Errno::EADDRNOTAVAIL.into(), None)) };
        match open(port) {
            // Another program listens there, or the kernel still remembers a connection to this very target: use the
            // next port.
            Err(why) if matches!(errno(&why), Errno::EADDRINUSE | Errno::EADDRNOTAVAIL) => {}
            Err(why) => return Err((why, Some(port))),
            Ok(opened) => return Ok((opened, port)),
        }
    }
}

/// Raises the limit of open files so that this many sockets can be open at once, besides those that are being closed.
pub(super) fn allow_descriptors(concurrency: usize, closing: usize) -> Result<()> {
    // The capture, the files of the run, the event loop and those of libraries.
    const OTHERS: u64 = 64;
    let sockets = u64::try_from(concurrency.saturating_add(closing)).unwrap_or(u64::MAX);
    let needed = sockets.saturating_add(OTHERS);
    let limits = getrlimit(Resource::RLIMIT_NOFILE).doing(|| "read the limit of open files")?;
    let (soft, hard) = limits;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Error::NeedsSetting {
            operation: format!(
                "{concurrency} connections at the same time need {needed} open files, the limit is {hard}"
            ),
            setting: Setting::Concurrency,
        });
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).doing(|| "raise the limit of open files")
}
