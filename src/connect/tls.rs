//! Kind `https`, and `h2` over TLS: one request over TLS (RFC 8446, RFC 5246).
//!
//! TLS is rustls without sockets. The server's certificate is neither trusted nor refused: a
//! measurement observes the path, and an interceptor may present a certificate of its own. That the server
//! holds the certificate's key is verified, since otherwise the recorded facts would prove
//! nothing.
//!
//! # Memory
//!
//! At most `MOST_TLS` octets (492 KiB) are read from any target, so neither a handshake message of any stated length (rustls
//! itself holds at most 64 KiB of one) nor endless records or alerts can grow beyond that. Decrypted octets are drained
//! at once, and bounded as in [`http`]. The certificate is parsed in place; a digest and five facts
//! of it are kept.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, NamedGroup, ProtocolVersion, SignatureScheme};

use super::answer::{
    Answer, TLS_ALPN, TLS_CERTIFICATE, TLS_INCOMPLETE, TLS_MALFORMED, TLS_NO_RESPONSE, TLS_NOT_TLS,
    TLS_PLAIN_HTTP, TLS_TOO_LONG, TLS_UNSUPPORTED, TLS_VERSION,
};
use super::certificate;
use super::cost::{Part, reading, segment, stream};
use super::facts::{Reply, Stage, State};
use super::http::{self, Exchange, MOST_HEAD, Protocol, Request};
use super::kind::{KindDef, Started};
use super::machine::{Action, Ending, Event, Machine, Peer};
use super::options::{
    ALPN, GROUP, GROUPS, METHOD, Options, PATH, READ, REQUEST_OCTETS, TFO, VERSION, alpn_of,
};
use super::tcp::MOST_BYTES;

/// The row of the kind.
pub(super) const KIND: KindDef = KindDef {
    name: "https",
    doc: "request a page by HTTP over TLS; the certificate is recorded, not trusted",
    port: 443,
    options: &[&TFO, &ALPN, &GROUP, &VERSION, &METHOD, &PATH, &REQUEST_OCTETS, &READ],
    versions: &["1.1", "1.0", "h2"],
    columns: &[
        "http_status",
        "http_version",
        "http_body",
        "http_octets",
        "time_to_first_octet",
        "goodput",
        "tls_version",
        "tls_cipher",
        "tls_group",
        "tls_alpn",
        "tls_cert_sha256",
        "tls_cert_matches",
        "tls_cert_self_signed",
        "tls_cert_from",
        "tls_cert_until",
    ],
    most_read: |options| options.most_read(MOST_TLS),
    memory: 16 * MOST_BYTES,
    start: |options, peer| start(options, options.word(&VERSION), peer),
    cost,
    ..http::KIND
};

/// The machine for a request over TLS.
pub(super) fn start(options: &Options, version: Option<&'static str>, peer: Peer<'_>) -> Started {
    Ok(Box::new(Tls::new(options, version, Request::new(options, peer, "https")?)?))
}

/// The packets of a request over TLS.
pub(super) fn cost(options: &Options, timeout: Duration) -> Vec<Part> {
    let segment = |packet, data, why| segment(timeout, packet, data, why);
    let retry = segment(
        "second ClientHello",
        310,
        "only to a server that requests another group than the first",
    );
    let parts = vec![
        segment("ClientHello", 270, "fits a segment, by the choice of groups for the key exchange"),
        Part { usual: 0, ..retry },
        segment("end of the TLS handshake", 80, "with the request, or before it"),
        http::request(options, timeout, 200, "with replies to HTTP/2 settings, where it is spoken"),
        segment("alert that ends TLS", 24, "before the FIN, or with it"),
    ];
    reading(stream(timeout, options.most_read(MOST_TLS), parts), options.read())
}

/// The beginning of plain HTTP.
const HTTP: &[u8] = b"HTTP/";
/// Octets of TLS read from any target: a handshake, a header, content, and the framing of small records.
pub(super) const MOST_TLS: usize = 3 * MOST_BYTES + MOST_HEAD;

