//! Connection kinds: what is said to a target once a socket is open.
//!
//! Each kind is a state machine without sockets and clocks ([`Machine`]); the engine's driver feeds it
//! with what the sockets say. [`KINDS`] is the registry. The facts of one attempt ([`Attempt`]) are the
//! same for all; what a target said ([`Reply`]) is up to the kind.
//!
//! Imports [`barrier`](crate::barrier), [`field`](crate::field) and [`packet`](crate::packet).

pub mod answer;
mod certificate;
pub mod dns;
mod facts;
pub mod fastopen;
pub mod forge;
pub mod http;
pub mod http2;
pub mod machine;
mod options;
mod prepare;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;

pub use answer::{ANSWERS, Answer};
pub use facts::{
    Attempt, AttemptColumns, Ended, OBSERVED, Reply, ReplyColumns, Stage, State, reply_columns,
};
pub use machine::{Action, Ending, Event, Fault, Machine, Peer, start};
pub use options::{DEFAULT_NAME, GROUPS, HTTP_VERSIONS, LONGEST_PATH, METHODS, Options, QUESTIONS};
pub use prepare::Prepared;

/// What is done with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP: connect, half-close, read until the peer's FIN.
    Tcp,
    /// HTTP/1 without encryption.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2, over TLS or without.
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
    /// Versions of HTTP that `version` may ask it for.
    pub versions: &'static [&'static str],
    /// Columns that it adds to the attempt's own: what `keep` may name.
    pub columns: &'static [&'static str],
    /// Octets of memory that a peer can make one attempt hold at most, between two events: what it has read and
    /// still needs, and what it wants to send and the peer does not take. An attempt that is over holds its
    /// [`Reply`] alone. Reading one event may take up to [`MOST_TRANSIENT`] more, once for all attempts.
    pub memory: usize,
}

/// Octets of memory that the reading of one event may take for a moment, whatever the kind: at most, those of a DNS
/// message of 64 KiB taken apart. Events are read one after the other.
pub const MOST_TRANSIENT: usize = 8 << 20;

impl KindDef {
    /// The octets that are read of any target, at most: beyond them the attempt ends. What is kept of them in memory
    /// is less.
    pub fn most_read(&self) -> usize {
        match self.kind {
            Kind::Http => tcp::MOST_BYTES + http::MOST_HEAD,
            Kind::Https | Kind::H2 => tls::MOST_TLS,
            _ => tcp::MOST_BYTES,
        }
    }

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
const HTTP_COLUMNS: &[&str] = &["http_status", "http_version", "http_body"];

const HTTPS_COLUMNS: &[&str] = &[
    "http_status",
    "http_version",
    "http_body",
    "tls_version",
    "tls_cipher",
    "tls_group",
    "tls_alpn",
    "tls_cert_sha256",
    "tls_cert_matches",
    "tls_cert_self_signed",
    "tls_cert_from",
    "tls_cert_until",
];

const DNS_COLUMNS: &[&str] = &[
    "dns_reply_rcode",
    "dns_reply_answers",
    "dns_reply_addresses",
    "dns_reply_truncated",
    "dns_reply_authoritative",
    "dns_reply_mismatched",
    "dns_reply_case_kept",
];

/// Every connection kind.
pub static KINDS: &[KindDef] = &[
    KindDef {
        name: "tcp",
        kind: Kind::Tcp,
        doc: "open a TCP connection, half-close it, and read what the server sends until it closes too",
        transport: Transport::Tcp,
        port: 80,
        options: &["tfo"],
        versions: &[],
        columns: &[],
        memory: 4 << 10,
    },
    KindDef {
        name: "http",
        kind: Kind::Http,
        doc: "ask for a page by HTTP without encryption",
        transport: Transport::Tcp,
        port: 80,
        options: &["tfo", "version", "method", "path"],
        versions: &["1.1", "1.0", "h2c", "h2c_upgrade"],
        columns: HTTP_COLUMNS,
        memory: 8 * tcp::MOST_BYTES,
    },
    KindDef {
        name: "https",
        kind: Kind::Https,
        doc: "ask for a page by HTTP over TLS; the certificate is noted, not trusted",
        transport: Transport::Tcp,
        port: 443,
        options: &["tfo", "alpn", "groups", "version", "method", "path"],
        versions: &["1.1", "1.0", "h2"],
        columns: HTTPS_COLUMNS,
        memory: 16 * tcp::MOST_BYTES,
    },
    KindDef {
        name: "h2",
        kind: Kind::H2,
        doc: "ask for a page by HTTP/2 over TLS, or without",
        transport: Transport::Tcp,
        port: 443,
        options: &["tfo", "alpn", "groups", "version", "method", "path"],
        versions: &["h2", "h2c", "h2c_upgrade"],
        columns: HTTPS_COLUMNS,
        memory: 16 * tcp::MOST_BYTES,
    },
    KindDef {
        name: "dns_udp",
        kind: Kind::DnsUdp,
        doc: "ask a name server one question over UDP, for the target's name or example.org",
        transport: Transport::Udp,
        port: 53,
        options: &["question"],
        versions: &[],
        columns: DNS_COLUMNS,
        memory: 4 << 10,
    },
    KindDef {
        name: "dns_tcp",
        kind: Kind::DnsTcp,
        doc: "ask a name server one question over TCP, for the target's name or example.org",
        transport: Transport::Tcp,
        port: 53,
        options: &["tfo", "question"],
        versions: &[],
        columns: DNS_COLUMNS,
        memory: 4 * tcp::MOST_BYTES,
    },
    KindDef {
        name: "tcp_fastopen",
        kind: Kind::TcpFastopen,
        doc: "open a TCP connection with data in the SYN (RFC 7413)",
        transport: Transport::Tcp,
        port: 80,
        options: &[],
        versions: &[],
        columns: &[],
        memory: 8 << 10,
    },
    KindDef {
        name: "forge",
        kind: Kind::Forge,
        doc: "send one packet made by hand, and watch for what comes back",
        transport: Transport::Raw,
        port: 80,
        options: &["packet"],
        versions: &[],
        columns: &["forge_unexpected"],
        memory: 4 << 10,
    },
    KindDef {
        name: "mptcp",
        kind: Kind::Mptcp,
        doc: "open a Multipath TCP connection (RFC 8684)",
        transport: Transport::Mptcp,
        port: 80,
        options: &[],
        versions: &[],
        columns: &[],
        memory: 4 << 10,
    },
];

/// The kind with a name.
pub fn kind(name: &str) -> Option<&'static KindDef> {
    KINDS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_registry_speaks_of_what_there_is() {
        let mut provided = HashSet::new();
        for row in KINDS {
            provided.extend(row.columns);
            let versions: Vec<&str> = HTTP_VERSIONS.iter().map(|(name, _)| *name).collect();
            assert!(row.versions.iter().all(|version| versions.contains(version)), "{}", row.name);
            let has_version = row.options.contains(&"version");
            assert_eq!(has_version, !row.versions.is_empty(), "{}", row.name);
        }
        let fields: HashSet<&str> = Reply::FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(provided, fields);
    }
}
