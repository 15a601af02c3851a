//! What a peer answers when an exchange does not succeed.
//!
//! [`ANSWERS`] is the registry of the words in the column `answer`. An answer is a fact of
//! the peer's protocol (TLS, HTTP, DNS). A reset, refusal or close of the TCP connection is not an
//! answer of a higher layer, so an attempt that ends that way without a single octet has none. Kinds that expect nothing
//! above TCP (`tcp`, `tcp_fastopen`, `mptcp`) never have one: for them the handshake is the only answer, and `ok`
//! reports it. The kind `forge` has one only if the packet is a DNS query.

use arrow_array::{ArrayRef, builder::StringBuilder};
use arrow_schema::DataType;

use crate::field::{Cell, Nullable};

/// A word of [`ANSWERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer(&'static str);

/// One row of the registry of answers.
#[derive(Debug, PartialEq, Eq)]
pub struct AnswerDef {
    /// The answer; its word is what the column holds.
    pub answer: Answer,
    /// What it means.
    pub doc: &'static str,
    /// The protocol's number for it, if there is one.
    code: Option<Code>,
}

/// A number in a peer's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    /// A TLS alert (RFC 8446, 6).
    Alert(u8),
    /// A status code of HTTP, divided by 100 (RFC 9110, 15).
    StatusClass(u16),
    /// An RCODE of DNS (RFC 6895, 2.3).
    Rcode(u16),
}

macro_rules! answers {
    ($($name:ident = $word:literal, $doc:literal $(, $code:expr)?;)*) => {
        $(
            #[doc = $doc]
            pub const $name: Answer = Answer($word);
        )*

        /// Every answer.
        pub static ANSWERS: &[AnswerDef] = &[$(
            AnswerDef { answer: $name, doc: $doc, code: answers!(@code $($code)?) },
        )*];
    };
    (@code) => { None };
    (@code $code:expr) => { Some($code) };
}

