//! The thread between two wires: it delays every packet and forwards it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etherparse::IpSlice;
use mio::{Events, Poll};

use crate::error::{Doing, Result};
use crate::lab::namespace::Namespace;
use crate::lab::wire::Wire;
use crate::lab::worker::{self, Stop, Stopped};

/// Starts a relay from one wire to another. Packets to `prompt` are not delayed: the lab uses them to find out that
/// the relay works.
pub(crate) fn start(
    namespace: &Namespace,
    from: Wire,
    to: Wire,
    delay: Duration,
    prompt: [IpAddr; 2],
    stop: &mut Stop,
) -> Result<JoinHandle<()>> {
    let (poll, stopped) = stop.worker()?;
    from.register(&poll, worker::FIRST)?;
    namespace.spawn(move || run(poll, from, to, delay, prompt, &stopped).doing(|| "relay packets"))
}

fn run(
    mut poll: Poll,
    mut from: Wire,
    mut to: Wire,
    delay: Duration,
    prompt: [IpAddr; 2],
    stopped: &Stopped,
) -> io::Result<()> {
    let mut events = Events::with_capacity(8);
    // All packets have the same delay: the first one in is the first one due.
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while !stopped.is_set() {
        let wait = held.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        worker::poll(&mut poll, &mut events, wait)?;
        let now = Instant::now();
        while let Some(packet) = from.receive()? {
            let towards = IpSlice::from_slice(&packet).map(|ip| ip.destination_addr());
            if towards.is_ok_and(|address| prompt.contains(&address)) {
                pass(&mut to, &packet);
            } else {
                held.push_back((now + delay, packet));
            }
        }
        while held.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = held.pop_front() {
                pass(&mut to, &packet);
            }
        }
    }
    Ok(())
}

/// A packet that the other side has no room for is lost, as on any path.
pub(crate) fn pass(wire: &mut Wire, packet: &[u8]) {
    if let Err(error) = wire.send(packet) {
        log::warn!("lab: a packet of {} bytes was lost: {error}", packet.len());
    }
}
