//! Late answers: packets of an earlier run's connections that still arrive at the prober's ports.
//!
//! A thread at the router's end of the prober's link sends them in two ways. It repeatedly sweeps all source ports of
//! a run for a few hosts, so that most of their attempts find a SYN-ACK on their port before their own SYN. And it
//! watches what the prober sends: after each SYN to any host it sends a SYN-ACK and data that acknowledge something
//! else, and after each DNS question an answer with another identifier.
//!
//! All of them carry marks that a measurement would report if it mistook them for answers: ECN flags, options, DSCPs,
//! the reserved flag of IPv4.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, IpSlice, TcpHeader, TcpSlice, UdpSlice};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::error::{Doing as _, Error, Result};
use crate::lab::responder::{build, write_datagram, write_segment};
use crate::lab::site::{Site, TOWARDS_PROBER};
use crate::lab::spec::Spec;
use crate::lab::worker::{self, Stopped};
use crate::lab::{INTERFACE, net, server};

/// Hosts whose ports are swept, if a lab has them: one that answers and two that do not.
const SWEPT: [&str; 3] = ["plain", "silent", "ecn-blackhole"];
/// Packets of a sweep per second.
const RATE: u32 = 30_000;
/// The interval of the sweep.
const TICK: Duration = Duration::from_millis(5);
/// The window by which the prober's firewall recognizes a packet that it must drop.
const DROPPED_WINDOW: u16 = 777;
/// Length of the Ethernet header between the router and the prober.
const ETHERNET: usize = 14;
/// The mark of every late packet: codepoint 8, congestion experienced.
const TRAFFIC_CLASS: u8 = 8 << 2 | 3;

/// The prober's link as seen from the router.
struct Late {
    capture: pcap::Capture<pcap::Active>,
    sweep: Sweep,
}

pub(crate) fn start(site: &mut Site<'_>) -> Result<()> {
    site.prober.run(|| {
        net::nft(&format!(
            "table inet lab_prober {{\nchain input {{\ntype filter hook input priority filter; policy accept;\n\
             iifname {INTERFACE} tcp window {DROPPED_WINDOW} drop\n}}\n}}\n"
        ))
    })?;
    let capture = site.router.run(|| {
        let open = || {
            let capture = pcap::Capture::from_device(TOWARDS_PROBER)?
                .immediate_mode(true)
                .promisc(false)
                .snaplen(2048)
                .buffer_size(16 << 20)
                .open()?
                .setnonblock()?;
            // Not the packets that the thread itself sends.
            capture.direction(pcap::Direction::In)?;
            Ok(capture)
        };
        open().map_err(|why: pcap::Error| Error::failed(format!("listen on {TOWARDS_PROBER}"), why))
    })?;
    let (poll, stopped) = site.stop.worker()?;
    poll.registry()
        .register(&mut SourceFd(&capture.as_raw_fd()), Token(worker::FIRST), Interest::READABLE)
        .doing(|| "watch the prober's link in the lab")?;
    let sweep = Sweep::new(site.spec, (*site.ports.start(), *site.ports.end()));
    let late = Late { capture, sweep };
    let thread =
        site.router.spawn(move || late.run(poll, &stopped).doing(|| "send late answers"))?;
    site.stop.joins(thread);
    Ok(())
}

