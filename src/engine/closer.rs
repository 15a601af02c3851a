//! The last acts of attempts: a thread of its own sends the resets of those whose packets are made by hand, and closes their
//! sockets, as well as those of TCP connections that both ends have closed.
//!
//! They take half of the time of an attempt by hand and a tenth of that of a connection, and no other attempt depends on
//! them. A connection that the peer has not closed is not left to this thread: closing it sends a packet. Only the barrier waits
//! for them ([`Closer::settle`]): steps stay in force, and flows are not complete, until the last reset is sent.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{Builder, JoinHandle};

use super::socket::Channel;

/// Attempts that are passed to the thread together.
const BATCH: usize = 32;
/// Batches that wait for the thread.
const WAITING: usize = 4;
/// The largest number of sockets that are still to be closed: those gathered, those that wait, and those of the thread.
pub(super) const MOST_OPEN: usize = BATCH * (WAITING + 2);

/// An attempt that has ended.
struct Ended {
    channel: Channel,
    /// The packet that is still to be sent; may be empty.
    packet: Vec<u8>,
}

impl Ended {
    fn finish(self) {
        if !self.packet.is_empty() {
            // Best effort, as every reset: the peer gives up by itself, too.
            let _ = self.channel.send_last(&self.packet);
        }
    }
}

/// What the thread does.
enum Work {
    Finish(Vec<Ended>),
    /// Report that all earlier work is done.
    Report(SyncSender<()>),
}

/// Finishes attempts that have ended.
#[derive(Default)]
pub(super) struct Closer {
    gathered: Vec<Ended>,
    /// Started with the first batch.
    thread: Option<(SyncSender<Work>, JoinHandle<()>)>,
    /// Whether there can be no thread.
    alone: bool,
}

impl Closer {
    /// Sends the last packet of an attempt, if it has one, and then closes its socket.
    pub(super) fn take(&mut self, channel: Channel, packet: Vec<u8>) {
        self.gathered.push(Ended { channel, packet });
        if self.gathered.len() >= BATCH {
            self.pass_on();
        }
    }

    /// Gives the thread what was gathered.
    pub(super) fn pass_on(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.gathered);
        if self.thread.is_none() && !self.alone {
            let (work, inbox) = mpsc::sync_channel(WAITING);
            match Builder::new().name("closer".into()).spawn(move || run(&inbox)) {
                Ok(handle) => self.thread = Some((work, handle)),
                Err(why) => {
                    log::warn!("sockets are closed without a thread of their own: {why}");
                    self.alone = true;
                }
            }
        }
        let rest = match &self.thread {
            Some((work, _)) => work.send(Work::Finish(batch)).err().map(|unsent| unsent.0),
            None => Some(Work::Finish(batch)),
        };
        if let Some(Work::Finish(batch)) = rest {
            batch.into_iter().for_each(Ended::finish);
        }
    }

    /// Waits until every attempt is finished.
    pub(super) fn settle(&mut self) {
        self.pass_on();
        let Some((work, _)) = &self.thread else { return };
        let (done, report) = mpsc::sync_channel(1);
        if work.send(Work::Report(done)).is_ok() {
            let _ = report.recv();
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.pass_on();
        if let Some((work, handle)) = self.thread.take() {
            drop(work);
            let _ = handle.join();
        }
    }
}

fn run(inbox: &Receiver<Work>) {
    for work in inbox {
        match work {
            Work::Finish(batch) => batch.into_iter().for_each(Ended::finish),
            // The receiver is gone if the run was aborted.
            Work::Report(done) => drop(done.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Protocol, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    /// A loopback address that no other test uses.
    const HERE: Ipv4Addr = Ipv4Addr::new(127, 53, 41, 9);

    fn bound(port: u16) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::from((HERE, port)).into()).unwrap();
        socket
    }

    #[test]
    fn once_settled_every_socket_is_closed() {
        let sender = Arc::new(Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap());
        let mut closer = Closer::default();
        for round in 0..3 {
            let holders: Vec<Socket> = (0..5 * BATCH + round).map(|_| bound(0)).collect();
            let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
            let ports: Vec<u16> = holders.iter().map(port).collect();
            for holder in holders {
                let to = SocketAddr::from((HERE, 9));
                let channel = Channel::by_hand(holder, false, HERE.into(), sender.clone(), to);
                closer.take(channel, Vec::new());
            }
            match round {
                2 => drop(std::mem::take(&mut closer)),
                _ => closer.settle(),
            }
            // A port that is still held cannot be bound.
            ports.into_iter().for_each(|port| drop(bound(port)));
        }
    }
}
