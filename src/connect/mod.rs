//! Connection kinds: what is said to a target once a socket is open.
//!
//! Each kind is a state machine without sockets and clocks; the engine's driver feeds it with
//! what the sockets say. The facts of one attempt ([`Attempt`]) are the same for all.
//!
//! Imports [`field`](crate::field) only.

pub mod tcp;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::StringBuilder;
use arrow::datatypes::DataType;

use crate::field::{Cell, Timestamp, fields};

/// How a connection kind is named in a measurement file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP: connect, half-close, read until the peer's FIN.
    Tcp,
}

/// One row of the registry of connection kinds.
#[derive(Debug)]
pub struct KindDef {
    /// The name in a measurement file.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

/// Every connection kind.
pub static KINDS: &[KindDef] = &[KindDef {
    name: "tcp",
    kind: Kind::Tcp,
    doc: "open a TCP connection, half-close it, and read what the server sends until it closes too",
}];

/// How an attempt ended. The words are the `state` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// The connection was established (and whatever the kind asks for was answered).
    Ok,
    /// The path or the target refused: reset, unreachable, prohibited.
    Failed,
    /// No answer within the timeout.
    Timeout,
    /// This host could not try: no port, descriptor, buffer or route. Says nothing of the path.
    #[default]
    LocalError,
}

impl Cell for State {
    type Column = StringBuilder;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut StringBuilder) {
        column.append_value(self.as_str());
    }
    fn finish(column: &mut StringBuilder) -> ArrayRef {
        Arc::new(column.finish())
    }
}

impl State {
    /// The word in the `state` column.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Failed => "failed",
            State::Timeout => "timeout",
            State::LocalError => "local_error",
        }
    }
}

fields! {
    /// What the engine knows of one connection attempt.
    pub struct Attempt, AttemptColumns;
    "attempt" {
        /// Whether the connection was established. NULL if this host could not try.
        ok: Option<bool>,
        /// How the attempt ended: `ok`, `failed`, `timeout` or `local_error`.
        state: State,
        /// What went wrong in the operating system's words, `Connection refused`; NULL if nothing did.
        error: Option<&'static str>,
        /// When the connection was started (UTC).
        started: Timestamp,
        /// When the attempt was over (UTC).
        ended: Timestamp,
        /// The TCP source port that the engine chose: with address and port of the target, the flow key.
        source_port: Option<u16>,
    }
}

/// Added by the merge: whether the observer saw the attempt's flow.
pub const OBSERVED: crate::field::FieldDef = crate::field::FieldDef {
    name: "observed",
    by: "merge",
    doc: "Whether the observer saw this attempt's flow. If false, every fact of the observer is NULL.",
    data_type: <bool as crate::field::Cell>::data_type,
};
