//! One connection in flight: its channel, its machine, and what is still to be sent.

use std::io;
use std::time::Duration;

use super::clocks::{monotonic, now};
use super::guarded::Guarded;
use super::ready::Ready;
use super::scheduler::Job;
use super::socket::{Channel, at_once, fault};
use crate::connect::{Action, Ended, Ending, Event, Fault, Stage, State};
use crate::field::Timestamp;

/// How often a datagram is passed to the kernel while the socket reports errors instead.
const SENDS: u32 = 16;

/// One connection.
pub(super) struct Connection {
    pub(super) channel: Channel,
    machine: Guarded,
    /// Whether the machine knows that the handshake has ended.
    connected: bool,
    /// Whether anything was received: the end of the handshake, or a datagram.
    heard: bool,
    /// Whether any data was received.
    heard_data: bool,
    /// When the loop learned of the handshake's end.
    connected_at: Option<Timestamp>,
    /// When the last datagram was read.
    data_at: Option<Timestamp>,
    /// Whether the peer's FIN was read: nothing more can be read.
    finished: bool,
    /// What the machine wants to send, and how much of it is sent.
    out: Vec<u8>,
    sent: usize,
    /// A FIN follows.
    half_close: bool,
    /// The FIN was sent.
    shut: bool,
    /// Why nothing more can be sent; reported once all data that came before has been read.
    broken: Option<Fault>,
    /// The first error that came back for a datagram. The socket is usable after it, and any host may have caused it, so it
    /// counts only if no answer comes.
    refused: Option<Fault>,
    pub(super) job: Job,
    pub(super) started: Timestamp,
    /// The same by the monotonic clock, which is never set.
    begun: Duration,
    pub(super) port: u16,
}

impl Connection {
    /// A connection whose first packet is on its way; `sent` octets of `out` went with it.
    pub(super) fn new(
        (channel, sent): (Channel, usize),
        machine: Guarded,
        out: Vec<u8>,
        job: Job,
        (started, port): (Timestamp, u16),
    ) -> Self {
        Self {
            channel,
            machine,
            connected: false,
            heard: false,
            heard_data: false,
            connected_at: None,
            data_at: None,
            finished: false,
            out,
            sent,
            half_close: false,
            shut: false,
            broken: None,
            refused: None,
            job,
            started,
            begun: monotonic(),
            port,
        }
    }

    /// Does everything that the socket is ready for; returns how the attempt ended, if it did.
    pub(super) fn ready(&mut self, ready: Ready, buffer: &mut [u8]) -> Option<Ending> {
        let plain = ready.plain && self.channel.is_tcp;
        if ready.writable && !self.connected {
            let error = if plain { Ok(None) } else { self.channel.take_error() };
            let event = match error {
                Ok(None) => {
                    self.connected = true;
                    self.connected_at = Some(now());
                    Event::Connected
                }
                Ok(Some(why)) | Err(why) if self.outlives(&why) => {
                    self.connected = true;
                    Event::Connected
                }
                Ok(Some(why)) | Err(why) => Event::Failed(fault(&why)),
            };
            if let Some(ending) = self.feed(event) {
                return Some(ending);
            }
        } else if ready.writable {
            self.flush();
        }
        // Data that comes from now on is another event.
        if plain && !ready.readable && self.broken.is_none() {
            return None;
        }
        self.read(plain, buffer)
    }

    /// Takes data that came by another way than its own socket.
    pub(super) fn hear(&mut self, data: &[u8]) -> Option<Ending> {
        self.feed(Event::Data(data))
    }

    /// Its time is up. What the kernel has received by now still counts: the loop may have been late.
    pub(super) fn time_out(&mut self, buffer: &mut [u8]) -> Ending {
        if self.channel.hears {
            let ready = self.channel.is_ready();
            if (ready.writable && !self.connected || ready.readable)
                && let Some(ending) = self.ready(ready, buffer)
            {
                return ending;
            }
        }
        let late = || Ending::new(State::Timeout, Stage::Connect, None);
        let ending = self.feed(Event::TimedOut).unwrap_or_else(late);
        match self.refused {
            Some(fault) if ending.state == State::Timeout => {
                Ending { state: State::Failed, error: Some(fault.word.into()), ..ending }
            }
            _ => ending,
        }
    }

    /// Whether the attempt goes on after this error: one that came back for a datagram does not end it.
    fn outlives(&mut self, why: &io::Error) -> bool {
        let fault = fault(why);
        let outlives = self.channel.datagrams && self.channel.hears && !fault.local;
        if outlives {
            self.refused.get_or_insert(fault);
        }
        outlives
    }

