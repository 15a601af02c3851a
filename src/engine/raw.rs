//! Packets made by hand: the raw sockets that send them, and those that receive the answers, which the kernel would drop
//! since it knows nothing about such connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;

use foldhash::fast::RandomState;
use nix::libc;
use rustix::net::connect_unspec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::socket::{Channel, Opening, ignore_path_mtu, unspecified};

/// Buffer for answers that come faster than they are read.
const BUFFER: usize = 8 << 20;

/// The sockets for packets made by hand, of one run.
pub(super) struct Raw {
    /// The source ports whose answers are received.
    ports: RangeInclusive<u16>,
    /// By configuration and family (IPv6 last).
    senders: HashMap<(usize, bool), Sender>,
    /// By family.
    ears: HashMap<bool, UdpSocket>,
    /// The slot that waits at a source port for a target.
    waiting: HashMap<(u16, SocketAddr), usize, RandomState>,
}

/// What sends the packets of a configuration.
struct Sender {
    /// Sends IP packets as they are.
    socket: Arc<Socket>,
    /// Sends nothing. The kernel routes by it as by `socket`, and so shows which source address it would choose.
    guide: Socket,
}

/// A channel for a packet made by hand.
pub(super) struct ByHand {
    pub(super) channel: Channel,
    /// The source address and port of the packet.
    pub(super) source: SocketAddr,
    /// A new receiving socket, which the event loop must watch.
    pub(super) ear: Option<RawFd>,
}

impl Raw {
    pub(super) fn new(ports: RangeInclusive<u16>) -> Self {
        let (senders, ears, waiting) = (HashMap::new(), HashMap::new(), HashMap::default());
        Self { ports, senders, ears, waiting }
    }

    /// A channel from this port. `tcp` says whether the packet is a TCP segment.
    pub(super) fn open(
        &mut self,
        opening: &Opening<'_>,
        configuration: usize,
        port: u16,
        tcp: bool,
    ) -> io::Result<ByHand> {
        let address = opening.address;
        let (domain, v6) = (Domain::for_address(address), address.is_ipv6());
        let sender = match self.senders.entry((configuration, v6)) {
            Entry::Occupied(sender) => sender.into_mut(),
            Entry::Vacant(none) => none.insert(Sender::new(opening, domain)?),
        };
        let at = SocketAddr::new(unspecified(address), port);
        let (mut ear, holder, source);
        if tcp {
            source = sender.source(address)?;
            ear = None;
            if let Entry::Vacant(none) = self.ears.entry(v6) {
                let socket = listen(domain, &self.ports)?;
                ear = Some(socket.as_raw_fd());
                none.insert(socket);
            }
            // Keeps the port from other programs.
            holder = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
            holder.set_reuse_address(true)?;
            holder.bind(&at.into())?;
        } else {
            // Receives the answers, too.
            holder = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
            ignore_path_mtu(&holder, domain)?;
            opening.prepare(&holder)?;
            holder.bind(&at.into())?;
            holder.connect(&address.into())?;
            source = local(&holder)?;
            ear = None;
        }
        let socket = sender.socket.clone();
        Ok(ByHand {
            channel: Channel::by_hand(holder, !tcp, source, socket, address),
            source: SocketAddr::new(source, port),
            ear,
        })
    }

    /// Configurations have changed: senders are made anew.
    pub(super) fn forget_senders(&mut self) {
        self.senders.clear();
    }

    /// A slot waits for answers of this target at this port.
    pub(super) fn wait(&mut self, port: u16, target: SocketAddr, slot: usize) {
        self.waiting.insert((port, target), slot);
    }

    /// It waits no longer.
    pub(super) fn forget(&mut self, port: u16, target: SocketAddr) {
        self.waiting.remove(&(port, target));
    }

    /// No slot waits any longer.
    pub(super) fn forget_all(&mut self) {
        self.waiting.clear();
    }

    /// The next received segment that a slot waits for, if any: the slot, and the segment's place in `buffer`. Of IPv4, its IP
    /// header is before it.
    pub(super) fn hear(
        &self,
        v6: bool,
        buffer: &mut [u8],
    ) -> Option<(usize, std::ops::Range<usize>)> {
        let ear = self.ears.get(&v6)?;
        loop {
            let (length, from) = match ear.recv_from(buffer) {
                Ok(received) => received,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let packet = buffer.get(..length).unwrap_or_default();
            // An IPv4 raw socket returns the IP header too, an IPv6 one does not (RFC 3542, 3).
            let start = match (v6, packet.first()) {
                (true, _) => 0,
                (false, Some(first)) => usize::from(first & 15) * 4,
                (false, None) => continue,
            };
            let Some([a, b, c, d, ..]) = packet.get(start..) else { continue };
            let theirs = SocketAddr::new(from.ip(), u16::from_be_bytes([*a, *b]));
            let ours = u16::from_be_bytes([*c, *d]);
            if let Some(slot) = self.waiting.get(&(ours, theirs)) {
                return Some((*slot, start..length));
            }
        }
    }
}

impl Sender {
    fn new(opening: &Opening<'_>, domain: Domain) -> io::Result<Self> {
        let raw = || -> io::Result<Socket> {
            let protocol = Protocol::from(libc::IPPROTO_RAW);
            let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
            ignore_path_mtu(&socket, domain)?;
            opening.prepare(&socket)?;
            Ok(socket)
        };
        let socket = raw()?;
        match domain {
            Domain::IPV6 => socket.set_header_included_v6(true)?,
            _ => socket.set_header_included_v4(true)?,
        }
        Ok(Self { socket: Arc::new(socket), guide: raw()? })
    }

    /// The address from which the kernel would send to a target.
    fn source(&self, target: SocketAddr) -> io::Result<IpAddr> {
        // A connected socket keeps its source address when it is connected elsewhere.
        connect_unspec(&self.guide)?;
        self.guide.connect(&SocketAddr::new(target.ip(), 0).into())?;
        local(&self.guide)
    }
}

/// The address of a connected socket.
fn local(socket: &Socket) -> io::Result<IpAddr> {
    let local = socket.local_addr()?.as_socket();
    Ok(local.ok_or(io::ErrorKind::AddrNotAvailable)?.ip())
}

/// A socket that receives TCP segments for these ports, whatever the kernel does with them.
///
/// As a `UdpSocket`, which reads from any socket a packet at a time and returns its source.
fn listen(domain: Domain, ports: &RangeInclusive<u16>) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::TCP))?;
    ignore_path_mtu(&socket, domain)?;
    socket.attach_filter(&filter(domain == Domain::IPV6, ports))?;
    // The kernel grants less where the system's limit is lower; the observer sees what is lost then.
    let _ = socket.set_recv_buffer_size(BUFFER);
    Ok(socket.into())
}

/// Classic BPF: the destination port is one of these.
fn filter(v6: bool, ports: &RangeInclusive<u16>) -> Vec<SockFilter> {
    let op = |code: u32, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
    let mut program = match v6 {
        true => vec![op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 2)],
        false => vec![
            // X: the length of the IP header.
            op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
            op(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
        ],
    };
    let jump = libc::BPF_JMP | libc::BPF_K;
    program.extend([
        op(jump | libc::BPF_JGE, 0, 2, u32::from(*ports.start())),
        op(jump | libc::BPF_JGT, 1, 0, u32::from(*ports.end())),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]);
    program
}
