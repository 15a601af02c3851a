//! The interface between a kind of connection and the engine's driver.
//!
//! A kind is a [`Machine`]: it receives what a socket did ([`Event`]), appends its output
//! to a buffer, and returns the next [`Action`]. It owns no socket and reads no clock, so tests need
//! nothing but events.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use super::answer::Answer;
use super::facts::{Reply, Stage, State};
use crate::barrier::INTERNAL_ERROR;

/// What happened to the socket.
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
    /// The socket reported an error.
    Failed(Fault),
}

/// An error of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The word for it, for the `error` column.
    pub word: &'static str,
    /// Whether this host caused it: no port, descriptor, buffer, route or permission.
    pub local: bool,
}

/// What the driver does after it has sent the machine's output.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Wait for the next event.
    Wait,
    /// Send a FIN, then wait.
    HalfClose,
    /// Close the socket: the attempt has ended.
    Close(Ending),
}

/// How an attempt ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    /// The state of the attempt.
    pub state: State,
    /// How far it got.
    pub stage: Stage,
    /// What went wrong, if anything did.
    pub error: Option<Cow<'static, str>>,
    /// What the target answered instead of a success.
    pub answer: Option<Answer>,
    /// The target's reply, as far as the kind keeps it.
    pub reply: Option<Box<Reply>>,
}

impl Ending {
    /// An ending without a reply.
    pub fn new(state: State, stage: Stage, error: Option<&'static str>) -> Self {
        Self { state, stage, error: error.map(Cow::Borrowed), answer: None, reply: None }
    }

    /// The same with the target's answer.
    pub fn answered(self, answer: Option<Answer>) -> Self {
        Self { answer, ..self }
    }

    /// The ending of an attempt whose machine panicked at this stage. It says nothing about the path or the target.
    pub fn internal_error(stage: Stage) -> Self {
        Self::new(State::Failed, stage, Some(INTERNAL_ERROR))
    }

    /// The ending for an error of the socket at this stage: a local error or a failure of the path.
    pub fn failed(fault: Fault, stage: Stage) -> Self {
        let state = if fault.local { State::LocalError } else { State::Failed };
        Self::new(state, stage, Some(fault.word))
    }
}

/// The peer of a machine, and a random number for the exchange.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its name, if the target list has one.
    pub name: Option<&'a str>,
    /// An unpredictable number: for DNS message identifiers and the like.
    pub random: u64,
}

/// The state machine of one attempt.
pub trait Machine: Send {
    /// Handles an event, appends output to `out`, and returns the next action. For a datagram
    /// kind, `out` then holds one datagram.
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action;

    /// How far the attempt got: its stage if it ended now.
    fn stage(&self) -> Stage;

    /// The time since the attempt began; called before each event is handled.
    fn set_elapsed(&mut self, _elapsed: Duration) {}

    /// Appends data that may go with the SYN; called before the connection with TCP Fast Open (RFC 7413).
    /// The data is sent in any case, with the SYN or after the handshake.
    fn early(&mut self, _out: &mut Vec<u8>) {}
}
