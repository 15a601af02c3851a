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

/// What is done with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP: connect, half-close, read until the peer's FIN.
    Tcp,
    /// HTTP/1 without encryption.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 over TLS.
    H2,
    /// One DNS question over UDP.
    DnsUdp,
    /// One DNS question over TCP.
    DnsTcp,
    /// TCP Fast Open: data in the SYN.
    TcpFastopen,
    /// Packets made by hand.
    Forge,
    /// Multipath TCP.
    Mptcp,
}

/// One row of the registry of connection kinds.
#[derive(Debug, PartialEq, Eq)]
pub struct KindDef {
    /// The name in a measurement file.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// The options of `[connect]` that it takes, beside `timeout` and `repeat`.
    pub options: &'static [&'static str],
    /// Columns that it adds to the attempt's own: what `keep` may name.
    pub columns: &'static [&'static str],
    /// Whether this version can run it.
    pub runnable: bool,
}

/// Every connection kind.
pub static KINDS: &[KindDef] = &[
    KindDef {
        name: "tcp",
        kind: Kind::Tcp,
        doc: "open a TCP connection, half-close it, and read what the server sends until it closes too",
        options: &["tfo"],
        columns: &[],
        runnable: true,
    },
    KindDef {
        name: "http",
        kind: Kind::Http,
        doc: "ask for a page by HTTP without encryption",
        options: &["tfo", "version"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "https",
        kind: Kind::Https,
        doc: "ask for a page by HTTP over TLS",
        options: &["tfo", "alpn", "version"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "h2",
        kind: Kind::H2,
        doc: "ask for a page by HTTP/2 over TLS",
        options: &["tfo", "alpn"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "dns_udp",
        kind: Kind::DnsUdp,
        doc: "ask a name server one question over UDP",
        options: &[],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "dns_tcp",
        kind: Kind::DnsTcp,
        doc: "ask a name server one question over TCP",
        options: &["tfo"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "tcp_fastopen",
        kind: Kind::TcpFastopen,
        doc: "open a TCP connection with data in the SYN (RFC 7413)",
        options: &[],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "forge",
        kind: Kind::Forge,
        doc: "send packets made by hand and watch for what comes back",
        options: &[],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "mptcp",
        kind: Kind::Mptcp,
        doc: "open a Multipath TCP connection (RFC 8684)",
        options: &[],
        columns: &[],
        runnable: false,
    },
];

/// The kind with a name.
pub fn kind(name: &str) -> Option<&'static KindDef> {
    KINDS.iter().find(|row| row.name == name)
}

/// Versions of HTTP that `version` may ask for, with their meaning.
pub static HTTP_VERSIONS: &[(&str, &str)] = &[
    ("1.0", "HTTP/1.0"),
    ("1.1", "HTTP/1.1"),
    ("h2", "HTTP/2"),
    ("h2c", "HTTP/2 without encryption"),
];

/// Options of a connection; what is not given is as the kind has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether data goes with the SYN where a cookie is known.
    pub tfo: Option<bool>,
    /// Protocols offered in the TLS handshake, the preferred first.
    pub alpn: Option<Vec<String>>,
    /// Version of HTTP, out of [`HTTP_VERSIONS`].
    pub version: Option<&'static str>,
    /// How often each target is asked, one after the other.
    pub repeat: Option<u32>,
}

impl Options {
    /// The names of those that are given, beside `repeat`, which every kind can.
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            (self.tfo.is_some(), "tfo"),
            (self.alpn.is_some(), "alpn"),
            (self.version.is_some(), "version"),
        ];
        given.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }

    /// What they ask for, in plain words; empty if nothing.
    pub fn describe(&self) -> Vec<String> {
        let mut words = Vec::new();
        match self.tfo {
            Some(true) => words.push("with data in the SYN where a cookie is known".to_owned()),
            Some(false) => words.push("without data in the SYN".to_owned()),
            None => {}
        }
        if let Some(alpn) = &self.alpn {
            words.push(format!("offering {}", alpn.join(", ")));
        }
        if let Some(version) = self.version {
            words.push(format!("by HTTP version {version}"));
        }
        if let Some(repeat) = self.repeat.filter(|repeat| *repeat != 1) {
            words.push(format!("{repeat} times one after the other"));
        }
        words
    }
}

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
