//! The facts of one attempt: what the engine knows about it, and what the target replied.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::{ArrayRef, builder::StringBuilder};
use arrow_schema::DataType;

use super::answer::Answer;
use crate::barrier::INTERNAL_ERROR;
use crate::field::{Cell, FieldDef, FilledBy, Row as _, Timestamp, fields};

/// How an attempt ended. The words are the `state` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// The connection was established, and the kind's exchange succeeded.
    Ok,
    /// The path or the target refused: reset, unreachable, prohibited, an invalid answer.
    Failed,
    /// No answer within the timeout.
    Timeout,
    /// This host could not try: no port, descriptor, buffer or route. Says nothing about the path.
    #[default]
    LocalError,
    /// Nothing was sent: the target's version of IP lacks the feature, the configuration's steps are for the other
    /// version, or the probe before all configurations found the target down.
    Skipped,
}

impl State {
    /// Whether something was sent to the target, or the path refused the attempt: only then does the attempt say
    /// anything about the target.
    pub fn is_conclusive(self) -> bool {
        !matches!(self, State::LocalError | State::Skipped)
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
            State::Skipped => "skipped",
        }
    }
}

/// How far an attempt got. The words are the `stage` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The target's name was being looked up, or was next.
    Resolve,
    /// The connection was being opened.
    #[default]
    Connect,
    /// The TLS handshake was in progress.
    Tls,
    /// The request was being sent.
    Request,
    /// The response was awaited or being read.
    Response,
    /// The kind's whole exchange was done.
    Done,
}

impl Stage {
    /// The word in the `stage` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Resolve => "resolve",
            Stage::Connect => "connect",
            Stage::Tls => "tls",
            Stage::Request => "request",
            Stage::Response => "response",
            Stage::Done => "done",
        }
    }
}

