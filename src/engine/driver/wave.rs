//! A wave in flight, as the driver sees it.

use std::net::SocketAddr;

use super::{Address, Asked};
use crate::connect::{Attempt, Ended, Ending, State};
use crate::engine::clocks;
use crate::field::Timestamp;

/// A wave in flight.
pub(super) struct Wave<'t> {
    pub(super) targets: &'t [Address],
    /// How often each target must still be probed, by configuration.
    pub(super) left: Vec<Vec<u32>>,
    pub(super) asked: Asked,
}

/// An attempt that ended now.
pub(super) fn ended(
    target: SocketAddr,
    started: Timestamp,
    port: Option<u16>,
    ending: Ending,
) -> Ended {
    let Ending { state, stage, error, answer, reply } = ending;
    let mut attempt = Attempt {
        ok: state.is_conclusive().then_some(state == State::Ok),
        state,
        stage,
        error,
        answer,
        started,
        ended: clocks::now(),
        duration: None,
        ip_version: Some(if target.is_ipv4() { 4 } else { 6 }),
        source_port: port,
    };
    if attempt.is_internal_error() {
        attempt.ok = None;
    }
    Ended { attempt, reply, ..Ended::default() }
}
