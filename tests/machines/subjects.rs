//! What is tried: every connection machine of the registry.

use std::net::IpAddr;

use pathspider::connect::edns::Edns;
use pathspider::connect::forge::{self, Forge};
use pathspider::connect::options::{
    ALPN, EDNS, GROUP, METHOD, PATH, QNAME, QUESTION, READ, REQUEST_OCTETS, TFO, VERSION,
};
use pathspider::connect::query::Query;
use pathspider::connect::{
    self, GROUPS, KINDS, KindDef, METHODS, Machine, Options, QUESTIONS, Transport, Value,
};

use super::peers;

/// EDNS with the most padding.
const EVERYTHING: Edns = Edns { buffer: 4096, dnssec: true, version: 0, padding: Some(1400) };

/// One machine.
pub struct Subject {
    pub row: &'static KindDef,
    pub name: String,
    pub options: Options,
    /// The target's address and name.
    pub address: IpAddr,
    pub target: Option<&'static str>,
    /// Whether data goes with the SYN.
    pub early: bool,
    /// Whether its target's name cannot be asked for.
    pub cannot_start: bool,
    /// Whether what it reads comes in datagrams or segments.
    pub datagrams: bool,
}

impl Subject {
    fn new(
        row: &'static KindDef,
        options: Options,
        address: &str,
        target: Option<&'static str>,
    ) -> Self {
        let says_the_name = ["http", "https", "h2", "dns_udp", "dns_tcp", "tcp_fastopen"]
            .contains(&row.name)
            || options.request_octets().is_some();
        let name = format!("{} {} {target:?} {address}", row.name, options.describe().join(", "));
        Self {
            early: row.early || options.boolean(&TFO) == Some(true),
            cannot_start: target == Some("a b") && says_the_name,
            datagrams: matches!(row.transport, Transport::Udp | Transport::Raw),
            row,
            name,
            options,
            address: address.parse().unwrap(),
            target,
        }
    }

    /// The machine, as the engine makes it.
    pub fn start(&self) -> Box<dyn Machine> {
        let (address, name) = (self.address, self.target);
        let port = self.row.port_with(&self.options);
        let peer = connect::Peer { address, port, name, random: 0x1234_5678_9abc_def0 };
        match &self.options.packet {
            Some(packet) => {
                let source: IpAddr = match address {
                    IpAddr::V4(_) => [192, 0, 2, 77].into(),
                    IpAddr::V6(_) => "2001:db8::77".parse().unwrap(),
                };
                Box::new(Forge::new(packet.clone(), peer, (source, 10_240).into()))
            }
            None => connect::start(self.row, &self.options, peer),
        }
    }

    /// Whether a peer can answer it so that the attempt is `ok`.
    pub fn can_succeed(&self) -> bool {
        let evil = |packet: &forge::Packet| packet.evil && self.address.is_ipv6();
        // Who does not offer HTTP/2 cannot be answered in it.
        let alpn = self.options.texts(&ALPN).filter(|_| self.row.name == "h2");
        let unasked = alpn.is_some_and(|alpn| !alpn.contains(&"h2".to_owned()));
        !self.cannot_start && !unasked && !self.options.packet.as_ref().is_some_and(evil)
    }

    /// What it talks to.
    pub fn peer(&self, variant: u32) -> Box<dyn peers::Peer> {
        peers::of(self.row.name, self.options.word(&VERSION), variant)
    }
}

/// Every machine: of each kind, in each version and with each option, towards both families, with a name and
/// without, and with one that cannot be asked for.
pub fn all() -> Vec<Subject> {
    let mut all = Vec::new();
    for row in KINDS {
        for options in options(row) {
            all.push(Subject::new(row, options, "192.0.2.1", Some("a.example")));
        }
        let first = options(row).remove(0);
        for (address, name) in
            [("2001:db8::1", Some("b.example")), ("192.0.2.1", None), ("192.0.2.1", Some("a b"))]
        {
            all.push(Subject::new(row, first.clone(), address, name));
        }
    }
    all
}

/// The options that a kind takes: none, each alone with each of its values, and each version with each method.
fn options(row: &KindDef) -> Vec<Options> {
    let mut all = vec![Options::default()];
    for option in row.options {
        let plain = Options::default();
        match option.name {
            "tfo" => all.push(plain.with(&TFO, Value::Boolean(true))),
            "version" => all.extend(row.versions.iter().flat_map(|version| {
                let plain = plain.clone().with(&VERSION, Value::Word(version));
                METHODS
                    .iter()
                    .map(move |(method, _)| plain.clone().with(&METHOD, Value::Word(method)))
            })),
            "method" => all.extend(
                METHODS.iter().map(|(method, _)| plain.clone().with(&METHOD, Value::Word(method))),
            ),
            "path" => all.push(plain.with(&PATH, Value::Text("/p?q".into()))),
            "request_octets" => all.push(plain.with(&REQUEST_OCTETS, Value::Integer(1448))),
            "read" => all.push(plain.with(&READ, Value::Integer(1 << 20))),
            "alpn" => all.extend([&["h2", "http/1.1"][..], &["http/1.1"], &["chat"]].map(|alpn| {
                let alpn = alpn.iter().map(|name| (*name).to_owned()).collect();
                plain.clone().with(&ALPN, Value::Texts(alpn))
            })),
            "groups" => all.extend((1..=GROUPS.len()).map(|most| {
                let groups = GROUPS.iter().take(most).map(|(group, _)| *group).collect();
                plain.clone().with(&GROUP, Value::Words(groups))
            })),
            "question" => all.extend(
                QUESTIONS
                    .iter()
                    .map(|(question, _)| plain.clone().with(&QUESTION, Value::Word(question))),
            ),
            "qname" => all.push(plain.with(&QNAME, Value::Text("octets-2000.example".into()))),
            "edns" => all.push(plain.with(&EDNS, Value::Edns(EVERYTHING))),
            // There is one exactly.
            "packet" => {
                all = packets()
                    .into_iter()
                    .map(|packet| Options { packet: Some(packet), ..plain.clone() })
                    .collect()
            }
            other => panic!(
                "this test does not know the option `{other}` of {}: add its values",
                row.name
            ),
        }
    }
    all.retain(|options| (row.conflict)(row, options).is_none());
    all
}

/// Packets made by hand, of each sort.
fn packets() -> Vec<forge::Packet> {
    use forge::{Answer, Checksum, Packet, Payload, Protocol, TcpOption};
    let plain = Packet::default();
    let mss = TcpOption { kind: 2, data: Some(vec![5, 0xb4]) };
    let mut all = vec![
        plain.clone(),
        Packet { answer: Answer::Any, payload: Payload::Bytes(vec![7; 100]), ..plain.clone() },
        Packet { flags: 16, evil: true, options: vec![mss], ..plain.clone() },
    ];
    let udp = Packet { protocol: Protocol::Udp, answer: Answer::Any, ..plain };
    all.push(Packet { payload: Payload::Bytes(vec![7; 100]), ..udp.clone() });
    for edns in [None, Some(EVERYTHING)] {
        let payload = Payload::Question(Query { edns, ..Query::default() });
        all.push(Packet { answer: Answer::Dns, payload, checksum: Checksum::Zero, ..udp.clone() });
    }
    all
}
