//! A stub resolver for many queries at once: one thread, one mio loop, one socket per query.
//!
//! Each transmission has a socket of its own, connected to the server: the kernel picks a random source port and accepts
//! only messages from the server (RFC 5452). A query that times out is retried with the next server. A truncated answer
//! is retried over TCP.
//!
//! So is an answer that does not repeat the question letter by letter ([`Reply::Partial`]): over TCP an off-path host
//! cannot answer. If the server does not answer over TCP, such an answer counts unless a wrong one came too.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use super::pace::Pace;
use super::question::{Family, Question, Reason, Reply};
use crate::error::{Doing as _, Result};

/// Settings of a resolver.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Servers, used in turn; at least one.
    pub servers: Vec<SocketAddr>,
    /// Maximum number of queries in flight.
    pub concurrency: usize,
    /// Timeout of a query.
    pub timeout: Duration,
    /// Number of retries.
    pub retries: u32,
    /// Maximum number of messages in any one second.
    pub rate: Option<u32>,
}

/// The result of a query.
#[derive(Debug)]
pub struct Answer {
    /// The caller's number of the query.
    pub ticket: u64,
    /// The address family.
    pub family: Family,
    /// The addresses, or why there are none.
    pub found: Result<Vec<IpAddr>, Reason>,
}

/// A resolver.
pub struct Resolver {
    settings: Settings,
    poll: Poll,
    events: Events,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Queries to send as soon as there is a slot and the rate allows.
    waiting: VecDeque<Pending>,
    /// Deadlines in order: all timeouts are equal.
    deadlines: VecDeque<(Instant, Token)>,
    pace: Pace,
    next_server: usize,
    answers: Vec<Answer>,
    buffer: Box<[u8; 65_536]>,
    /// Messages sent, retries included.
    pub sent: u64,
    /// Messages that were not the answer to the query of their socket.
    pub strangers: u64,
}

/// A slot for a socket. Number and generation form the token, so that events of an old socket are recognized.
#[derive(Default)]
struct Slot {
    generation: usize,
    flight: Option<(Pending, Wire)>,
}

/// Bits of a token that are the slot's number; above them is its generation.
const INDEX_BITS: u32 = 20;
/// Upper bound of queries in flight, given by tokens and ports.
pub const MOST: usize = 20_000;

fn index(token: Token) -> usize {
    token.0 & ((1 << INDEX_BITS) - 1)
}

/// A query without an answer.
struct Pending {
    ticket: u64,
    family: Family,
    question: Question,
    server: usize,
    /// Retries left.
    left: u32,
    over_tcp: bool,
    /// The content of an answer that matches the query only in part.
    partial: Option<Reply>,
    /// Messages to its sockets that were not the answer.
    strangers: u64,
}

enum Wire {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, out: Vec<u8>, written: usize, read: Vec<u8> },
}

