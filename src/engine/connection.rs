//! One connection under way: its channel, its machine, and what is still to be sent.
//!
//! An ICMP error ends an attempt over UDP only when its time is up. The kernel takes such an error for the socket's if it
//! quotes the right addresses and ports, and reports it before the answer that may still come: a host off the path
//! that guesses the port could end any attempt. (For TCP the kernel also compares the sequence number.)

use std::io;

use super::driver::now;
use super::guarded::Guarded;
use super::scheduler::Job;
use super::socket::{Channel, at_once, fault};
use crate::connect::{Action, Ended, Ending, Event, Fault, Stage, State};
use crate::field::Timestamp;

/// One connection.
pub(super) struct Connection {
    pub(super) channel: Channel,
    machine: Guarded,
    /// Whether the machine has been told of the handshake's end.
    connected: bool,
    /// Whether anything came for it: the end of the handshake, or a datagram.
    heard: bool,
    /// Whether any octets did.
    heard_data: bool,
    /// When the loop learned of the handshake's end.
    connected_at: Option<Timestamp>,
    /// When the last datagram was read.
    data_at: Option<Timestamp>,
    /// Of datagrams: the first error that the network reported.
    refused: Option<Fault>,
    /// Whether the peer's FIN was read: there is nothing to read any more.
    finished: bool,
    /// What the machine wants to be sent, and how much of it is.
    out: Vec<u8>,
    sent: usize,
    /// A FIN is to follow.
    half_close: bool,
    /// Why nothing can be sent any more; told once all that came before has been read.
    broken: Option<Fault>,
    pub(super) job: Job,
    /// Tells this from an earlier connection in the same slot.
    pub(super) generation: u64,
    pub(super) started: Timestamp,
    pub(super) port: u16,
}

impl Connection {
    /// A connection whose first packet is on its way; `sent` octets of `out` went with it.
    pub(super) fn new(
        (channel, sent): (Channel, usize),
        machine: Guarded,
        out: Vec<u8>,
        job: Job,
        (generation, started, port): (u64, Timestamp, u16),
    ) -> Self {
        Self {
            channel,
            machine,
            connected: false,
            heard: false,
            heard_data: false,
            connected_at: None,
            data_at: None,
            refused: None,
            finished: false,
            out,
            sent,
            half_close: false,
            broken: None,
            job,
            generation,
            started,
            port,
        }
    }

    /// Does all that the socket is ready for; says how the attempt ended if it did.
    pub(super) fn ready(&mut self, writable: bool, buffer: &mut [u8]) -> Option<Ending> {
        if writable && !self.connected {
            let failed = self.channel.take_error().unwrap_or_else(Some).map(|why| fault(&why));
            let event = match failed.filter(|fault| !self.outlasts(*fault)) {
                None => {
                    self.connected = true;
                    self.connected_at = Some(now());
                    Event::Connected
                }
                Some(fault) => Event::Failed(fault),
            };
            if let Some(ending) = self.feed(event) {
                return Some(ending);
            }
        } else if writable {
            self.flush();
        }
        self.read(buffer)
    }

    /// Takes in what came for it by another way than its own socket.
    pub(super) fn hear(&mut self, data: &[u8]) -> Option<Ending> {
        self.feed(Event::Data(data))
    }

    /// Its time is up. What the kernel has for it by now still counts: the loop may have been late.
    pub(super) fn time_out(&mut self, buffer: &mut [u8]) -> Ending {
        let (writable, readable) = match self.channel.hears {
            true => self.channel.is_ready(),
            false => (false, false),
        };
        if (writable && !self.connected || readable)
            && let Some(ending) = self.ready(writable, buffer)
        {
            return ending;
        }
        let late = || Ending::new(State::Timeout, Stage::Connect, None);
        let event = self.refused.take().map_or(Event::TimedOut, Event::Failed);
        self.feed(event).unwrap_or_else(late)
    }

    /// Whether an error of the socket leaves the attempt going, to be looked at when the time is up.
    fn outlasts(&mut self, fault: Fault) -> bool {
        let outlasts = self.channel.datagrams && !fault.local;
        if outlasts {
            self.refused.get_or_insert(fault);
        }
        outlasts
    }

    /// Adds what it knows to an attempt that has ended.
    pub(super) fn complete(&self, mut ended: Ended) -> Ended {
        let attempt = &mut ended.attempt;
        // That an answer counts which fits only in part is decided when the time is up.
        let answered = attempt.state == State::Ok || attempt.answer.is_some();
        attempt.ended = self.data_at.filter(|_| answered).unwrap_or(attempt.ended);
        let Self { heard, heard_data, connected_at: connected, .. } = *self;
        Ended { heard, heard_data, connected, ..ended }
    }

    /// Reads what there is.
    fn read(&mut self, buffer: &mut [u8]) -> Option<Ending> {
        while self.connected && self.channel.hears && !self.finished {
            let event = match self.channel.receive(buffer) {
                Ok(0) if !self.channel.datagrams => {
                    self.finished = true;
                    self.broken.map_or(Event::PeerClosed, Event::Failed)
                }
                Ok(bytes) => Event::Data(&buffer[..bytes]),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => match self.broken {
                    Some(fault) => Event::Failed(fault),
                    None => return None,
                },
                Err(why) => match fault(&why) {
                    fault if self.outlasts(fault) => continue,
                    fault => Event::Failed(fault),
                },
            };
            if let Some(ending) = self.feed(event) {
                return Some(ending);
            }
        }
        // What is not read cannot tell.
        match self.broken {
            Some(fault) if !self.channel.hears => self.feed(Event::Failed(fault)),
            _ => None,
        }
    }

    /// Feeds one event to the machine and does what it says.
    fn feed(&mut self, event: Event<'_>) -> Option<Ending> {
        let data = matches!(event, Event::Data(_));
        self.heard_data |= data;
        if data && self.channel.datagrams {
            self.data_at = Some(now());
        }
        self.heard |= data || (event == Event::Connected && !self.channel.datagrams);
        let ending = match self.machine.handle(event, &mut self.out) {
            Action::Wait => None,
            Action::HalfClose => {
                self.half_close = true;
                None
            }
            Action::Close(ending) => Some(ending),
        };
        self.flush();
        match event {
            // Whatever the machine makes of it, nothing more can come.
            Event::Failed(fault) => ending.or_else(|| Some(Ending::failed(fault, Stage::Connect))),
            _ => ending,
        }
    }

    /// Sends what can be sent.
    fn flush(&mut self) {
        if !self.connected {
            return;
        }
        /// How often to try: a call reports an error that came before it, and sends nothing then.
        const TRIES: u32 = 4;
        let mut left = TRIES;
        while self.sent < self.out.len() && self.broken.is_none() {
            left = left.saturating_sub(1);
            match self.channel.send(&self.out[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                // No packet of the path's can have caused it: none is under way.
                Err(why) if self.channel.is_by_hand() => self.broken = Some(at_once(&why)),
                Err(why) => match fault(&why) {
                    fault if left > 0 && self.outlasts(fault) => {}
                    fault => self.broken = Some(fault),
                },
            }
        }
        self.out.clear();
        self.sent = 0;
        if std::mem::take(&mut self.half_close) {
            self.channel.half_close();
        }
    }
}
