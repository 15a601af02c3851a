//! The facts of one attempt: what the engine knows of it, and what the target said.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::StringBuilder;
use arrow::datatypes::DataType;

use super::Answer;
use crate::barrier::INTERNAL_ERROR;
use crate::field::{Cell, FieldDef, FilledBy, Row as _, Timestamp, fields};

/// How an attempt ended. The words are the `state` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// The connection was established (and whatever the kind asks for was answered).
    Ok,
    /// The path or the target refused: reset, unreachable, prohibited, an answer that is none.
    Failed,
    /// No answer within the timeout.
    Timeout,
    /// This host could not try: no port, descriptor, buffer or route. Says nothing of the path.
    #[default]
    LocalError,
    /// Nothing was sent, since the target's version of IP does not have what was to be sent, or the configuration's steps
    /// are for the other version, or since a probe before all configurations has shown that the target is not up.
    Skipped,
}

impl State {
    /// Whether something was sent to the target, or was about to be when the kernel refused: only then is there
    /// anything to say of it.
    pub fn tells(self) -> bool {
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

/// How far an attempt came. The words are the `stage` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The target's name was looked up, or was to be.
    Resolve,
    /// The connection was asked for.
    #[default]
    Connect,
    /// The TLS handshake was under way.
    Tls,
    /// The request was being sent.
    Request,
    /// The response was waited for or being read.
    Response,
    /// Everything that the kind does was done.
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
    /// What the engine knows of one connection attempt.
    pub struct Attempt, AttemptColumns: Engine;
    "attempt" {
        /// Whether the connection was established and what the kind asks for was answered. NULL if this
        /// host could not try, or had nothing to send, or if the error is `internal error`.
        ok: Option<bool>,
        /// How the attempt ended: `ok`, `failed`, `timeout`, `local_error` or, if nothing was sent since the target's
        /// version of IP does not have it, the steps are for the other version or a probe found the target down, `skipped`.
        state: State,
        /// How far it came: it stopped at `resolve`, `connect`, `tls`, `request` or `response`, or was `done`.
        stage: Stage,
        /// What went wrong in the operating system's or the protocol's words, `Connection refused`; NULL if
        /// nothing did. `internal error` is a defect of this program: nothing is concluded from the attempt.
        error: Option<Cow<'static, str>>,
        /// What the peer answered by TLS, HTTP or DNS, if not what the kind asks for: `tls_alert:handshake_failure`,
        /// `http:malformed_field`, `dns:refused` and so on. NULL if it answered what was asked, or if nothing came at that
        /// layer: a reset or a refusal by TCP is no answer. With `ok` true it is a whole answer that says no
        /// (`http:4xx`, `dns:refused`).
        answer: Option<Answer>,
        /// When the connection was started (UTC).
        started: Timestamp,
        /// When the attempt was over (UTC).
        ended: Timestamp,
        /// Version of IP that the target's address is of: 4 or 6.
        ip_version: Option<u8> = (4, 6),
        /// The source port that the engine chose: with address and port of the target, the flow key.
        source_port: Option<u16> = (1, 65_535),
    }
}

fields! {
    /// What the target said, as far as a kind of connection keeps it. Which of these columns a record
    /// has is up to the kinds in use ([`KindDef::columns`](super::KindDef::columns)) and to
    /// `[connect.after] keep`. Texts are as the network sent them, control characters and all: whoever
    /// prints one to a terminal makes those harmless first.
    #[derive(PartialEq)]
    pub struct Reply, ReplyColumns: Reply;
    "http" {
        /// Status code of the final response (RFC 9110, 15).
        http_status: Option<u16> = (100, 999),
        /// Version of HTTP that the response came in: `1.0`, `1.1` or `2`.
        http_version: Option<&'static str>,
        /// The first 256 octets of the response's content, what is no UTF-8 in them replaced by U+FFFD;
        /// NULL if none was asked for (HEAD).
        http_body: Option<String>,
    }
    "tls" {
        /// Version of TLS that was agreed on: `1.2` or `1.3`.
        tls_version: Option<&'static str>,
        /// Cipher suite that was agreed on, by its IANA name.
        tls_cipher: Option<&'static str>,
        /// Group of the key exchange: `x25519`, `secp256r1` or `secp384r1`.
        tls_group: Option<&'static str>,
        /// Protocol that the server chose of those that were offered (ALPN, RFC 7301); NULL if none.
        tls_alpn: Option<String>,
        /// SHA-256 of the server's own certificate in hexadecimal: another one under another configuration
        /// means another server, or somebody between. It is not trusted and need not be.
        tls_cert_sha256: Option<String>,
        /// Whether the certificate is for the target's name (RFC 9525), or for its address if it has no name.
        tls_cert_matches: Option<bool>,
        /// Whether the certificate is signed with its own key.
        tls_cert_self_signed: Option<bool>,
        /// Since when the certificate is valid (RFC 5280, 4.1.2.5).
        tls_cert_from: Option<Timestamp>,
        /// Until when the certificate is valid; the year 2262 if later.
        tls_cert_until: Option<Timestamp>,
    }
    "dns" {
        /// RCODE of the answer (RFC 1035, 4.1.1): 0 is no error.
        dns_reply_rcode: Option<u16> = (0, 4_095),
        /// Resource records in the answer's answer section.
        dns_reply_answers: Option<u16>,
        /// Addresses in the answer's answer section, sorted, a space between them, at most 32.
        dns_reply_addresses: Option<String>,
        /// TC bit of the answer: it was cut to fit a datagram.
        dns_reply_truncated: Option<bool>,
        /// AA bit of the answer: the server is an authority for the name.
        dns_reply_authoritative: Option<bool>,
        /// Messages that were skipped because their identifier or question was not ours (RFC 5452, 9.1): wrong
        /// answers, or guesses of another host.
        dns_reply_mismatched: Option<u32>,
        /// Whether the answer repeats the name of the question with each letter in the random case in which it was
        /// sent (draft-vixie-dnsext-dns0x20). An answer that does not counts only if no other message fits better until the
        /// timeout, and no wrong one came. NULL over TCP, where the case is not random, or if the answer has no
        /// question.
        dns_reply_case_kept: Option<bool>,
    }
    "forge" {
        /// Packets from the target's port to ours that do not answer the packet: they acknowledge something else, or
        /// have another identifier or question (RFC 5452, 9.1). They were skipped. NULL if nothing was sent.
        forge_unexpected: Option<u32>,
    }
}

/// Columns of what targets said, one row for each attempt; only those of [`Reply::FIELDS`] that are
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
    /// Whether it was ended by a panic of this program.
    pub fn is_internal_error(&self) -> bool {
        self.error.as_deref() == Some(INTERNAL_ERROR)
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// What the engine knows of it.
    pub attempt: Attempt,
    /// What the target said, if it came to that.
    pub reply: Option<Box<Reply>>,
    /// The address of this host that the packets came from, if it is known.
    pub local: Option<IpAddr>,
    /// Whether the socket got anything of the target: the end of the handshake, or a datagram.
    pub heard: bool,
    /// Whether the socket got any octets.
    pub heard_data: bool,
    /// When the event loop learned that the handshake was done; a handshake is never over later than that.
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
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::UInt16Type;

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