impl Resolver {
    /// An idle resolver.
    ///
    /// # Errors
    /// When the kernel gives no event queue.
    pub fn new(settings: Settings) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            poll: Poll::new().doing(|| "open an event queue")?,
            events: Events::with_capacity(1024),
            slots: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            deadlines: VecDeque::new(),
            pace: Pace::new(settings.rate, now),
            next_server: 0,
            answers: Vec::new(),
            buffer: Box::new([0; 65_536]),
            sent: 0,
            strangers: 0,
            settings,
        })
    }

    /// Number of queries that can be accepted now.
    pub fn room(&self) -> usize {
        self.settings.concurrency.saturating_sub(self.under_way())
    }

    /// Number of queries without an answer.
    pub fn under_way(&self) -> usize {
        self.slots.len() - self.free.len() + self.waiting.len()
    }

    /// Accepts a query; [`Resolver::turn`] returns the answer.
    pub fn ask(&mut self, ticket: u64, family: Family, question: Question) {
        let server = self.next_server;
        self.next_server = (server + 1) % self.settings.servers.len();
        let left = self.settings.retries;
        let (over_tcp, partial, strangers) = (false, None, 0);
        self.waiting.push_back(Pending {
            ticket,
            family,
            question,
            server,
            left,
            over_tcp,
            partial,
            strangers,
        });
    }

    /// Sends queries within the limits, waits for events, and returns answers.
    ///
    /// # Errors
    /// When this host cannot open or watch a socket.
    pub fn turn(&mut self) -> Result<Vec<Answer>> {
        let mut now = Instant::now();
        while !self.waiting.is_empty()
            && self.slots.len() - self.free.len() < self.settings.concurrency
        {
            if self.pace.wait(now).is_some() {
                break;
            }
            let Some(pending) = self.waiting.pop_front() else { break };
            self.send(pending, now)?;
        }
        let expires = self.deadlines.front().map(|(at, _)| at.saturating_duration_since(now));
        let paced = if self.waiting.is_empty() { None } else { self.pace.peek(now) };
        let wait = match self.answers.is_empty() {
            false => Some(Duration::ZERO),
            true => [expires, paced].into_iter().flatten().min(),
        };
        if wait.is_some() || self.under_way() > 0 {
            match self.poll.poll(&mut self.events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => outcome.doing(|| "wait for answers")?,
            }
        }
        let happened: Vec<Token> = self.events.iter().map(mio::event::Event::token).collect();
        self.events.clear();
        now = Instant::now();
        // Answers before deadlines: an answer that has arrived was in time, however late it is read.
        for token in happened {
            self.hear(token);
        }
        while let Some((_, token)) = self.deadlines.pop_front_if(|(at, _)| *at <= now) {
            if let Some((pending, _)) = self.release(token) {
                self.again(pending, Reason::Timeout);
            }
        }
        Ok(std::mem::take(&mut self.answers))
    }

    fn send(&mut self, mut pending: Pending, now: Instant) -> Result<()> {
        let server = self.settings.servers[pending.server];
        let Some(message) = pending.question.message() else {
            self.answer(pending, Err(Reason::BadName));
            return Ok(());
        };
        self.sent += 1;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
        };
        let token = self.token(index);
        let opened = if pending.over_tcp {
            self.open_tcp(server, token, &message)
        } else {
            self.open_udp(server, token, &message)
        };
        match opened {
            Ok(wire) => {
                self.slots[index].flight = Some((pending, wire));
                self.deadlines.push_back((now + self.settings.timeout, token));
                Ok(())
            }
            Err(error) => {
                self.free.push(index);
                match error.kind() {
                    // A local error: without descriptors, ports or buffers no query can be sent.
                    ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory => {
                        Err(error).doing(|| "open a socket to ask the resolver")
                    }
                    _ if is_exhausted(&error) => {
                        Err(error).doing(|| "open a socket to ask the resolver")
                    }
                    _ => {
                        log::debug!("query {server}: {error}");
                        self.again(pending, Reason::Unreachable);
                        Ok(())
                    }
                }
            }
        }
    }

    fn open_udp(&self, server: SocketAddr, token: Token, message: &[u8]) -> io::Result<Wire> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(server)?;
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        socket.send(message)?;
        Ok(Wire::Udp(socket))
    }

    fn open_tcp(&self, server: SocketAddr, token: Token, message: &[u8]) -> io::Result<Wire> {
        let mut stream = TcpStream::connect(server)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest)?;
        let length = u16::try_from(message.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let mut out = length.to_be_bytes().to_vec();
        out.extend_from_slice(message);
        Ok(Wire::Tcp { stream, out, written: 0, read: Vec::new() })
    }

    fn token(&self, index: usize) -> Token {
        Token(index | self.slots[index].generation << INDEX_BITS)
    }

    /// Handles an event of a socket.
    fn hear(&mut self, token: Token) {
        if self.token(index(token)) != token {
            return;
        }
        let slot = &mut self.slots[index(token)];
        let Some((pending, wire)) = &mut slot.flight else { return };
        let heard = match wire {
            Wire::Udp(socket) => {
                let (question, before) = (&pending.question, pending.strangers);
                let read = read_udp(socket, question, &mut self.buffer[..], &mut pending.strangers);
                self.strangers += pending.strangers - before;
                read
            }
            Wire::Tcp { stream, out, written, read } => {
                converse(stream, out, written, read, &mut self.buffer[..])
                    .map(|whole| whole.map(|message| pending.question.reply(&message)))
            }
        };
        let tcp = matches!(wire, Wire::Tcp { .. });
        let answered = heard.is_ok();
        let reply = match heard {
            Ok(None) => return,
            Ok(Some(reply)) => reply,
            Err(error) => {
                log::debug!("read from the resolver: {error}");
                let reason = match error.kind() {
                    ErrorKind::UnexpectedEof => Reason::BadAnswer,
                    _ => Reason::Unreachable,
                };
                Reply::Nothing(reason)
            }
        };
        let Some((mut pending, _)) = self.release(token) else { return };
        let reply = match reply {
            Reply::Partial(reply) if tcp => *reply,
            reply => reply,
        };
        match reply {
            Reply::Partial(reply) => {
                pending.partial.get_or_insert(*reply);
                pending.over_tcp = true;
                self.waiting.push_front(pending);
            }
            Reply::Addresses(found) => self.answer(pending, Ok(found)),
            Reply::Nothing(reason) if reason.is_answer() => self.answer(pending, Err(reason)),
            Reply::Nothing(reason) => {
                // An error of the socket does not invalidate an earlier answer of the server.
                pending.partial = pending.partial.filter(|_| !answered);
                self.again(pending, reason);
            }
            // Over TCP an answer is complete and from the server.
            Reply::Truncated | Reply::Stranger if tcp => self.again(pending, Reason::BadAnswer),
            Reply::Stranger => self.again(pending, Reason::BadAnswer),
            Reply::Truncated => {
                pending.over_tcp = true;
                self.waiting.push_front(pending);
            }
        }
    }

    /// Closes a socket and returns its query. `None` if it was closed before.
    fn release(&mut self, token: Token) -> Option<(Pending, Wire)> {
        let index = index(token);
        if self.token(index) != token {
            return None;
        }
        let slot = &mut self.slots[index];
        let flight = slot.flight.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(flight)
    }

    /// Retries a query with the next server, if retries are left.
    fn again(&mut self, mut pending: Pending, reason: Reason) {
        if pending.over_tcp
            && pending.strangers == 0
            && let Some(found) = pending.partial.as_ref().and_then(found)
        {
            return self.answer(pending, found);
        }
        if pending.left == 0 {
            let reason = match pending.partial {
                Some(Reply::Nothing(said)) if pending.strangers == 0 => said,
                _ => reason,
            };
            return self.answer(pending, Err(reason));
        }
        pending.left -= 1;
        pending.server = (pending.server + 1) % self.settings.servers.len();
        pending.over_tcp = false;
        self.waiting.push_back(pending);
    }

    fn answer(&mut self, pending: Pending, found: Result<Vec<IpAddr>, Reason>) {
        self.answers.push(Answer { ticket: pending.ticket, family: pending.family, found });
    }
}

