//! What `[connect]` can ask of a kind beside its name, and the words that may be asked for.

use super::{Kind, KindDef, forge};

/// Versions of HTTP that `version` may ask for, with their meaning.
pub static HTTP_VERSIONS: &[(&str, &str)] = &[
    ("1.0", "HTTP/1.0"),
    ("1.1", "HTTP/1.1"),
    ("h2", "HTTP/2 over TLS, agreed on by ALPN"),
    (
        "h2c",
        "HTTP/2 without encryption, on the assumption that the server knows it (RFC 9113, 3.3)",
    ),
    ("h2c_upgrade", "HTTP/2 without encryption, asked for by Upgrade (RFC 7540, 3.2)"),
];

/// Methods that `method` may ask for, with their meaning.
pub static METHODS: &[(&str, &str)] =
    &[("GET", "the page, of which the beginning is read"), ("HEAD", "the header of the page")];

/// Questions that `question` may ask for, with their meaning.
pub static QUESTIONS: &[(&str, &str)] =
    &[("A", "the name's IPv4 addresses"), ("AAAA", "the name's IPv6 addresses (RFC 3596)")];

/// Groups of the TLS key exchange that `groups` may offer, with their meaning.
pub static GROUPS: &[(&str, &str)] = &[
    ("x25519", "Curve25519 (RFC 7748)"),
    ("secp256r1", "the NIST curve P-256"),
    ("secp384r1", "the NIST curve P-384"),
];

/// The name that is asked for where a target has none: one that is reserved, is in the DNS, and has
/// addresses of both families (RFC 2606).
pub const DEFAULT_NAME: &str = "example.org";

/// The longest path that may be asked for, so that a request fits a segment.
pub const LONGEST_PATH: usize = 512;

/// Options of a connection; what is not given is as the kind has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether data goes with the SYN where a cookie is known.
    pub tfo: Option<bool>,
    /// Protocols offered in the TLS handshake, the preferred first.
    pub alpn: Option<Vec<String>>,
    /// Groups offered for the TLS key exchange, out of [`GROUPS`], the preferred first.
    pub groups: Option<Vec<&'static str>>,
    /// Version of HTTP, out of [`HTTP_VERSIONS`].
    pub version: Option<&'static str>,
    /// Method of the request, out of [`METHODS`].
    pub method: Option<&'static str>,
    /// Path of the request: visible ASCII, a slash first.
    pub path: Option<String>,
    /// What a name server is asked for, out of [`QUESTIONS`].
    pub question: Option<&'static str>,
    /// How often each target is asked, one after the other; the record is that of the last time.
    pub repeat: Option<u32>,
    /// The packet that is made by hand: there is one exactly for the kind `forge`.
    pub packet: Option<forge::Packet>,
    /// Where the one who asks can be reached, a URI that fits a comment of HTTP's User-Agent. Not of the measurement
    /// but of the run.
    pub contact: Option<String>,
}

impl Options {
    /// The names of those that are given, beside `repeat`, which every kind can.
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            (self.tfo.is_some(), "tfo"),
            (self.alpn.is_some(), "alpn"),
            (self.groups.is_some(), "groups"),
            (self.version.is_some(), "version"),
            (self.method.is_some(), "method"),
            (self.path.is_some(), "path"),
            (self.question.is_some(), "question"),
            (self.packet.is_some(), "packet"),
        ];
        given.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }

    /// Why a kind cannot do with these options together, although it has each; in plain words with
    /// the option to blame.
    pub fn conflict(&self, kind: &KindDef) -> Option<(&'static str, String)> {
        let version = self.version.filter(|_| kind.options.contains(&"version"))?;
        if !kind.versions.contains(&version) {
            let able = kind.versions.join("`, `");
            let message = format!(
                "connections of kind {} cannot be by HTTP version `{version}`, but by `{able}`",
                kind.name
            );
            return Some(("version", message));
        }
        let plain = version.starts_with("h2c");
        if let Some(alpn) = &self.alpn
            && (plain || !alpn.iter().any(|offered| offered == alpn_of(version)))
        {
            let message = match plain {
                true => {
                    format!("HTTP version `{version}` is without TLS, where nothing is offered")
                }
                false => format!("HTTP version `{version}` is not among what is offered"),
            };
            return Some(("alpn", message));
        }
        let message = || format!("HTTP version `{version}` is without TLS, which has no groups");
        (plain && self.groups.is_some()).then(|| ("groups", message()))
    }

    /// What they ask for, in plain words; empty if nothing.
    pub fn describe(&self) -> Vec<String> {
        let mut words = Vec::new();
        match self.tfo {
            Some(true) => words.push("with data in the SYN where a cookie is known".to_owned()),
            Some(false) => words.push("without data in the SYN".to_owned()),
            None => {}
        }
        if let Some(alpn) = &self.alpn {
            words.push(format!("offering {}", alpn.join(", ")));
        }
        if let Some(groups) = &self.groups {
            words.push(format!("keys by {}", groups.join(", ")));
        }
        if let Some(version) = self.version {
            words.push(format!("by HTTP version {version}"));
        }
        if self.method.is_some() || self.path.is_some() {
            let path = self.path.as_deref().unwrap_or("/");
            words.push(format!("asking {} {path}", self.method.unwrap_or(METHODS[0].0)));
        }
        if let Some(question) = self.question {
            words.push(format!("asking for {question}"));
        }
        if let Some(packet) = &self.packet {
            words.push(packet.describe());
        }
        if let Some(repeat) = self.repeat.filter(|repeat| *repeat != 1) {
            words.push(format!("{repeat} times one after the other"));
        }
        words
    }

    /// The port of targets that come without one. HTTP/2 without encryption is on that of HTTP, and a
    /// question made by hand is for a name server.
    pub fn port(&self, kind: &KindDef) -> u16 {
        let asks = |packet: &forge::Packet| matches!(packet.payload, forge::Payload::Question(_));
        match self.version {
            _ if self.packet.as_ref().is_some_and(asks) => 53,
            Some(version) if kind.kind == Kind::H2 && version.starts_with("h2c") => 80,
            _ => kind.port,
        }
    }
}

/// What a version of HTTP is called in ALPN (RFC 7301, 6).
pub(super) fn alpn_of(version: &str) -> &'static str {
    match version {
        "1.0" => "http/1.0",
        "h2" => "h2",
        _ => "http/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::kind;

    #[test]
    fn options_may_be_right_alone_and_wrong_together() {
        let alpn = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let x25519 = Some(vec!["x25519"]);
        for (name, version, alpn, groups, blamed) in [
            ("https", Some("h2"), alpn(&["h2", "http/1.1"]), x25519.clone(), None),
            ("https", Some("h2"), alpn(&["http/1.1"]), None, Some("alpn")),
            ("https", Some("h2c"), None, None, Some("version")),
            ("http", Some("h2"), None, None, Some("version")),
            ("h2", Some("h2c_upgrade"), None, None, None),
            ("h2", Some("h2c"), alpn(&["h2"]), None, Some("alpn")),
            ("h2", Some("h2c"), None, x25519, Some("groups")),
            ("h2", None, alpn(&["h2"]), None, None),
        ] {
            let options = Options { version, alpn, groups, ..Options::default() };
            let conflict = options.conflict(kind(name).unwrap());
            assert_eq!(conflict.map(|(option, _)| option), blamed, "{name} {options:?}");
        }
    }
}
