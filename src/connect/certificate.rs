//! Facts about a server's certificate that need no trust anchor and no clock.
//!
//! Nothing here is a verdict: whether a certificate is valid depends on the reader's trust anchors. A
//! measurement needs to know whether it is the same everywhere, and for which name it is.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::facts::Reply;
use crate::field::Timestamp;
use crate::hex::hex;

/// Records the facts of a server's own certificate; what cannot be parsed stays NULL.
pub(super) fn note(reply: &mut Reply, certificate: &CertificateDer<'_>, target: &ServerName<'_>) {
    let digest = Sha256::digest(certificate);
    reply.tls_cert_sha256 = Some(hex(&digest));
    if let Ok(parsed) = ParsedCertificate::try_from(certificate) {
        let matches = rustls::client::verify_server_name(&parsed, target);
        reply.tls_cert_matches = Some(matches.is_ok());
    }
    if let Ok((_, parsed)) = X509Certificate::from_der(certificate) {
        let own = parsed.subject() == parsed.issuer() && parsed.verify_signature(None).is_ok();
        reply.tls_cert_self_signed = Some(own);
        let validity = parsed.validity();
        reply.tls_cert_from = Some(time(validity.not_before.timestamp()));
        reply.tls_cert_until = Some(time(validity.not_after.timestamp()));
    }
}

/// Seconds as nanoseconds, saturating.
fn time(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_self_signed_certificate() {
        let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        for (name, matches) in [("a.example", true), ("b.example", false), ("192.0.2.1", false)] {
            let mut reply = Reply::default();
            note(&mut reply, own.cert.der(), &ServerName::try_from(name).unwrap());
            assert_eq!(reply.tls_cert_matches, Some(matches), "{name}");
            assert_eq!(reply.tls_cert_self_signed, Some(true));
            assert_eq!(reply.tls_cert_sha256.map(|digest| digest.len()), Some(64));
            // 1975 and 4096.
            assert_eq!(reply.tls_cert_from, Some(Timestamp(157_766_400_000_000_000)));
            assert_eq!(reply.tls_cert_until, Some(Timestamp(i64::MAX)));
        }
    }

    #[test]
    fn an_invalid_certificate_has_only_a_digest() {
        let name = ServerName::try_from("a.example").unwrap();
        let mut reply = Reply::default();
        note(&mut reply, &CertificateDer::from(&b"no"[..]), &name);
        assert!(reply.tls_cert_sha256.is_some());
        assert_eq!(Reply { tls_cert_sha256: None, ..reply }, Reply::default());
    }

    #[test]
    fn a_certificate_signed_by_another_is_not_self_signed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::CertificateParams::new(["ca.example".to_owned()]).unwrap();
        let issuer = rcgen::Issuer::new(issuer, rcgen::KeyPair::generate().unwrap());
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let signed = params.signed_by(&key, &issuer).unwrap();
        let mut reply = Reply::default();
        note(&mut reply, signed.der(), &ServerName::try_from("a.example").unwrap());
        assert_eq!(reply.tls_cert_self_signed, Some(false));
    }
}