/// The result of a reply; `None` if a retry may give another one.
fn found(reply: &Reply) -> Option<Result<Vec<IpAddr>, Reason>> {
    match reply {
        Reply::Addresses(found) => Some(Ok(found.clone())),
        Reply::Nothing(reason) if reason.is_answer() => Some(Err(*reason)),
        _ => None,
    }
}

/// Whether this host has run out of descriptors, which is not the server's fault.
fn is_exhausted(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let exhausted = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::EACCES];
    error.raw_os_error().is_some_and(|number| exhausted.contains(&Errno::from_raw(number)))
}

/// Reads datagrams until the answer is found.
fn read_udp(
    socket: &UdpSocket,
    question: &Question,
    buffer: &mut [u8],
    strangers: &mut u64,
) -> io::Result<Option<Reply>> {
    loop {
        match socket.recv(buffer) {
            Ok(length) => match question.reply(&buffer[..length]) {
                Reply::Stranger => *strangers += 1,
                reply => return Ok(Some(reply)),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes and reads as far as possible; returns the message once complete (RFC 1035, 4.2.2).
fn converse(
    stream: &mut TcpStream,
    out: &[u8],
    written: &mut usize,
    read: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    while *written < out.len() {
        match stream.write(&out[*written..]) {
            Ok(length) => *written += length,
            Err(error) if is_not_yet(&error) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        if let Some((length, message)) = read.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            if message.len() >= length {
                return Ok(Some(message[..length].to_vec()));
            }
        }
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => read.extend_from_slice(&buffer[..length]),
            Err(error) if is_not_yet(&error) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
