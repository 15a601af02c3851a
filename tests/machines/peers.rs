//! Peers in memory: what a server of each protocol answers to what it was sent.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock};

use etherparse::{NetSlice, SlicedPacket, TcpHeader, TransportSlice};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NULL, TXT};
use hickory_proto::rr::{Name, RData, Record};

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{NamedGroup, ServerConfig, ServerConnection};

use super::frames;

/// In which layer of an answer octets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bolero::TypeGenerator)]
pub enum Layer {
    /// As they go over the wire.
    Wire,
    /// What TLS protects, or what the length of a message stands before.
    Content,
    /// A header block of HTTP/2, whose frames keep their right lengths.
    Block,
}

/// May change octets in their layer.
pub type Spoil<'a> = &'a dyn Fn(Layer, Vec<u8>) -> Vec<u8>;

/// What is at the other end of a connection.
pub trait Peer {
    /// Takes in what was sent, and answers: whatever `script` stands for in the protocol. `spoil` may change the answer
    /// in any layer.
    fn answer(&mut self, sent: &[u8], script: u32, spoil: Spoil<'_>) -> Vec<u8>;
}

/// The peer of a kind in this version, one of some that differ in what they can.
pub fn of(kind: &str, version: Option<&str>, variant: u32) -> Box<dyn Peer> {
    match (kind, version) {
        (_, Some("h2c")) => Box::new(Plain(frames::http2)),
        (_, Some("h2c_upgrade")) => Box::new(Plain(upgraded)),
        ("https" | "h2", _) => Box::new(Tls::new(variant)),
        ("dns_udp", _) => Box::new(Dns { over_tcp: false }),
        ("dns_tcp", _) => Box::new(Dns { over_tcp: true }),
        ("forge", _) => Box::new(Segments),
        // A kind that this test does not know talks to a web server.
        _ => Box::new(Plain(|script, _| http1(script))),
    }
}

/// One that answers without looking at what it was sent.
struct Plain(fn(u32, Spoil<'_>) -> Vec<u8>);

impl Peer for Plain {
    fn answer(&mut self, _: &[u8], script: u32, spoil: Spoil<'_>) -> Vec<u8> {
        let answer = (self.0)(script, spoil);
        spoil(Layer::Wire, spoil(Layer::Content, answer))
    }
}

/// A response in HTTP/1.
pub fn http1(script: u32) -> Vec<u8> {
    let head = ["HTTP/1.1 200 OK", "HTTP/1.0 404 Not Found", "HTTP/1.1 304 Not Modified"];
    let rest = [
        "Content-Length: 5\r\n\r\nhello",
        "\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n00a\r\n, world!..\r\n0\r\nX: y\r\n\r\n",
        "X: y\r\nSet-Cookie: a=b\r\n folded\r\nContent-Length: 2, 2\r\n\r\nhi",
        "Content-Length: 18446744073709551615\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
    ];
    let before =
        ["", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"];
    let (mut number, mut text) = (script as usize, String::new());
    let mut one_of = |choices: &[&'static str]| {
        let choice = choices[number % choices.len()];
        number /= choices.len();
        choice
    };
    let (head, rest, before) = (one_of(&head), one_of(&rest), one_of(&before));
    text.push_str(before);
    text.push_str(&format!("{head}\r\nServer: x\r\n{rest}"));
    text.into_bytes()
}

/// A switch to HTTP/2, and what comes after it.
fn upgraded(script: u32, spoil: Spoil<'_>) -> Vec<u8> {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    [switch, frames::http2(script, spoil).as_slice()].concat()
}

/// A server in TLS, which speaks the HTTP that was agreed on.
pub struct Tls {
    pub server: ServerConnection,
    asked: Vec<u8>,
    failed: bool,
}

static KEY: LazyLock<rcgen::CertifiedKey<rcgen::KeyPair>> = LazyLock::new(|| {
    rcgen::generate_simple_self_signed(["a.example".to_owned(), "192.0.2.1".to_owned()]).unwrap()
});

static SERVERS: LazyLock<Vec<Arc<ServerConfig>>> = LazyLock::new(|| {
    let tls12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let both = rustls::ALL_VERSIONS;
    // The last one asks for another key share first if it is offered, or refuses.
    [
        (both, &["h2", "http/1.1"][..], None),
        (both, &[], None),
        (tls12, &["http/1.1"], None),
        (tls12, &["h2"], None),
        (both, &["http/1.0", "http/1.1"], Some(NamedGroup::secp384r1)),
    ]
    .into_iter()
    .map(|(versions, alpn, group)| {
        let mut provider = ring::default_provider();
        provider.kx_groups.retain(|known| group.is_none_or(|group| known.name() == group));
        let key = PrivateKeyDer::Pkcs8(KEY.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![KEY.cert.der().clone(); 2], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    })
    .collect()
});

impl Tls {
    pub fn new(variant: u32) -> Self {
        let config = SERVERS[variant as usize % SERVERS.len()].clone();
        Self { server: ServerConnection::new(config).unwrap(), asked: Vec::new(), failed: false }
    }

    /// What it wants to send.
    pub fn take(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut wire).unwrap();
        }
        wire
    }
}

impl Peer for Tls {
    fn answer(&mut self, mut sent: &[u8], script: u32, spoil: Spoil<'_>) -> Vec<u8> {
        while !sent.is_empty() && !self.failed && self.server.read_tls(&mut sent).is_ok() {
            self.failed = self.server.process_new_packets().is_err();
        }
        let before = self.asked.len();
        let _ = self.server.reader().read_to_end(&mut self.asked);
        if !self.server.is_handshaking() && (before < self.asked.len() || script.is_multiple_of(4))
        {
            let answer = match self.server.alpn_protocol() {
                Some(b"h2") => frames::http2(script, spoil),
                _ => http1(script),
            };
            let _ = self.server.writer().write_all(&spoil(Layer::Content, answer));
            if script.is_multiple_of(3) {
                self.server.send_close_notify();
            }
        }
        spoil(Layer::Wire, self.take())
    }
}

/// A name server.
struct Dns {
    over_tcp: bool,
}

impl Peer for Dns {
    fn answer(&mut self, sent: &[u8], script: u32, spoil: Spoil<'_>) -> Vec<u8> {
        let question = if self.over_tcp { sent.get(2..).unwrap_or_default() } else { sent };
        let answer = spoil(Layer::Content, dns(question, script));
        let answer = match self.over_tcp {
            // Whatever the length says, it is there.
            true => [&(answer.len() as u16).to_be_bytes(), answer.as_slice()].concat(),
            false => answer,
        };
        spoil(Layer::Wire, answer)
    }
}

/// An answer to a question.
fn dns(question: &[u8], script: u32) -> Vec<u8> {
    let asked = Message::from_vec(question).ok();
    let id = asked.as_ref().map_or(0, |asked| asked.metadata.id);
    let mut message = Message::new(id, MessageType::Response, OpCode::Query);
    let name = |text: &str| Name::from_ascii(text).unwrap();
    if let Some(asked) = asked.filter(|_| !script.is_multiple_of(7)) {
        message.add_queries(asked.queries.iter().cloned());
    }
    let codes = [
        ResponseCode::NoError,
        ResponseCode::FormErr,
        ResponseCode::NXDomain,
        ResponseCode::Refused,
    ];
    message.metadata.response_code = codes[script as usize / 7 % codes.len()];
    message.metadata.truncation = script.is_multiple_of(5);
    for data in [
        RData::CNAME(CNAME(name("b.example."))),
        RData::A(A([192, 0, 2, 9].into())),
        RData::AAAA(AAAA("2001:db8::1".parse().unwrap())),
        RData::TXT(TXT::new(vec!["text".into(), String::new()])),
        RData::NULL(NULL::with(vec![0; 20])),
    ] {
        message.add_answer(Record::from_rdata(name("a.example."), 60, data.clone()));
        message.add_additional(Record::from_rdata(Name::root(), 0, data));
    }
    message.to_vec().unwrap()
}

/// A host that answers packets made by hand.
struct Segments;

impl Peer for Segments {
    fn answer(&mut self, sent: &[u8], script: u32, spoil: Spoil<'_>) -> Vec<u8> {
        let packet = SlicedPacket::from_ip(sent).ok();
        let v6 = packet.as_ref().is_some_and(|p| matches!(p.net, Some(NetSlice::Ipv6(_))));
        let answer = match packet.and_then(|packet| packet.transport) {
            Some(TransportSlice::Udp(udp)) => dns(udp.payload(), script),
            Some(TransportSlice::Tcp(tcp)) => segment(&tcp.to_header(), script),
            _ => vec![u8::from(v6); script as usize % 64],
        };
        spoil(Layer::Wire, spoil(Layer::Content, answer))
    }
}

/// A segment in answer to one.
fn segment(to: &TcpHeader, script: u32) -> Vec<u8> {
    let mut tcp = TcpHeader::new(to.destination_port, to.source_port, script, 1000);
    tcp.ack = true;
    tcp.syn = !script.is_multiple_of(4);
    tcp.rst = !tcp.syn;
    tcp.acknowledgment_number = to.sequence_number.wrapping_add(script % 3);
    tcp.set_options_raw(&[2, 4, 5, 0xb4, 1, 3, 3, 7]).unwrap();
    let mut octets = Vec::new();
    tcp.write(&mut octets).unwrap();
    octets
}
