//! TLS of a lab's server: one self-signed certificate for the whole lab.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use super::http2::Http2;
use super::web::Web;
use super::{Session, Then};
use crate::error::{Error, Result};

/// The names of the certificate.
const NAMES: [&str; 2] = ["lab.example", "*.lab.example"];

/// A lab's certificate and its key.
pub(crate) struct Identity(CertifiedKey<KeyPair>);

impl Identity {
    /// Generates a new one.
    pub(crate) fn new() -> Result<Self> {
        let names = NAMES.map(str::to_owned);
        generate_simple_self_signed(names)
            .map(Self)
            .map_err(|why| Error::failed("make the lab's certificate", why))
    }

    /// A server's configuration for it. With `h2` it negotiates HTTP/2.
    pub(super) fn config(&self, h2: bool) -> Result<Arc<ServerConfig>> {
        let Self(own) = self;
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)
            })
            .map_err(|why| Error::failed("set up TLS of a lab server", why))?;
        let protocols: &[&[u8]] =
            if h2 { &[b"h2", b"http/1.1", b"http/1.0"] } else { &[b"http/1.1", b"http/1.0"] };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // So that every connection is alike.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

/// One connection.
pub(super) struct Tls {
    tls: ServerConnection,
    inner: Option<Box<dyn Session>>,
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Option<Self> {
        ServerConnection::new(config).ok().map(|tls| Self { tls, inner: None })
    }

    /// Appends what TLS wants to send.
    fn flush(&mut self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        while self.tls.wants_write() && self.tls.write_tls(out).is_ok() {}
    }

    /// Processes decrypted data.
    fn plain(&mut self, out: &mut Vec<u8>) -> Then {
        let (mut buffer, mut answer, mut then) = ([0; 4096], Vec::new(), Then::Wait);
        if self.inner.is_none() && !self.tls.is_handshaking() {
            self.inner = Some(match self.tls.alpn_protocol() {
                Some(b"h2") => Box::new(Http2::new(&mut answer)),
                _ => Box::new(Web::inside_tls()),
            });
        }
        if let Some(inner) = &mut self.inner {
            while then == Then::Wait
                && let Ok(length @ 1..) = self.tls.reader().read(&mut buffer)
            {
                then = inner.data(&buffer[..length], &mut answer);
            }
        }
        // There is room: each part is shorter than what rustls accepts at once.
        for part in answer.chunks(16 << 10) {
            let _ = self.tls.writer().write_all(part);
            self.flush(out);
        }
        if then == Then::Finish {
            self.tls.send_close_notify();
        }
        self.flush(out);
        then
    }
}

impl Session for Tls {
    fn data(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Then {
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes).is_err() {
                return Then::Finish;
            }
            let processed = self.tls.process_new_packets();
            let then = self.plain(out);
            match processed {
                Ok(state) if !state.peer_has_closed() && then == Then::Wait => {}
                _ => return Then::Finish,
            }
        }
        Then::Wait
    }
}

/// A server that rejects every client.
pub(super) struct Refusal;

impl Session for Refusal {
    fn data(&mut self, _: &[u8], out: &mut Vec<u8>) -> Then {
        // A record with an alert: fatal, handshake_failure (RFC 8446, 6.2).
        out.extend_from_slice(&[21, 3, 3, 0, 2, 2, 40]);
        Then::Finish
    }
}
