//! Servers played by Linux itself: listening sockets for every address of a namespace, and one thread that accepts,
//! reads, answers and waits for the client to finish.
//!
//! A [`Session`], which owns no socket, speaks on a connection: `web` on port 80, `tls` with `web` in it on port 443,
//! `dns` on port 53, there also over UDP.

mod dns;
mod http2;
mod socket;
mod tls;
mod web;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Token};

use crate::barrier::panic_point;
use crate::error::{Doing, Result};
use crate::lab::namespace::Namespace;
use crate::lab::spec::{Encryption, Play, ServerSpec};
use crate::lab::worker::{self, Stop};

pub(crate) use tls::Identity;

/// The server's line to a client that sends nothing: data that can carry ECN marks. Also the content of pages.
pub(crate) const GREETING: &[u8] = b"pathspider lab: hello\r\n";

/// The longest page that a path can ask for.
const LONGEST_PAGE: usize = 8 << 20;

/// The content of the page with a path: of N octets if that is `/octets-N`, or else the greeting.
fn content(path: &str) -> Vec<u8> {
    match path.strip_prefix("/octets-").and_then(|octets| octets.parse::<usize>().ok()) {
        Some(octets) => vec![b'x'; octets.min(LONGEST_PAGE)],
        None => GREETING.to_vec(),
    }
}

/// The port of every host.
pub(crate) const PORT: u16 = 80;
/// The port for TLS.
const TLS_PORT: u16 = 443;
/// The port for DNS.
pub(crate) const DNS_PORT: u16 = 53;

/// The TCP ports; a listener's token is its index, and UDP's token follows.
const PORTS: [u16; 3] = [PORT, TLS_PORT, DNS_PORT];
const UDP: usize = worker::FIRST + PORTS.len();
const CLIENTS: usize = UDP + 1;

/// A client that has not closed after this time is dropped, so that clients which vanish do not use up the
/// descriptors.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look for such clients, and how long to wait if descriptors run out.
const SWEEP: Duration = Duration::from_secs(5);
const BREATHER: Duration = Duration::from_millis(10);

/// What a server says on one connection.
trait Session: Send {
    /// Consumes octets, appends the answer to `out`, and returns what follows.
    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Then;

    /// The client will send no more: appends what is still to be sent. Then the connection is closed.
    fn closed(&mut self, _out: &mut Vec<u8>) {}
}

/// What follows, after everything pending was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// More will come.
    Wait,
    /// Nothing more will be sent: a FIN.
    Finish,
}

/// The correct answer of one packet to a question over UDP that was sent to an address; `None` if it is not a question.
pub(crate) fn dns_answer(question: &[u8], asked: IpAddr) -> Option<Vec<u8>> {
    dns::short_answer(question, asked)
}

/// The correct answers to complete questions over TCP in one segment, each of one packet.
pub(crate) fn dns_stream(questions: &[u8], asked: IpAddr) -> Vec<u8> {
    let mut answers = Vec::new();
    dns::Stream::short(asked).data(questions, &mut answers);
    answers
}

/// Starts the servers of a namespace; they listen when this returns.
pub(crate) fn start(
    namespace: &Namespace,
    spec: &ServerSpec,
    identity: &Identity,
    stop: &mut Stop,
) -> Result<JoinHandle<()>> {
    let name = namespace.name().to_owned();
    let mptcp = spec.mptcp;
    let mut listeners = Vec::new();
    for port in PORTS {
        listeners.push(namespace.run(|| {
            socket::listen(port, mptcp).doing(|| format!("listen on port {port} of {name}"))
        })?);
    }
    let mut datagrams = namespace.run(|| {
        socket::datagrams(DNS_PORT, spec.udp_zero6)
            .doing(|| format!("open UDP port {DNS_PORT} of {name}"))
    })?;
    let (poll, stopped) = stop.worker()?;
    for (place, listener) in listeners.iter_mut().enumerate() {
        poll.registry()
            .register(listener, Token(worker::FIRST + place), Interest::READABLE)
            .doing(|| "watch a listening socket of a lab server")?;
    }
    poll.registry()
        .register(&mut datagrams, Token(UDP), Interest::READABLE)
        .doing(|| "watch the UDP socket of a lab server")?;
    let server = Server {
        poll,
        listeners,
        datagrams,
        spec: spec.clone(),
        tls: identity.config(spec.h2)?,
        clients: Vec::new(),
        open: 0,
        starved: false,
    };
    namespace.spawn(move || server.run(&stopped).doing(|| "serve"))
}

struct Client {
    stream: TcpStream,
    session: Box<dyn Session>,
    /// Octets to be sent, and how many of them are.
    pending: Vec<u8>,
    sent: usize,
    /// The session has finished.
    finished: bool,
    /// The FIN was sent.
    shut: bool,
    /// The client's FIN was read.
    ended: bool,
    since: Instant,
}