impl Late {
    fn run(mut self, mut poll: Poll, stopped: &Stopped) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        let mut last = Instant::now();
        while !stopped.is_set() {
            worker::poll(&mut poll, &mut events, Some(TICK))?;
            while let Some(packet) = self.receive()? {
                for answer in answers(&packet) {
                    self.send(&answer);
                }
            }
            // Lost time is not made up for: a burst would only fill queues.
            let passed = last.elapsed().min(2 * TICK);
            if passed >= TICK {
                last = Instant::now();
                for _ in 0..(passed.as_micros() as u32).saturating_mul(RATE / 1000) / 1000 {
                    let Some(packet) = self.sweep.next() else { break };
                    self.send(&packet);
                }
            }
        }
        Ok(())
    }

    /// The next IP packet from the prober, if there is one.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.capture.next_packet() {
            Ok(frame) => Ok(Some(frame.data.get(ETHERNET..).unwrap_or_default().to_vec())),
            Err(pcap::Error::TimeoutExpired) => Ok(None),
            Err(why) => Err(io::Error::other(why)),
        }
    }

    /// A packet that does not fit into a queue is lost, as on any path.
    fn send(&mut self, packet: &[u8]) {
        let kind: [u8; 2] = match packet.first().map(|byte| byte >> 4) {
            Some(4) => [0x08, 0x00],
            _ => [0x86, 0xdd],
        };
        // The hardware addresses of the link: see `build::link`.
        let mut frame = vec![2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1];
        frame.extend_from_slice(&kind);
        frame.extend_from_slice(packet);
        if let Err(why) = self.capture.sendpacket(frame) {
            log::debug!("lab: a late answer was not sent: {why}");
        }
    }
}

/// SYN-ACKs of a few hosts, to one port after the other.
struct Sweep {
    hosts: Vec<(IpAddr, IpAddr)>,
    ports: (u16, u16),
    host: usize,
    port: u16,
}

impl Sweep {
    fn new(spec: &Spec, ports: (u16, u16)) -> Self {
        let prober_v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let prober_v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let known = spec.hosts.iter().filter(|host| SWEPT.contains(&host.name.as_str()));
        let hosts = known.flat_map(|host| {
            [
                (IpAddr::V4(host.address_v4(0)), prober_v4),
                (IpAddr::V6(host.address_v6(0)), prober_v6),
            ]
        });
        Self { hosts: hosts.collect(), ports, host: 0, port: ports.0 }
    }

    /// The next packet; `None` if there is no host to sweep.
    fn next(&mut self) -> Option<Vec<u8>> {
        let (from, to) = *self.hosts.get(self.host)?;
        let port = self.port;
        self.host += 1;
        if self.host == self.hosts.len() {
            self.host = 0;
            self.port = if port == self.ports.1 { self.ports.0 } else { port + 1 };
        }
        segment((from, server::PORT).into(), (to, port).into(), 0x5eed_0000, true)
    }
}

/// Late answers to the source of a packet of the prober.
fn answers(packet: &[u8]) -> Vec<Vec<u8>> {
    all(packet).unwrap_or_default()
}

fn all(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let ip = IpSlice::from_slice(packet).ok()?;
    let (us, them) = (ip.destination_addr(), ip.source_addr());
    let payload = ip.payload();
    match payload.ip_number {
        IpNumber::TCP => {
            let tcp = TcpSlice::from_slice(payload.payload).ok()?;
            if !tcp.syn() || tcp.ack() {
                return None;
            }
            let from = SocketAddr::from((us, tcp.destination_port()));
            let to = SocketAddr::from((them, tcp.source_port()));
            // An earlier connection from this port began elsewhere in the sequence space.
            let old = tcp.sequence_number().wrapping_sub(0x1000_0000);
            let segments = [true, false].map(|syn| segment(from, to, old, syn));
            Some(segments.into_iter().flatten().collect())
        }
        IpNumber::UDP => {
            let udp = UdpSlice::from_slice(payload.payload).ok()?;
            let mut answer = server::dns_answer(udp.payload(), us)?;
            // The identifier of another question.
            answer.iter_mut().take(2).for_each(|octet| *octet ^= 0x5a);
            let ports = (udp.destination_port(), udp.source_port());
            let datagram = build(us, them, IpNumber::UDP, |packet| {
                write_datagram(packet, us, them, ports, &answer)
            })?;
            Some(vec![marked(datagram)])
        }
        _ => None,
    }
}