    /// Completes an attempt that has ended with what this knows.
    pub(super) fn complete(&self, mut ended: Ended) -> Ended {
        let attempt = &mut ended.attempt;
        // An answer that matches only in part counts when the time is up, but it came before.
        let answered = attempt.state == State::Ok || attempt.answer.is_some();
        attempt.ended = self.data_at.filter(|_| answered).unwrap_or(attempt.ended);
        let Self { heard, heard_data, connected_at: connected, .. } = *self;
        Ended { local: self.channel.local, heard, heard_data, connected, ..ended }
    }

    /// Whether both ends have closed it over TCP, so that closing the socket sends nothing.
    pub(super) fn is_over(&self) -> bool {
        self.finished && self.shut && self.channel.is_tcp
    }

    /// What is left of an attempt that has ended: its channel, and a packet that was not sent yet; may be empty.
    pub(super) fn into_last(mut self) -> (Channel, Vec<u8>) {
        (self.channel, self.out.split_off(self.sent))
    }

    /// Reads what is available. If the socket is `plain`, a short read has emptied it.
    fn read(&mut self, plain: bool, buffer: &mut [u8]) -> Option<Ending> {
        let mut is_empty = false;
        while self.connected && self.channel.hears && !self.finished {
            // Why nothing more can be sent is reported once the socket has nothing to read.
            if is_empty && self.broken.is_none() {
                return None;
            }
            let event = match self.channel.receive(buffer) {
                Ok(0) if !self.channel.datagrams => {
                    self.finished = true;
                    self.broken.map_or(Event::PeerClosed, Event::Failed)
                }
                Ok(bytes) => {
                    is_empty = plain && bytes < buffer.len();
                    Event::Data(&buffer[..bytes])
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => match self.broken {
                    Some(fault) => Event::Failed(fault),
                    None => return None,
                },
                Err(why) if self.outlives(&why) => continue,
                Err(why) => Event::Failed(fault(&why)),
            };
            if let Some(ending) = self.feed(event) {
                return Some(ending);
            }
        }
        // A channel that is not read reports no error.
        match self.broken {
            Some(fault) if !self.channel.hears => self.feed(Event::Failed(fault)),
            _ => None,
        }
    }

    /// Feeds one event to the machine and does what it returns.
    fn feed(&mut self, event: Event<'_>) -> Option<Ending> {
        let data = matches!(event, Event::Data(_));
        self.heard_data |= data;
        if data && self.channel.datagrams {
            self.data_at = Some(now());
        }
        self.heard |= data || (event == Event::Connected && !self.channel.datagrams);
        let elapsed = monotonic().saturating_sub(self.begun);
        let ending = match self.machine.handle(elapsed, event, &mut self.out) {
            Action::Wait => None,
            Action::HalfClose => {
                self.half_close = true;
                None
            }
            Action::Close(ending) => Some(ending),
        };
        // What such an attempt still has to send goes out after it has ended.
        if ending.is_none() || self.channel.hears {
            self.flush();
        }
        match event {
            // Whatever the machine does with it, nothing more can come.
            Event::Failed(fault) => ending.or_else(|| Some(Ending::failed(fault, Stage::Connect))),
            _ => ending,
        }
    }

    /// Sends what can be sent.
    fn flush(&mut self) {
        if !self.connected {
            return;
        }
        // The kernel may report an error of an earlier datagram, or a forged one, instead of sending this one.
        let mut attempts = SENDS;
        while self.sent < self.out.len() && self.broken.is_none() {
            match self.channel.send(&self.out[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if attempts > 0 && !self.channel.is_by_hand() && self.outlives(&why) => {
                    attempts -= 1;
                }
                // No packet of the path can have caused it: none is in flight.
                Err(why) if self.channel.is_by_hand() => self.broken = Some(at_once(&why)),
                Err(why) => self.broken = Some(fault(&why)),
            }
        }
        self.out.clear();
        self.sent = 0;
        if std::mem::take(&mut self.half_close) {
            self.channel.half_close();
            self.shut = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{self, Options, Peer, Transport};
    use crate::engine::socket::Opening;
    use socket2::Socket;
    use std::net::{SocketAddr, TcpListener, UdpSocket};

    /// A loopback address that no other test uses.
    const SERVER: [u8; 4] = [127, 53, 41, 7];

    #[test]
    fn an_error_for_a_datagram_does_not_end_the_attempt() {
        for answers in [true, false] {
            let server = UdpSocket::bind(SocketAddr::from((SERVER, 0))).unwrap();
            let address = server.local_addr().unwrap();
            let transport = Transport::Udp;
            let (device, mark, options, early) = (None, None, &[][..], None);
            let opening = Opening { transport, address, device, mark, options, early };
            let opened = opening.open(0).unwrap();
            let from = opened.0.local_addr();
            let (ip, port) = (address.ip(), address.port());
            let peer = Peer { address: ip, port, name: None, random: 7 };
            let kind = connect::kind("dns_udp").unwrap();
            let machine = Guarded::new(|| connect::start(kind, &Options::default(), peer));
            let job = Job { target: 0, configuration: 0 };
            let when = (Timestamp(0), 0);
            let mut connection = Connection::new(opened, machine, Vec::new(), job, when);
            let mut buffer = [0; 512];
            assert_eq!(connection.ready(Ready::UNKNOWN, &mut buffer), None);
            let mut message = [0; 512];
            let length = server.recv(&mut message).unwrap();
            // For a while the port is closed.
            drop(server);
            connection.channel.send(b"another").unwrap();
            assert_eq!(connection.ready(Ready::UNKNOWN, &mut buffer), None, "the attempt goes on");
            let server = UdpSocket::bind(address).unwrap();
            message[2] |= 0x80;
            if answers {
                server.send_to(&message[..length], from).unwrap();
            }
            let ending = connection.time_out(&mut buffer);
            let (state, error) = match answers {
                true => (State::Ok, None),
                false => (State::Failed, Some("Connection refused")),
            };
            assert_eq!((ending.state, ending.error.as_deref()), (state, error));
        }
    }

    /// A connection over TCP that is made, with the peer's end of it and what reports its events.
    fn over_tcp() -> (Connection, Socket, mio::Poll, mio::Events) {
        let listener = TcpListener::bind(SocketAddr::from((SERVER, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (device, mark, options, early) = (None, None, &[][..], None);
        let opening = Opening { transport: Transport::Tcp, address, device, mark, options, early };
        let opened = opening.open(0).unwrap();
        let peer = Peer { address: address.ip(), port: address.port(), name: None, random: 7 };
        let kind = connect::kind("tcp").unwrap();
        let machine = Guarded::new(|| connect::start(kind, &Options::default(), peer));
        let job = Job { target: 0, configuration: 0 };
        let connection = Connection::new(opened, machine, Vec::new(), job, (Timestamp(0), 0));
        let poll = mio::Poll::new().unwrap();
        let fd = connection.channel.fd();
        let mut source = mio::unix::SourceFd(&fd);
        poll.registry().register(&mut source, mio::Token(0), Ready::INTEREST).unwrap();
        let server = listener.accept().unwrap().0;
        (connection, server.into(), poll, mio::Events::with_capacity(8))
    }

    /// The next event.
    fn event(poll: &mut mio::Poll, events: &mut mio::Events) -> Ready {
        poll.poll(events, None).unwrap();
        Ready::of(events.iter().next().unwrap())
    }

    #[test]
    fn a_short_read_empties_a_socket_unless_urgent_data_is_in_between() {
        for urgent in [false, true] {
            let (mut connection, server, mut poll, mut events) = over_tcp();
            let mut buffer = [0; 512];
            let ready = event(&mut poll, &mut events);
            assert_eq!(ready, Ready { writable: true, readable: false, plain: true });
            assert_eq!(connection.ready(ready, &mut buffer), None);
            assert!(connection.connected && connection.heard && connection.shut);
            server.send(b"ab").unwrap();
            if urgent {
                server.send_out_of_band(b"c").unwrap();
            }
            server.send(b"de").unwrap();
            let ready = event(&mut poll, &mut events);
            assert_eq!((ready.readable, ready.plain), (true, !urgent));
            assert_eq!(connection.ready(ready, &mut buffer), None);
            let rest = connection.channel.receive(&mut buffer).unwrap_err();
            assert_eq!(rest.kind(), io::ErrorKind::WouldBlock, "everything was read");
            drop(server);
            let ready = event(&mut poll, &mut events);
            assert!(!ready.plain && !connection.is_over());
            let ending = connection.ready(ready, &mut buffer).unwrap();
            assert_eq!((ending.state, ending.stage), (State::Ok, Stage::Done), "its FIN was read");
            assert!(connection.is_over());
        }
    }

    #[test]
    fn a_fin_that_comes_with_data_is_read_at_once() {
        let (mut connection, server, mut poll, mut events) = over_tcp();
        let mut buffer = [0; 512];
        let ready = event(&mut poll, &mut events);
        assert_eq!(connection.ready(ready, &mut buffer), None);
        server.send(b"ab").unwrap();
        drop(server);
        let ready = event(&mut poll, &mut events);
        let ending = connection.ready(ready, &mut buffer).unwrap();
        assert_eq!((ending.state, ending.stage), (State::Ok, Stage::Done));
    }
}