struct Server {
    poll: mio::Poll,
    listeners: Vec<TcpListener>,
    datagrams: UdpSocket,
    spec: ServerSpec,
    tls: Arc<rustls::ServerConfig>,
    /// Indexed by descriptor, which the kernel keeps small and reuses.
    clients: Vec<Option<Client>>,
    open: usize,
    /// The descriptors ran out while connections were waiting to be accepted.
    starved: bool,
}

impl Server {
    fn run(mut self, stopped: &worker::Stopped) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut now = Instant::now();
        let mut swept = now;
        while !stopped.is_set() {
            let wait = match (self.starved, self.open) {
                (true, _) => Some(BREATHER),
                (false, 0) => None,
                (false, _) => Some(SWEEP),
            };
            worker::poll(&mut self.poll, &mut events, wait)?;
            now = Instant::now();
            let mut accept = [std::mem::take(&mut self.starved); PORTS.len()];
            for event in &events {
                match event.token().0 {
                    worker::WAKE => {}
                    UDP => self.answer(),
                    place if place < UDP => accept[place - worker::FIRST] = true,
                    other => {
                        panic_point("lab");
                        self.serve(other - CLIENTS);
                    }
                }
            }
            for (place, _) in accept.iter().enumerate().filter(|(_, accept)| **accept) {
                self.accept(place, now)?;
            }
            if now.duration_since(swept) > SWEEP {
                swept = now;
                self.sweep(now);
            }
        }
        Ok(())
    }

    fn accept(&mut self, place: usize, now: Instant) -> io::Result<()> {
        loop {
            let mut stream = match self.listeners[place].accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.raw_os_error() {
                    _ if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS) => {
                        self.starved = true;
                        return Ok(());
                    }
                    Some(nix::libc::ECONNABORTED | nix::libc::EINTR) => continue,
                    _ => return Err(error),
                },
            };
            if self.spec.plays == Play::Close {
                continue;
            }
            // A client that is gone already is not worth a log line.
            let Some(session) = self.session(place, &stream) else { continue };
            let index = stream.as_raw_fd() as usize;
            self.poll.registry().register(
                &mut stream,
                Token(CLIENTS + index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            if self.clients.len() <= index {
                self.clients.resize_with(index + 1, || None);
            }
            let (pending, since) = (Vec::new(), now);
            let (finished, shut, ended) = (false, false, false);
            self.clients[index] =
                Some(Client { stream, session, pending, sent: 0, finished, shut, ended, since });
            self.open += 1;
        }
    }

    fn session(&self, place: usize, stream: &TcpStream) -> Option<Box<dyn Session>> {
        Some(match PORTS[place] {
            TLS_PORT if self.spec.tls == Encryption::Refused => Box::new(tls::Refusal),
            TLS_PORT => Box::new(tls::Tls::new(Arc::clone(&self.tls))?),
            DNS_PORT => {
                let asked = stream.local_addr().ok()?.ip().to_canonical();
                Box::new(dns::Stream::new(asked, self.spec.dns))
            }
            _ => Box::new(web::Web::new(self.spec.h2)),
        })
    }

    /// Does everything possible on a connection without blocking.
    fn serve(&mut self, index: usize) {
        let Some(slot) = self.clients.get_mut(index) else { return };
        let Some(client) = slot else { return };
        if client.go_on().is_err() || (client.ended && client.shut) {
            *slot = None;
            self.open -= 1;
        }
    }

    /// Answers all pending questions.
    fn answer(&mut self) {
        let mut buffer = [0; 2048];
        while let Some(asked) = socket::receive(&self.datagrams, &mut buffer) {
            let question = &buffer[..asked.length];
            let to = IpAddr::from(*asked.to.ip()).to_canonical();
            if self.spec.plays == Play::Close {
                continue;
            }
            if let Some(answer) = dns::answer(question, to, self.spec.dns) {
                socket::send(&self.datagrams, &answer, &asked);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        for slot in &mut self.clients {
            if slot.as_ref().is_some_and(|client| now.duration_since(client.since) > PATIENCE) {
                *slot = None;
                self.open -= 1;
            }
        }
    }
}

impl Client {
    /// Reads, answers and sends as far as possible without blocking.
    fn go_on(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while !self.ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    if !std::mem::replace(&mut self.finished, true) {
                        self.session.closed(&mut self.pending);
                    }
                }
                Ok(length) if !self.finished => {
                    let then = self.session.data(&buffer[..length], &mut self.pending);
                    self.finished = then == Then::Finish;
                }
                // Data after the end are read, since the kernel would otherwise answer with a reset.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while self.sent < self.pending.len() {
            match self.stream.write(&self.pending[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.sent = 0;
        if self.finished && !std::mem::replace(&mut self.shut, true) {
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