answers! {
    ALERT_CLOSE_NOTIFY = "tls_alert:close_notify", "the peer closed the TLS connection in the handshake (RFC 8446, 6.1)", Code::Alert(0);
    ALERT_UNEXPECTED_MESSAGE = "tls_alert:unexpected_message", "TLS alert 10", Code::Alert(10);
    ALERT_BAD_RECORD_MAC = "tls_alert:bad_record_mac", "TLS alert 20", Code::Alert(20);
    ALERT_DECRYPTION_FAILED = "tls_alert:decryption_failed", "TLS alert 21 (RFC 2246)", Code::Alert(21);
    ALERT_RECORD_OVERFLOW = "tls_alert:record_overflow", "TLS alert 22", Code::Alert(22);
    ALERT_DECOMPRESSION_FAILURE = "tls_alert:decompression_failure", "TLS alert 30 (RFC 5246)", Code::Alert(30);
    ALERT_HANDSHAKE_FAILURE = "tls_alert:handshake_failure", "TLS alert 40: the peer accepts nothing that we offer, such as our cipher suites or groups", Code::Alert(40);
    ALERT_NO_CERTIFICATE = "tls_alert:no_certificate", "TLS alert 41 (SSL 3.0)", Code::Alert(41);
    ALERT_BAD_CERTIFICATE = "tls_alert:bad_certificate", "TLS alert 42", Code::Alert(42);
    ALERT_UNSUPPORTED_CERTIFICATE = "tls_alert:unsupported_certificate", "TLS alert 43", Code::Alert(43);
    ALERT_CERTIFICATE_REVOKED = "tls_alert:certificate_revoked", "TLS alert 44", Code::Alert(44);
    ALERT_CERTIFICATE_EXPIRED = "tls_alert:certificate_expired", "TLS alert 45", Code::Alert(45);
    ALERT_CERTIFICATE_UNKNOWN = "tls_alert:certificate_unknown", "TLS alert 46", Code::Alert(46);
    ALERT_ILLEGAL_PARAMETER = "tls_alert:illegal_parameter", "TLS alert 47", Code::Alert(47);
    ALERT_UNKNOWN_CA = "tls_alert:unknown_ca", "TLS alert 48", Code::Alert(48);
    ALERT_ACCESS_DENIED = "tls_alert:access_denied", "TLS alert 49", Code::Alert(49);
    ALERT_DECODE_ERROR = "tls_alert:decode_error", "TLS alert 50", Code::Alert(50);
    ALERT_DECRYPT_ERROR = "tls_alert:decrypt_error", "TLS alert 51", Code::Alert(51);
    ALERT_EXPORT_RESTRICTION = "tls_alert:export_restriction", "TLS alert 60 (RFC 2246)", Code::Alert(60);
    ALERT_PROTOCOL_VERSION = "tls_alert:protocol_version", "TLS alert 70: the peer speaks neither TLS 1.2 nor 1.3", Code::Alert(70);
    ALERT_INSUFFICIENT_SECURITY = "tls_alert:insufficient_security", "TLS alert 71", Code::Alert(71);
    ALERT_INTERNAL_ERROR = "tls_alert:internal_error", "TLS alert 80", Code::Alert(80);
    ALERT_INAPPROPRIATE_FALLBACK = "tls_alert:inappropriate_fallback", "TLS alert 86 (RFC 7507)", Code::Alert(86);
    ALERT_USER_CANCELED = "tls_alert:user_canceled", "TLS alert 90", Code::Alert(90);
    ALERT_NO_RENEGOTIATION = "tls_alert:no_renegotiation", "TLS alert 100 (RFC 5246)", Code::Alert(100);
    ALERT_MISSING_EXTENSION = "tls_alert:missing_extension", "TLS alert 109", Code::Alert(109);
    ALERT_UNSUPPORTED_EXTENSION = "tls_alert:unsupported_extension", "TLS alert 110", Code::Alert(110);
    ALERT_CERTIFICATE_UNOBTAINABLE = "tls_alert:certificate_unobtainable", "TLS alert 111 (RFC 6066)", Code::Alert(111);
    ALERT_UNRECOGNIZED_NAME = "tls_alert:unrecognized_name", "TLS alert 112: the peer has no server of the target's name (RFC 6066, 3)", Code::Alert(112);
    ALERT_BAD_CERTIFICATE_STATUS_RESPONSE = "tls_alert:bad_certificate_status_response", "TLS alert 113 (RFC 6066)", Code::Alert(113);
    ALERT_BAD_CERTIFICATE_HASH_VALUE = "tls_alert:bad_certificate_hash_value", "TLS alert 114 (RFC 6066)", Code::Alert(114);
    ALERT_UNKNOWN_PSK_IDENTITY = "tls_alert:unknown_psk_identity", "TLS alert 115", Code::Alert(115);
    ALERT_CERTIFICATE_REQUIRED = "tls_alert:certificate_required", "TLS alert 116: the peer demands a certificate of the client", Code::Alert(116);
    ALERT_NO_APPLICATION_PROTOCOL = "tls_alert:no_application_protocol", "TLS alert 120: the peer speaks none of the protocols offered by ALPN (RFC 7301)", Code::Alert(120);
    ALERT_ECH_REQUIRED = "tls_alert:ech_required", "TLS alert 121 (RFC 9849)", Code::Alert(121);
    ALERT_OTHER = "tls_alert:other", "a TLS alert with any other number";
    TLS_PLAIN_HTTP = "tls:plain_http", "HTTP without encryption instead of TLS: a web server without TLS, or a page that a middlebox injected";
    TLS_NOT_TLS = "tls:not_tls", "octets that are neither TLS nor HTTP instead of TLS";
    TLS_MALFORMED = "tls:malformed", "TLS that cannot be decoded, decrypted or verified, or that violates the protocol";
    TLS_VERSION = "tls:version", "the peer chose a version of TLS other than 1.2 and 1.3";
    TLS_UNSUPPORTED = "tls:unsupported", "the peer chose something that was not offered, such as a cipher suite or group";
    TLS_CERTIFICATE = "tls:certificate", "the peer's certificate cannot be parsed, or its signature of the handshake cannot be verified";
    TLS_ALPN = "tls:alpn", "the peer chose a version of HTTP that the measurement does not request, or none (ALPN, RFC 7301)";
    TLS_TOO_LONG = "tls:too_long", "the peer sent more octets than are read from any target";
    TLS_INCOMPLETE = "tls:incomplete", "a TLS handshake began, but did not complete before the connection closed or the attempt timed out";
    TLS_NO_RESPONSE = "tls:no_response", "the TLS handshake completed, but no octet of a response came";
    HTTP_3XX = "http:3xx", "a complete response that redirects", Code::StatusClass(3);
    HTTP_4XX = "http:4xx", "a complete response that reports a client error, such as 403 or 451", Code::StatusClass(4);
    HTTP_5XX = "http:5xx", "a complete response that reports a server error, such as 503", Code::StatusClass(5);
    HTTP_OTHER_STATUS = "http:other_status", "a complete response with a status from 600 to 999";
    HTTP_NOT_HTTP = "http:not_http", "octets that do not begin with HTTP/";
    HTTP_MALFORMED_STATUS = "http:malformed_status", "a status line without a status from 100 to 999, or with a version other than 1.0, 1.1 and 2";
    HTTP_MALFORMED_FIELD = "http:malformed_field", "a field without a colon, a field with a NUL, or a Content-Length that is not a number";
    HTTP_TOO_LONG = "http:too_long", "a header of more than 300 kB";
    HTTP_INCOMPLETE = "http:incomplete", "a response began, but its header did not end before the timeout or a reset; or the connection was closed before the end of the status line";
    HTTP_NO_UPGRADE = "http:no_upgrade", "a response in HTTP/1 to a request for an upgrade to HTTP/2";
    HTTP_UNASKED_UPGRADE = "http:unasked_upgrade", "a switch to another protocol (101) that was not requested";
    HTTP2_NOT_HTTP2 = "http2:not_http2", "octets that are not HTTP/2 instead of HTTP/2";
    HTTP2_MALFORMED = "http2:malformed", "HTTP/2 that cannot be decoded or that violates the protocol";
    HTTP2_RESET = "http2:reset", "the peer reset the stream (RST_STREAM) before a response";
    HTTP2_GOAWAY = "http2:goaway", "the peer ended the connection (GOAWAY) before a response";
    HTTP2_TOO_LONG = "http2:too_long", "more octets than are read from any target, without a response";
    HTTP2_INCOMPLETE = "http2:incomplete", "the peer spoke HTTP/2, but sent no response before the connection closed or the attempt timed out";
    DNS_FORMERR = "dns:formerr", "RCODE 1: the server cannot parse the query", Code::Rcode(1);
    DNS_SERVFAIL = "dns:servfail", "RCODE 2: the server failed", Code::Rcode(2);
    DNS_NXDOMAIN = "dns:nxdomain", "RCODE 3: there is no such name", Code::Rcode(3);
    DNS_NOTIMP = "dns:notimp", "RCODE 4: the server does not support this kind of query", Code::Rcode(4);
    DNS_REFUSED = "dns:refused", "RCODE 5: the server refuses this client or this name", Code::Rcode(5);
    DNS_BADVERS = "dns:badvers", "RCODE 16: the server does not support this version of EDNS (RFC 6891, 9)", Code::Rcode(16);
    DNS_OTHER_RCODE = "dns:other_rcode", "any other RCODE except 0";
    DNS_BAD_ANSWER = "dns:bad_answer", "a message that answers the query but cannot be parsed";
    DNS_INCOMPLETE = "dns:incomplete", "over TCP, a message that was not complete when the connection closed or the attempt timed out";
    DNS_TOO_LONG = "dns:too_long", "over TCP, more octets than are read from any target, without an answer";
}

