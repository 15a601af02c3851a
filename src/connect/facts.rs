//! The facts of one attempt: what the engine knows of it, and what the target said.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::StringBuilder;
use arrow::datatypes::DataType;

use crate::field::{Cell, FieldDef, Timestamp, fields};

/// How an attempt ended. The words are the `state` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// The connection was established (and whatever the kind asks for was answered).
    Ok,
    /// The path or the target refused: reset, unreachable, prohibited, an answer that is none.
    Failed,
    /// No answer within the timeout.
    Timeout,
    /// This host could not try: no port, descriptor, buffer or route. Says nothing of the path.
    #[default]
    LocalError,
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

/// How far an attempt came. The words are the `stage` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The target's name was looked up, or was to be.
    Resolve,
    /// The connection was asked for.
    #[default]
    Connect,
    /// The TLS handshake was under way.
    Tls,
    /// The request was being sent.
    Request,
    /// The response was waited for or being read.
    Response,
    /// Everything that the kind does was done.
    Done,
}

impl Stage {
    /// The word in the `stage` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Resolve => "resolve",
            Stage::Connect => "connect",
            Stage::Tls => "tls",
            Stage::Request => "request",
            Stage::Response => "response",
            Stage::Done => "done",
        }
    }
}

macro_rules! word_cell {
    ($($type:ty)*) => {$(
        impl Cell for $type {
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
    )*};
}

word_cell! { State Stage }

fields! {
    /// What the engine knows of one connection attempt.
    pub struct Attempt, AttemptColumns;
    "attempt" {
        /// Whether the connection was established and what the kind asks for was answered. NULL if this
        /// host could not try.
        ok: Option<bool>,
        /// How the attempt ended: `ok`, `failed`, `timeout` or `local_error`.
        state: State,
        /// How far it came: it stopped at `resolve`, `connect`, `tls`, `request` or `response`, or was `done`.
        stage: Stage,
        /// What went wrong in the operating system's or the protocol's words, `Connection refused`; NULL if
        /// nothing did.
        error: Option<Cow<'static, str>>,
        /// When the connection was started (UTC).
        started: Timestamp,
        /// When the attempt was over (UTC).
        ended: Timestamp,
        /// The source port that the engine chose: with address and port of the target, the flow key.
        source_port: Option<u16>,
    }
}

fields! {
    /// What the target said, as far as a kind of connection keeps it. Which of these columns a record
    /// has is up to the kinds in use ([`KindDef::columns`](super::KindDef::columns)) and to
    /// `[connect.after] keep`.
    #[derive(PartialEq)]
    pub struct Reply, ReplyColumns;
    "http" {
        /// Status code of the response (RFC 9110, 15).
        http_status: Option<u16>,
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// What the engine knows of it.
    pub attempt: Attempt,
    /// What the target said, if it came to that.
    pub reply: Option<Box<Reply>>,
}

/// Added by the merge: whether the observer saw the attempt's flow.
pub const OBSERVED: FieldDef = FieldDef {
    name: "observed",
    by: "merge",
    doc: "Whether the observer saw this attempt's flow. If false, every fact of the observer is NULL.",
    data_type: <bool as Cell>::data_type,
};