/// One request over TLS.
pub struct Tls {
    tls: ClientConnection,
    server: ServerName<'static>,
    request: Request,
    /// The required version of HTTP, if any.
    version: Option<&'static str>,
    /// The request, once the handshake is done.
    exchange: Option<Exchange>,
    /// The facts of the handshake.
    reply: Reply,
    connected: bool,
    begun: bool,
    /// Octets received, and the most.
    bytes: usize,
    most: usize,
    /// The time since the attempt began.
    elapsed: Duration,
    /// The first few of them.
    start: Vec<u8>,
}

impl Tls {
    /// The machine for a request; `version` is the required version of HTTP, if any.
    ///
    /// # Errors
    ///
    /// If the target's name is not valid in a handshake; in the words of the `error` column.
    pub(super) fn new(
        options: &Options,
        version: Option<&'static str>,
        request: Request,
    ) -> Result<Self, &'static str> {
        const WRONG: &str = "Target's name is not a valid host name";
        let server = ServerName::try_from(request.server().to_owned()).map_err(|_| WRONG)?;
        let config = config(options, version).map_err(|_| "TLS cannot be set up")?;
        let tls = ClientConnection::new(Arc::new(config), server.clone()).map_err(|_| WRONG)?;
        Ok(Self {
            tls,
            server,
            request,
            version,
            exchange: None,
            reply: Reply::default(),
            connected: false,
            begun: false,
            bytes: 0,
            most: options.most_read(MOST_TLS),
            elapsed: Duration::ZERO,
            start: Vec::new(),
        })
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.flush(out);
        }
    }

    /// Appends what TLS wants to send.
    fn flush(&mut self, out: &mut Vec<u8>) {
        while self.tls.wants_write() {
            // Writing to memory cannot fail.
            if self.tls.write_tls(out).is_err() {
                return;
            }
        }
    }

    /// Encrypts octets and appends them.
    fn say(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        for part in plain.chunks(16 << 10) {
            // There is room: earlier data is flushed.
            let _ = self.tls.writer().write_all(part);
            self.flush(out);
        }
    }

    fn data(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Option<Ending> {
        let (allowed, over) = bytes.split_at(bytes.len().min(self.most - self.bytes));
        let too_much = !over.is_empty();
        self.bytes += allowed.len();
        bytes = allowed;
        let room = HTTP.len() - self.start.len();
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        while !bytes.is_empty() {
            match self.tls.read_tls(&mut bytes) {
                Ok(0) | Err(_) => {
                    return Some(self.broken("Peer's TLS is too long".into(), TLS_TOO_LONG));
                }
                Ok(_) => {}
            }
            let processed = self.tls.process_new_packets();
            // Includes the alert that reports an error.
            self.flush(out);
            if let Some(ending) = self.plain(out) {
                return Some(ending);
            }
            match processed {
                Ok(state) if state.peer_has_closed() => {
                    return Some(self.stopped(Event::PeerClosed, out));
                }
                Ok(_) => {}
                Err(why) => {
                    let answer = self.answer(&why);
                    return Some(self.broken(word(&why), answer));
                }
            }
        }
        too_much.then(|| self.broken("Peer sent too much".into(), TLS_TOO_LONG))
    }

    /// Sends the request once the handshake is done, and handles decrypted octets.
    fn plain(&mut self, out: &mut Vec<u8>) -> Option<Ending> {
        if self.exchange.is_none() {
            if self.tls.is_handshaking() {
                return None;
            }
            self.note();
            let protocol = match self.protocol() {
                Ok(protocol) => protocol,
                Err(word) => return Some(self.broken(word.into(), TLS_ALPN)),
            };
            let mut exchange = Exchange::new(self.request.clone(), protocol, Some(TLS_NO_RESPONSE));
            let mut request = Vec::new();
            exchange.set_elapsed(self.elapsed);
            exchange.begin(&mut request);
            self.exchange = Some(exchange);
            self.say(&request, out);
        }
        let mut buffer = [0; 4096];
        loop {
            // An error means that there is no more data, now or for good; other calls report which.
            let length = match self.tls.reader().read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(length) => length,
            };
            let (mut answer, reply) = (Vec::new(), self.reply.clone());
            let exchange = self.exchange.as_mut()?;
            let ending = exchange.handle(Event::Data(&buffer[..length]), reply, &mut answer);
            self.say(&answer, out);
            if ending.is_some() {
                self.tls.send_close_notify();
                self.flush(out);
                return ending;
            }
        }
    }

    /// Records the facts of the handshake.
    fn note(&mut self) {
        let Self { tls, reply, server, .. } = self;
        reply.tls_version = tls.protocol_version().and_then(|version| match version {
            ProtocolVersion::TLSv1_2 => Some("1.2"),
            ProtocolVersion::TLSv1_3 => Some("1.3"),
            _ => None,
        });
        let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        // rustls writes TLS13, the IANA registry TLS.
        reply.tls_cipher = suite.map(|suite| match suite {
            "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
            "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
            "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
            other => other,
        });
        let group = tls.negotiated_key_exchange_group();
        reply.tls_group = group.and_then(|group| group_word(group.name()));
        let alpn = tls.alpn_protocol();
        reply.tls_alpn = alpn.map(|alpn| String::from_utf8_lossy(alpn).into_owned());
        if let Some([own, ..]) = tls.peer_certificates() {
            certificate::note(reply, own, server);
        }
    }

    /// The version of HTTP to use, given the negotiated protocol.
    fn protocol(&self) -> Result<Protocol, &'static str> {
        let http2 = self.tls.alpn_protocol() == Some(b"h2");
        match self.version {
            Some("h2") if !http2 => Err("Peer did not agree to HTTP/2"),
            Some("h2") | None if http2 => Ok(Protocol::Http2),
            _ if http2 => Err("Peer did not agree to HTTP/1"),
            Some("1.0") => Ok(Protocol::Http1 { minor: 0 }),
            _ => Ok(Protocol::Http1 { minor: 1 }),
        }
    }

    fn broken(&mut self, error: Cow<'static, str>, answer: Answer) -> Ending {
        let reply = self.reply.clone();
        if let Some(exchange) = &mut self.exchange {
            return exchange.broken(error, answer, reply);
        }
        let reply = (reply != Reply::default()).then(|| Box::new(reply));
        let (state, stage) = (State::Failed, Stage::Tls);
        Ending { state, stage, error: Some(error), answer: Some(answer), reply }
    }

    /// The ending for an event that always ends the attempt.
    fn stopped(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Ending {
        let ending = match &mut self.exchange {
            Some(exchange) => exchange.handle(event, self.reply.clone(), out),
            None => None,
        };
        // Without an octet of TLS, only the end of the connection was received.
        let begun = (self.bytes > 0).then_some(TLS_INCOMPLETE);
        ending.unwrap_or_else(|| match event {
            Event::Failed(fault) if fault.local => Ending::failed(fault, Stage::Tls),
            Event::Failed(fault) => Ending::failed(fault, Stage::Tls).answered(begun),
            Event::TimedOut => Ending::new(State::Timeout, Stage::Tls, None).answered(begun),
            _ => {
                let word = "Peer closed in the TLS handshake";
                Ending::new(State::Failed, Stage::Tls, Some(word)).answered(begun)
            }
        })
    }

    /// The peer's answer that an error of TLS stands for.
    fn answer(&self, why: &rustls::Error) -> Answer {
        use rustls::{InvalidMessage, PeerIncompatible};
        match why {
            rustls::Error::AlertReceived(alert) => Answer::of_alert(u8::from(*alert)),
            rustls::Error::InvalidMessage(_) if self.start.eq_ignore_ascii_case(HTTP) => {
                TLS_PLAIN_HTTP
            }
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) if !self.is_tls() => TLS_NOT_TLS,
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => TLS_VERSION,
            rustls::Error::PeerIncompatible(_) => TLS_UNSUPPORTED,
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                TLS_CERTIFICATE
            }
            rustls::Error::PeerSentOversizedRecord => TLS_TOO_LONG,
            _ => TLS_MALFORMED,
        }
    }

    /// Whether the received octets begin like a record: its type, and the first octet of its version (RFC 8446, 5.1).
    fn is_tls(&self) -> bool {
        matches!(self.start.as_slice(), [20..=24, 3, ..])
    }
}