/// A SYN-ACK, or data, of a connection that ended long ago.
fn segment(from: SocketAddr, to: SocketAddr, acknowledged: u32, syn: bool) -> Option<Vec<u8>> {
    let window = if to.port().is_multiple_of(2) { DROPPED_WINDOW } else { 65_535 };
    let mut tcp = TcpHeader::new(from.port(), to.port(), 0x0bad_cafe, window);
    tcp.ack = true;
    tcp.acknowledgment_number = acknowledged;
    tcp.ece = true;
    let data: &[u8] = if syn {
        tcp.syn = true;
        tcp.cwr = true;
        // MSS 536, SACK-permitted, timestamps, window scale, a cookie of Fast Open.
        tcp.set_options_raw(&[
            2, 4, 2, 24, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 3, 7, 34, 10, 1, 2, 3, 4, 5, 6, 7,
            8, 1, 1, 0,
        ])
        .ok()?;
        b""
    } else {
        tcp.psh = true;
        b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n"
    };
    let packet = build(from.ip(), to.ip(), IpNumber::TCP, |packet| {
        write_segment(packet, from.ip(), to.ip(), tcp, data)
    })?;
    Some(marked(packet))
}

/// Sets the traffic class, and with IPv4 the reserved flag.
fn marked(mut packet: Vec<u8>) -> Vec<u8> {
    match packet.as_mut_slice() {
        [first, second, ..] if *first >> 4 == 6 => {
            *first = 6 << 4 | TRAFFIC_CLASS >> 4;
            *second = TRAFFIC_CLASS << 4;
        }
        header if header.len() >= 20 => {
            header[1] = TRAFFIC_CLASS;
            header[6] |= 0x80;
            header[10..12].fill(0);
            let sum: u32 = header[..20]
                .chunks_exact(2)
                .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
                .sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        }
        _ => {}
    }
    packet
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn a_syn_gets_answers_that_acknowledge_something_else() {
        let mut syn = Vec::new();
        let v4 = PacketBuilder::ipv4([192, 0, 2, 1], [198, 18, 0, 16], 64);
        v4.tcp(40_001, 80, 7, 9).syn().write(&mut syn, b"").unwrap();
        let answers = answers(&syn);
        assert_eq!(answers.len(), 2);
        for (answer, is_syn) in answers.iter().zip([true, false]) {
            // RFC 1071: with its checksum, a header adds up to all ones.
            let words =
                answer[..20].chunks_exact(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
            let sum: u32 = words.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
            let ip = IpSlice::from_slice(answer).unwrap();
            let tcp = TcpSlice::from_slice(ip.payload().payload).unwrap();
            assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40_001));
            assert_eq!((tcp.syn(), tcp.ack(), tcp.ece()), (is_syn, true, true));
            assert_ne!(tcp.acknowledgment_number(), 8);
            assert_eq!(answer[6] & 0x80, 0x80, "the reserved flag");
        }
    }

    #[test]
    fn what_is_not_a_syn_or_a_question_gets_none() {
        let mut ack = Vec::new();
        let v6 = PacketBuilder::ipv6([1; 16], [2; 16], 64);
        v6.tcp(40_000, 80, 7, 9).ack(3).write(&mut ack, b"").unwrap();
        assert!(answers(&ack).is_empty());
        assert!((0..ack.len()).all(|length| answers(&ack[..length]).is_empty()));
    }

    #[test]
    fn a_sweep_has_each_host_and_port_once() {
        let spec = Spec::internet().unwrap();
        let mut sweep = Sweep::new(&spec, (65_533, 65_535));
        let mut seen = std::collections::BTreeSet::new();
        let packets = 2 * SWEPT.len() * 3;
        for _ in 0..packets {
            let packet = sweep.next().unwrap();
            let ip = IpSlice::from_slice(&packet).unwrap();
            let tcp = TcpSlice::from_slice(ip.payload().payload).unwrap();
            assert!(seen.insert((ip.source_addr(), tcp.destination_port())));
        }
        assert_eq!(seen.len(), packets);
        assert_eq!(sweep.port, 65_533, "it starts over");
    }
}
