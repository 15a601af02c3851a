//! The host off the path: it sends from the router's namespace, with whatever source address, until it is told to stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use pathspider::lab::Lab;
use rand::seq::SliceRandom as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::attacks::{Attack, Transport};

/// The prober's addresses in the lab.
const PROBER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Packets a second: enough to try all ports within a second, and few enough to leave the machine to the runs.
const RATE: u64 = 20_000;
/// How many are sent between two looks at the clock.
const BURST: usize = 64;

/// Whom the attacker means, and what it knows.
pub struct Aim {
    targets: Vec<SocketAddr>,
    ports: RangeInclusive<u16>,
    transport: Transport,
}

impl Aim {
    /// All targets of a lab, on one port.
    pub fn at(lab: &Lab, (transport, port): (Transport, u16), ports: RangeInclusive<u16>) -> Self {
        let targets = lab.targets().iter().map(|target| SocketAddr::new(target.addr, port));
        let targets = targets.collect();
        Self { targets, ports, transport }
    }
}

/// One packet that the attacker may send: to the prober, as to a flow between it and the target.
#[derive(Clone, Copy)]
pub struct Flow {
    pub prober: IpAddr,
    pub target: SocketAddr,
    pub port: u16,
    pub transport: Transport,
    /// A guess.
    pub random: u64,
}

/// Runs something while the attacker sends; also how many packets it sent.
pub fn attacked<T>(aim: &Aim, attacks: &[&Attack], run: impl FnOnce() -> T) -> (T, u64) {
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| send(&packets(aim, attacks), &stop, &sent));
        // From the start: what comes before the first packet of a flow is an attack, too.
        while sent.load(Relaxed) == 0 {
            thread::yield_now();
        }
        let ended = catch_unwind(AssertUnwindSafe(run));
        stop.store(true, Relaxed);
        (ended.unwrap_or_else(|panic| resume_unwind(panic)), sent.load(Relaxed))
    })
}

/// Every packet in the order in which they are sent, over and over: each sweep over targets and ports has
/// another attack for each of them, and another order. (In the order of the ports, it would look like a filter on ports.)
fn packets(aim: &Aim, attacks: &[&Attack]) -> Vec<(bool, Vec<u8>)> {
    let mut packets = Vec::new();
    for sweep in 0..attacks.len() {
        let begin = packets.len();
        for port in aim.ports.clone() {
            for (number, target) in aim.targets.iter().enumerate() {
                let attack = attacks[(sweep + usize::from(port) + number) % attacks.len()];
                let (transport, target) = (aim.transport, *target);
                let prober = match target.is_ipv4() {
                    true => PROBER.0.into(),
                    false => PROBER.1.into(),
                };
                let flow = Flow { prober, target, port, transport, random: rand::random() };
                packets.push((target.is_ipv6(), (attack.packet)(&flow)));
            }
        }
        packets[begin..].shuffle(&mut rand::rng());
    }
    packets
}

fn send(packets: &[(bool, Vec<u8>)], stop: &AtomicBool, sent: &AtomicU64) {
    crate::router::enter_router();
    let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(255))).unwrap();
    let (v4, v6) = (raw(Domain::IPV4), raw(Domain::IPV6));
    v4.set_header_included_v4(true).unwrap();
    v6.set_header_included_v6(true).unwrap();
    let to = |address: IpAddr| SocketAddr::new(address, 0).into();
    let (to_v4, to_v6) = (to(PROBER.0.into()), to(PROBER.1.into()));
    let begun = Instant::now();
    for burst in (0..).map(|burst: usize| burst * BURST) {
        for number in burst..burst + BURST {
            let (is_v6, packet) = &packets[number % packets.len()];
            let (socket, to) = if *is_v6 { (&v6, &to_v6) } else { (&v4, &to_v4) };
            sent.fetch_add(u64::from(socket.send_to(packet, to).is_ok()), Relaxed);
        }
        if stop.load(Relaxed) {
            return;
        }
        let due = Duration::from_secs(1) * (burst + BURST) as u32 / RATE as u32;
        while begun.elapsed() < due && !stop.load(Relaxed) {
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
}