impl Machine for Tls {
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
        if !self.connected {
            return match event {
                Event::Connected => {
                    self.connected = true;
                    self.begin(out);
                    Action::Wait
                }
                Event::Failed(fault) => Action::Close(Ending::failed(fault, Stage::Connect)),
                Event::TimedOut => Action::Close(Ending::new(State::Timeout, Stage::Connect, None)),
                Event::Data(_) | Event::PeerClosed => Action::Wait,
            };
        }
        let ending = match event {
            Event::Connected => None,
            Event::Data(bytes) => self.data(bytes, out),
            _ => Some(self.stopped(event, out)),
        };
        ending.map_or(Action::Wait, Action::Close)
    }

    fn stage(&self) -> Stage {
        match &self.exchange {
            _ if !self.connected => Stage::Connect,
            None => Stage::Tls,
            Some(exchange) => exchange.stage(),
        }
    }

    fn early(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
    }

    fn set_elapsed(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        if let Some(exchange) = &mut self.exchange {
            exchange.set_elapsed(elapsed);
        }
    }
}

/// The word in [`GROUPS`] for a group of rustls.
fn group_word(group: NamedGroup) -> Option<&'static str> {
    match group {
        NamedGroup::X25519 => Some("x25519"),
        NamedGroup::secp256r1 => Some("secp256r1"),
        NamedGroup::secp384r1 => Some("secp384r1"),
        _ => None,
    }
}

