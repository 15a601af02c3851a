//! What a kind of connection and the engine's driver say to each other.
//!
//! A kind is a [`Machine`]: it is told what a socket did ([`Event`]), puts what it wants to send
//! into a buffer, and says what follows ([`Action`]). It owns no socket and reads no clock, so each
//! is tested with nothing but events.

use std::borrow::Cow;
use std::net::IpAddr;

use super::dns::Dns;
use super::fastopen::Fastopen;
use super::http::{Ask, Http, Protocol};
use super::tcp::Tcp;
use super::tls::Tls;
use super::{Answer, Kind, Options, Reply, Stage, State};
use crate::barrier::INTERNAL_ERROR;

/// What the driver reports of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake is done; without a handshake (UDP), the socket is ready.
    Connected,
    /// These bytes were read; of a datagram socket, one datagram.
    Data(&'a [u8]),
    /// The peer's FIN was read.
    PeerClosed,
    /// The attempt's time is up.
    TimedOut,
    /// The socket reported an error; the word for it, and whose fault it is.
    Failed(Fault),
}

/// An error of the operating system, put to one of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The word for it, for the `error` column.
    pub word: &'static str,
    /// Whether this host is to blame: no port, descriptor, buffer, route or permission.
    pub local: bool,
}

/// What the driver is to do, once it has sent what the machine put into the buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Wait for the next event.
    Wait,
    /// Send a FIN, then wait.
    HalfClose,
    /// Close the socket: this is how the attempt ended.
    Close(Ending),
}

/// How an attempt ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    /// The verdict on the attempt.
    pub state: State,
    /// How far it came.
    pub stage: Stage,
    /// What went wrong, if anything did.
    pub error: Option<Cow<'static, str>>,
    /// What the target answered, if not what the kind asks for.
    pub answer: Option<Answer>,
    /// What the target said, as far as the kind keeps it.
    pub reply: Option<Box<Reply>>,
}

impl Ending {
    /// An ending without a reply.
    pub fn new(state: State, stage: Stage, error: Option<&'static str>) -> Self {
        Self { state, stage, error: error.map(Cow::Borrowed), answer: None, reply: None }
    }

    /// The same with what the target answered.
    pub fn answered(self, answer: Option<Answer>) -> Self {
        Self { answer, ..self }
    }

    /// The ending of an attempt whose machine panicked at this stage. It says nothing of the path or the target.
    pub fn internal_error(stage: Stage) -> Self {
        Self::new(State::Failed, stage, Some(INTERNAL_ERROR))
    }

    /// What follows from an error of the socket at this stage: this host's fault or the path's.
    pub fn failed(fault: Fault, stage: Stage) -> Self {
        let state = if fault.local { State::LocalError } else { State::Failed };
        Self::new(state, stage, Some(fault.word))
    }
}

/// Whom a machine talks to, and with which numbers of its own.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its name, if the list of targets has one.
    pub name: Option<&'a str>,
    /// A number that nobody on the path can guess: for DNS message identifiers and the like.
    pub random: u64,
}

/// One attempt's course.
pub trait Machine: Send {
    /// Takes in an event, adds what is to be sent to `out`, and says what follows. Of a datagram
    /// kind, what is in `out` afterwards is one datagram.
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action;

    /// How far the attempt has come: its stage if it ended now.
    fn stage(&self) -> Stage;

    /// Called before the connection, where data may go with the SYN (TCP Fast Open, RFC 7413):
    /// adds what may. It is sent in any case, with the SYN or after the handshake.
    fn early(&mut self, _out: &mut Vec<u8>) {}
}

/// The machine of a kind for one attempt. `kind` is run with `options`, which fit it.
pub fn start(kind: Kind, options: &Options, peer: Peer<'_>) -> Box<dyn Machine> {
    machine(kind, options, peer).unwrap_or_else(|word| Box::new(Unable(word)))
}

fn machine(
    kind: Kind,
    options: &Options,
    peer: Peer<'_>,
) -> Result<Box<dyn Machine>, &'static str> {
    let encrypted = kind == Kind::Https
        || (kind == Kind::H2 && options.version.is_none_or(|version| version == "h2"));
    Ok(match kind {
        Kind::Tcp | Kind::Mptcp | Kind::Forge => Box::new(Tcp::default()),
        Kind::TcpFastopen => Box::new(Fastopen::new(options, peer)?),
        Kind::Http | Kind::H2 if !encrypted => {
            let protocol = match options.version {
                Some("1.0") => Protocol::Http1 { minor: 0 },
                Some("h2c") => Protocol::Http2,
                Some("h2c_upgrade") => Protocol::Upgrade,
                _ => Protocol::Http1 { minor: 1 },
            };
            Box::new(Http::new(Ask::new(options, peer, "http")?, protocol))
        }
        Kind::Http | Kind::Https | Kind::H2 => {
            let version = if kind == Kind::H2 { Some("h2") } else { options.version };
            Box::new(Tls::new(options, version, Ask::new(options, peer, "https")?)?)
        }
        Kind::DnsUdp => Box::new(Dns::new(options, peer, false)?),
        Kind::DnsTcp => Box::new(Dns::new(options, peer, true)?),
    })
}

/// An attempt for which nothing can be sent: this host's fault, since no packet of the path's can
/// have caused it.
struct Unable(&'static str);

impl Machine for Unable {
    fn handle(&mut self, _: Event<'_>, _: &mut Vec<u8>) -> Action {
        Action::Close(Ending::new(State::LocalError, self.stage(), Some(self.0)))
    }

    fn stage(&self) -> Stage {
        Stage::Request
    }
}