macro_rules! word_cell {
    ($($type:ty)*) => {$(
        impl Cell for $type {
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
    )*};
}

word_cell! { State Stage }

fields! {
    /// What the engine knows about one connection attempt.
    pub struct Attempt, AttemptColumns: Engine;
    "attempt" {
        /// Whether the connection was established and the kind's exchange succeeded. NULL if this
        /// host could not try, had nothing to send, or if the error is `internal error`.
        ok: Option<bool>,
        /// How the attempt ended: `ok`, `failed`, `timeout`, `local_error`, or `skipped` if nothing was sent because the
        /// target's version of IP lacks the feature, the steps are for the other version, or a probe found the target down.
        state: State,
        /// How far it got: it stopped at `resolve`, `connect`, `tls`, `request` or `response`, or was `done`.
        stage: Stage,
        /// What went wrong, in the operating system's or the protocol's words: `Connection refused`; NULL if
        /// nothing did. `internal error` is a bug in this program: nothing is concluded from the attempt.
        error: Option<Cow<'static, str>>,
        /// What the peer answered in TLS, HTTP or DNS instead of a success: `tls_alert:handshake_failure`,
        /// `http:malformed_field`, `dns:refused` and so on. NULL if the exchange succeeded, or if nothing came at that
        /// layer: a reset or a refusal by TCP is not an answer. With `ok` true it is a complete negative answer
        /// (`http:4xx`, `dns:refused`).
        answer: Option<Answer>,
        /// When the connection was started (UTC).
        started: Timestamp,
        /// When the attempt ended (UTC).
        ended: Timestamp,
        /// Nanoseconds from `started` to `ended` by the clock of this host: negative if it was set back in between
        /// (flag `clock_step`). NULL if nothing was started.
        duration: Option<i64>,
        /// Version of IP of the target's address: 4 or 6.
        ip_version: Option<u8> = (4, 6),
        /// The source port that the engine chose: together with the target's address and port, the flow key.
        source_port: Option<u16> = (1, 65_535),
    }
}

fields! {
    /// What the target replied, as far as a kind of connection keeps it. The kinds in use
    /// ([`KindDef::columns`](super::kind::KindDef::columns)) and `[connect.after] keep` decide which of these
    /// columns a record has. Texts are as the network sent them, control characters included: code
    /// that prints one to a terminal must escape them first.
    #[derive(PartialEq)]
    pub struct Reply, ReplyColumns: Reply;
    "http" {
        /// Status code of the final response (RFC 9110, 15).
        http_status: Option<u16> = (100, 999),
        /// Version of HTTP that the response came in: `1.0`, `1.1` or `2`.
        http_version: Option<&'static str>,
        /// The first 256 octets of the response's content, with invalid UTF-8 replaced by U+FFFD;
        /// NULL if none was requested (HEAD).
        http_body: Option<String>,
        /// Octets of the response's content that were read, at most as many as `read` allows; NULL if none was requested
        /// (HEAD).
        http_octets: Option<u64>,
        /// Nanoseconds from the request, when it was handed to the kernel, to the first octet of the response, when it was
        /// read; over HTTP/2, to the end of the response's header. Over TLS the request follows the handshake.
        time_to_first_octet: Option<u64>,
        /// Octets of content per second: those that were read after the first read of content, divided by the time between
        /// the first read and the last. By this program's clock, so a busy host makes it lower. NULL if all content came in
        /// one read.
        goodput: Option<u64>,
    }
    "tls" {
        /// The negotiated version of TLS: `1.2` or `1.3`.
        tls_version: Option<&'static str>,
        /// The negotiated cipher suite, by its IANA name.
        tls_cipher: Option<&'static str>,
        /// Group of the key exchange: `x25519`, `secp256r1` or `secp384r1`.
        tls_group: Option<&'static str>,
        /// Protocol that the server chose from those offered (ALPN, RFC 7301); NULL if none.
        tls_alpn: Option<String>,
        /// SHA-256 of the server's own certificate in hexadecimal: a different one under another configuration
        /// means a different server, or an interceptor. The certificate is not trusted and need not be.
        tls_cert_sha256: Option<String>,
        /// Whether the certificate is for the target's name (RFC 9525), or for its address if it has no name.
        tls_cert_matches: Option<bool>,
        /// Whether the certificate is signed with its own key.
        tls_cert_self_signed: Option<bool>,
        /// Start of the certificate's validity (RFC 5280, 4.1.2.5).
        tls_cert_from: Option<Timestamp>,
        /// End of the certificate's validity; the year 2262 if later.
        tls_cert_until: Option<Timestamp>,
    }
    "dns" {
        /// RCODE of the answer (RFC 1035, 4.1.1), with the upper bits that EDNS adds: 0 means no error.
        dns_reply_rcode: Option<u16> = (0, 4_095),
        /// Resource records in the answer's answer section.
        dns_reply_answers: Option<u32> = (0, 65_535),
        /// Addresses in the answer's answer section, sorted, separated by spaces, at most 32.
        dns_reply_addresses: Option<String>,
        /// Octets of the answer: the message alone, without the headers of UDP and IP or the length before it over TCP.
        dns_reply_octets: Option<u16>,
        /// TC bit of the answer: it was truncated to fit a datagram.
        dns_reply_truncated: Option<bool>,
        /// AA bit of the answer: the server is authoritative for the name.
        dns_reply_authoritative: Option<bool>,
        /// Version of EDNS in the answer's OPT record (RFC 6891, 6.1.3); NULL if the answer has no such record, or
        /// none that can be read.
        dns_reply_edns_version: Option<u8>,
        /// The 16 flags of the answer's OPT record, as a number; NULL likewise.
        dns_reply_edns_flags: Option<u16>,
        /// The flag DO of the answer's OPT record (RFC 3225); NULL likewise.
        dns_reply_edns_do: Option<bool>,
        /// The largest message in octets that the server can receive over UDP, as its OPT record says; NULL likewise.
        dns_reply_edns_buffer: Option<u16>,
        /// Octets of the option Padding of the answer's OPT record (RFC 7830); NULL if it has none.
        dns_reply_edns_padding: Option<u16>,
        /// Messages skipped because their identifier or question is not ours (RFC 5452, 9.1): wrong
        /// answers, or another host's guesses.
        dns_reply_mismatched: Option<u32>,
        /// Whether the answer repeats the question's name with the random case of each letter as it was
        /// sent (draft-vixie-dnsext-dns0x20). An answer that does not counts only if no better match arrives before the
        /// timeout, and no wrong message came. NULL over TCP, where the case is not random, or if the answer has no
        /// question.
        dns_reply_case_kept: Option<bool>,
    }
    "forge" {
        /// Packets from the target's port to ours that do not answer the packet and were skipped: they acknowledge
        /// something else, or have a different identifier or question (RFC 5452, 9.1). NULL if nothing was sent.
        forge_unexpected: Option<u32>,
        /// TCP options of the SYN-ACK in their order: the kind of each and, of the kinds 253 and 254, the first two octets
        /// of its ExID (RFC 6994) in hexadecimal: `2 253:abcd 3`. NULL without a SYN-ACK.
        forge_syn_ack_options: Option<String>,
        /// Whether the SYN-ACK has every option of the kinds 253 and 254 that the packet had, by kind and the first two
        /// octets of its ExID. NULL without a SYN-ACK, or if the packet had none.
        forge_exid_echoed: Option<bool>,
    }
}

/// Columns of replies, one row per attempt; only those of [`Reply::FIELDS`] that are
/// kept, in their order. An attempt without a reply has NULL in each.
pub fn reply_columns(replies: &[Option<&Reply>], kept: &[&'static FieldDef]) -> Vec<ArrayRef> {
    if kept.is_empty() {
        return Vec::new();
    }
    let (mut columns, nothing) = (ReplyColumns::default(), Reply::default());
    replies.iter().for_each(|reply| reply.unwrap_or(&nothing).push(&mut columns));
    let all = Reply::FIELDS.iter().zip(Reply::finish(&mut columns));
    let is_kept = |name| kept.iter().any(|field| field.name == name);
    all.filter(|(field, _)| is_kept(field.name)).map(|(_, column)| column).collect()
}

impl Attempt {
    /// Sets `duration` from the two times. They are final when the packets have corrected them.
    pub fn close(&mut self) {
        let times = self.started.known().zip(self.ended.known());
        self.duration = times.map(|(started, ended)| ended.0.saturating_sub(started.0));
    }

    /// Whether a panic of this program ended it.
    pub fn is_internal_error(&self) -> bool {
        self.error.as_deref() == Some(INTERNAL_ERROR)
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// What the engine knows about it.
    pub attempt: Attempt,
    /// What the target replied, if it did.
    pub reply: Option<Box<Reply>>,
    /// This host's address in the packets, if known.
    pub local: Option<IpAddr>,
    /// Whether the socket received anything from the target: the end of the handshake, or a datagram.
    pub heard: bool,
    /// Whether the socket received any octets.
    pub heard_data: bool,
    /// When the event loop learned that the handshake was done: an upper bound of its end.
    pub connected: Option<Timestamp>,
}

/// Added by the merge: whether the observer saw the attempt's flow.
pub const OBSERVED: FieldDef = FieldDef {
    name: "observed",
    by: "merge",
    filled_by: FilledBy::Engine,
    doc: "Whether the observer saw this attempt's flow. If false, every fact of the observer is NULL.",
    data_type: <bool as Cell>::data_type,
    optional: false,
    bounds: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Array as _, cast::AsArray as _, types::UInt16Type};

    #[test]
    fn replies_become_the_columns_that_are_kept() {
        let reply =
            Reply { http_status: Some(204), tls_alpn: Some("h2".into()), ..Reply::default() };
        let kept: Vec<_> = Reply::FIELDS
            .iter()
            .filter(|field| ["tls_alpn", "http_status"].contains(&field.name))
            .collect();
        let columns = reply_columns(&[None, Some(&reply)], &kept);
        assert_eq!(columns.len(), 2);
        let status = columns[0].as_primitive::<UInt16Type>();
        assert!(status.is_null(0) && status.value(1) == 204);
        assert_eq!(columns[1].as_string::<i32>().value(1), "h2");
        assert!(reply_columns(&[None], &[]).is_empty());
    }
}