fn config(options: &Options, version: Option<&'static str>) -> Result<ClientConfig, rustls::Error> {
    let mut provider = ring::default_provider();
    // Every group that servers are known to insist on. Only the first has a key share, so that the
    // ClientHello fits a segment; a server that wants another group requests it (RFC 8446, 4.1.4).
    let default: Vec<&str> = GROUPS.iter().map(|(word, _)| *word).collect();
    let groups = options.words(&GROUP).unwrap_or(&default);
    let all = std::mem::take(&mut provider.kx_groups);
    let named = |word: &&str| all.iter().find(|group| group_word(group.name()) == Some(word));
    // Duplicates are offered once.
    let first = |(place, word): &(usize, &&str)| !groups[..*place].contains(word);
    let groups = groups.iter().enumerate().filter(first).filter_map(|(_, word)| named(word));
    provider.kx_groups = groups.copied().collect();
    let provider = Arc::new(provider);
    let verifier = Arc::new(AcceptAny(Arc::clone(&provider)));
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoClock))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let offered = match (options.texts(&ALPN), version) {
        (Some(alpn), _) => alpn.iter().map(|name| name.clone().into_bytes()).collect(),
        (None, Some(version)) => vec![alpn_of(version).into()],
        (None, None) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    config.alpn_protocols = offered;
    Ok(config)
}

/// rustls needs the time only for tickets, which are not kept, and for trust in certificates.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// Accepts any certificate whose key the server holds.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An error of TLS in the words of the `error` column. None contains octets from the peer.
fn word(why: &rustls::Error) -> Cow<'static, str> {
    match why {
        rustls::Error::AlertReceived(alert) => {
            let number = u8::from(*alert);
            let word = Answer::of_alert(number).as_str().trim_start_matches("tls_alert:");
            match word {
                "other" => format!("Peer's TLS alert: {number}").into(),
                _ => format!("Peer's TLS alert: {word}").into(),
            }
        }
        rustls::Error::InvalidMessage(_) => "Peer's answer is not TLS".into(),
        rustls::Error::PeerMisbehaved(how) => format!("Peer violated TLS: {}", variant(how)).into(),
        rustls::Error::PeerIncompatible(how) => {
            format!("Peer's TLS is incompatible: {}", variant(how)).into()
        }
        rustls::Error::InvalidCertificate(how) => {
            format!("Peer's certificate is unusable: {}", variant(how)).into()
        }
        _ => "TLS failed".into(),
    }
}

/// The name of an error's variant, without its fields: those may contain any number of the peer's octets.
fn variant(error: &impl std::fmt::Debug) -> String {
    struct Name(String);
    impl std::fmt::Write for Name {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let end = text.find(|letter: char| !letter.is_ascii_alphanumeric());
            self.0.push_str(&text[..end.unwrap_or(text.len())]);
            // Stops here: the rest is not formatted at all.
            end.map_or(Ok(()), |_| Err(std::fmt::Error))
        }
    }
    let mut name = Name(String::new());
    let _ = std::fmt::Write::write_fmt(&mut name, format_args!("{error:?}"));
    name.0
}

#[cfg(test)]
mod tests;
