//! Connection kinds: what is said to a target once a socket is open.
//!
//! Each kind is a state machine without sockets and clocks ([`Machine`]); the engine's driver feeds it
//! with what the sockets say. [`KINDS`] is the registry. The facts of one attempt ([`Attempt`]) are the
//! same for all; what a target said ([`Reply`]) is up to the kind.
//!
//! Imports [`field`](crate::field) only.

mod facts;
pub mod forge;
pub mod machine;
pub mod tcp;

pub use facts::{Attempt, AttemptColumns, Ended, OBSERVED, Reply, ReplyColumns, Stage, State};
pub use machine::{Action, Ending, Event, Fault, Machine, Peer, start};

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

/// What carries a kind: which socket the driver opens, and which flow the observer will see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A TCP socket.
    Tcp,
    /// A Multipath TCP socket, whose first subflow looks like TCP.
    Mptcp,
    /// A UDP socket.
    Udp,
    /// Packets made by hand; the packet says which protocol.
    Raw,
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
    /// What carries it.
    pub transport: Transport,
    /// The port of targets that come without one, and of the lab's.
    pub port: u16,
    /// The options of `[connect]` that it takes, beside `timeout` and `repeat`.
    pub options: &'static [&'static str],
    /// Columns that it adds to the attempt's own: what `keep` may name.
    pub columns: &'static [&'static str],
    /// Whether this version can run it.
    pub runnable: bool,
}

impl KindDef {
    /// The IP protocol of the flow that an attempt with these options makes.
    pub fn protocol(&self, options: &Options) -> u8 {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        match (self.transport, &options.packet) {
            (Transport::Raw, Some(packet)) if packet.protocol == forge::Protocol::Udp => UDP,
            (Transport::Udp, _) => UDP,
            _ => TCP,
        }
    }
}

/// Every connection kind.
pub static KINDS: &[KindDef] = &[
    KindDef {
        name: "tcp",
        kind: Kind::Tcp,
        doc: "open a TCP connection, half-close it, and read what the server sends until it closes too",
        transport: Transport::Tcp,
        port: 80,
        options: &["tfo"],
        columns: &[],
        runnable: true,
    },
    KindDef {
        name: "http",
        kind: Kind::Http,
        doc: "ask for a page by HTTP without encryption",
        transport: Transport::Tcp,
        port: 80,
        options: &["tfo", "version"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "https",
        kind: Kind::Https,
        doc: "ask for a page by HTTP over TLS",
        transport: Transport::Tcp,
        port: 443,
        options: &["tfo", "alpn", "version"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "h2",
        kind: Kind::H2,
        doc: "ask for a page by HTTP/2 over TLS",
        transport: Transport::Tcp,
        port: 443,
        options: &["tfo", "alpn"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "dns_udp",
        kind: Kind::DnsUdp,
        doc: "ask a name server one question over UDP",
        transport: Transport::Udp,
        port: 53,
        options: &[],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "dns_tcp",
        kind: Kind::DnsTcp,
        doc: "ask a name server one question over TCP",
        transport: Transport::Tcp,
        port: 53,
        options: &["tfo"],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "tcp_fastopen",
        kind: Kind::TcpFastopen,
        doc: "open a TCP connection with data in the SYN (RFC 7413)",
        transport: Transport::Tcp,
        port: 80,
        options: &[],
        columns: &[],
        runnable: false,
    },
    KindDef {
        name: "forge",
        kind: Kind::Forge,
        doc: "send one packet made by hand, and watch for what comes back",
        transport: Transport::Raw,
        port: 80,
        options: &["packet"],
        columns: &[],
        runnable: true,
    },
    KindDef {
        name: "mptcp",
        kind: Kind::Mptcp,
        doc: "open a Multipath TCP connection (RFC 8684)",
        transport: Transport::Mptcp,
        port: 80,
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
    /// How often each target is asked, one after the other; the record is that of the last time.
    pub repeat: Option<u32>,
    /// The packet that is made by hand: there is one exactly for the kind `forge`.
    pub packet: Option<forge::Packet>,
}

impl Options {
    /// The names of those that are given, beside `repeat`, which every kind can.
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            (self.tfo.is_some(), "tfo"),
            (self.alpn.is_some(), "alpn"),
            (self.version.is_some(), "version"),
            (self.packet.is_some(), "packet"),
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
        if let Some(packet) = &self.packet {
            words.push(packet.describe());
        }
        if let Some(repeat) = self.repeat.filter(|repeat| *repeat != 1) {
            words.push(format!("{repeat} times one after the other"));
        }
        words
    }
}
