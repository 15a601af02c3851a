//! Connection kinds: the exchange with a target over an open socket.
//!
//! Each kind is a state machine without sockets and clocks ([`Machine`]); the engine's driver feeds it
//! with the events of a socket. [`KINDS`] is the registry: a row has everything that other modules need
//! to know about a kind, and is in the kind's own file. [`OPTIONS`] is the registry of the options that kinds
//! take. The facts of one attempt ([`Attempt`]) are the
//! same for all kinds; what a target replied ([`Reply`]) depends on the kind.
//!
//! Imports [`barrier`](crate::barrier), [`field`](crate::field) and [`packet`](crate::packet).

pub mod answer;
mod certificate;
pub mod cost;
pub mod dns;
pub mod edns;
pub mod facts;
pub mod fastopen;
pub mod forge;
mod h2;
pub mod http;
pub mod http2;
pub mod kind;
pub mod machine;
mod mptcp;
pub mod options;
mod packet;
mod plain;
mod prepare;
pub mod query;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;

pub use answer::{ANSWERS, Answer};
pub use facts::{
    Attempt, AttemptColumns, Ended, OBSERVED, Reply, ReplyColumns, Stage, State, reply_columns,
};
pub use kind::{KindDef, MOST_TRANSIENT, Transport, start};
pub use machine::{Action, Ending, Event, Fault, Machine, Peer};
pub use options::{GROUPS, HTTP_VERSIONS, METHODS, OPTIONS, OptionDef, Options, Value};
pub use prepare::Prepared;
pub use query::{DEFAULT_NAME, QUESTIONS};

/// Every connection kind.
pub static KINDS: &[KindDef] = &[
    plain::KIND,
    http::KIND,
    tls::KIND,
    h2::KIND,
    dns::OVER_UDP,
    dns::OVER_TCP,
    fastopen::KIND,
    forge::KIND,
    mptcp::KIND,
];

/// The kind with a name.
pub fn kind(name: &str) -> Option<&'static KindDef> {
    KINDS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::options::{ALPN, GROUP, VERSION};
    use super::*;

    #[test]
    fn rows_refer_to_existing_things() {
        let (mut columns, mut options) = (HashSet::new(), HashSet::new());
        for row in KINDS {
            columns.extend(row.columns);
            options.extend(row.options.iter().map(|option| option.name));
            let versions: Vec<&str> = HTTP_VERSIONS.iter().map(|(name, _)| *name).collect();
            assert!(row.versions.iter().all(|version| versions.contains(version)), "{}", row.name);
            assert_eq!(row.takes(&VERSION), !row.versions.is_empty(), "{}", row.name);
            assert_eq!(KINDS.iter().filter(|other| other.name == row.name).count(), 1);
        }
        let fields: HashSet<&str> = Reply::FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(columns, fields);
        let own = OPTIONS.iter().filter(|option| !option.common);
        assert_eq!(options, own.map(|option| option.name).collect());
    }

    #[test]
    fn a_crafted_packet_is_sent_once() {
        let cost = |packet| {
            let options = Options { packet: Some(packet), ..Options::default() };
            let parts = (forge::KIND.cost)(&options, std::time::Duration::from_secs(3));
            parts.iter().map(|part| (part.usual, part.most, part.octets)).collect::<Vec<_>>()
        };
        assert_eq!(cost(forge::Packet::default()), [(1, 1, (40, 60)), (1, 1, (40, 60))]);
        let fin = forge::Packet { flags: 1, ..forge::Packet::default() };
        assert_eq!(cost(fin), [(1, 1, (40, 60))]);
    }

    #[test]
    fn options_that_are_valid_alone_may_conflict() {
        let texts = |all: &[&str]| Value::Texts(all.iter().map(|one| (*one).to_owned()).collect());
        let x25519 = || (&GROUP, Value::Words(vec!["x25519"]));
        let version = |word| (&VERSION, Value::Word(word));
        for (name, given, culprit) in [
            ("https", vec![version("h2"), (&ALPN, texts(&["h2", "http/1.1"])), x25519()], None),
            ("https", vec![version("h2"), (&ALPN, texts(&["http/1.1"]))], Some("alpn")),
            ("https", vec![version("h2c")], Some("version")),
            ("http", vec![version("h2")], Some("version")),
            ("h2", vec![version("h2c_upgrade")], None),
            ("h2", vec![version("h2c"), (&ALPN, texts(&["h2"]))], Some("alpn")),
            ("h2", vec![version("h2c"), x25519()], Some("groups")),
            ("h2", vec![(&ALPN, texts(&["h2"]))], None),
        ] {
            let mut options = Options::default();
            given.into_iter().for_each(|(option, value)| options.set(option, value));
            let kind = kind(name).unwrap();
            let conflict = (kind.conflict)(kind, &options);
            assert_eq!(conflict.map(|(option, _)| option.name), culprit, "{name} {options:?}");
        }
    }
}