impl Answer {
    /// The word in the `answer` column.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The answer for a TLS alert.
    pub(super) fn of_alert(number: u8) -> Self {
        Self::of(Code::Alert(number)).unwrap_or(ALERT_OTHER)
    }

    /// The answer for a complete response with this status; `None` for a success.
    pub(super) fn of_status(status: u16) -> Option<Self> {
        match status / 100 {
            0..=2 => None,
            class => Some(Self::of(Code::StatusClass(class)).unwrap_or(HTTP_OTHER_STATUS)),
        }
    }

    /// The answer for an RCODE; `None` if it is not an error.
    pub(super) fn of_rcode(rcode: u16) -> Option<Self> {
        match rcode {
            0 => None,
            _ => Some(Self::of(Code::Rcode(rcode)).unwrap_or(DNS_OTHER_RCODE)),
        }
    }

    fn of(code: Code) -> Option<Self> {
        ANSWERS.iter().find(|row| row.code == Some(code)).map(|row| row.answer)
    }
}

impl Cell for Answer {
    type Column = StringBuilder;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut StringBuilder) {
        column.append_value(self.as_str());
    }
    fn finish(column: &mut StringBuilder) -> ArrayRef {
        std::sync::Arc::new(column.finish())
    }
}

impl Nullable for Answer {
    fn append_null(column: &mut StringBuilder) {
        column.append_null();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_unique_and_every_number_has_one() {
        let words: HashSet<&str> = ANSWERS.iter().map(|row| row.answer.as_str()).collect();
        assert_eq!(words.len(), ANSWERS.len());
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        for row in ANSWERS {
            let (layer, what) = row.answer.as_str().split_once(':').unwrap();
            assert!(["tls_alert", "tls", "http", "http2", "dns"].contains(&layer), "{layer}");
            assert!(what.bytes().all(fits) && !row.doc.is_empty(), "{what}");
        }
        assert_eq!(Answer::of_alert(40).as_str(), "tls_alert:handshake_failure");
        assert_eq!(Answer::of_alert(255), ALERT_OTHER);
        assert_eq!(Answer::of_rcode(0), None);
        assert_eq!(Answer::of_rcode(5), Some(DNS_REFUSED));
        assert_eq!(Answer::of_rcode(9), Some(DNS_OTHER_RCODE));
        assert_eq!(
            [200, 302, 451, 503, 999].map(Answer::of_status),
            [None, Some(HTTP_3XX), Some(HTTP_4XX), Some(HTTP_5XX), Some(HTTP_OTHER_STATUS),]
        );
    }

    #[test]
    fn every_alert_that_tls_names_has_its_own_word() {
        let named = (0..=u8::MAX)
            .filter(|number| rustls::AlertDescription::from(*number).as_str().is_some());
        for number in named {
            assert_ne!(Answer::of_alert(number), ALERT_OTHER, "{number}");
        }
    }
}
