//! The options of `[connect]`, a row each, and the words that they accept.

use std::ops::RangeInclusive;

use super::edns::Edns;
use super::packet::Packet;
use super::query::{NAME, QUESTIONS, is_name};

/// Versions of HTTP that `version` accepts, with their meaning.
pub static HTTP_VERSIONS: &[(&str, &str)] = &[
    ("1.0", "HTTP/1.0"),
    ("1.1", "HTTP/1.1"),
    ("h2", "HTTP/2 over TLS, negotiated by ALPN"),
    ("h2c", "HTTP/2 without encryption, with prior knowledge (RFC 9113, 3.3)"),
    ("h2c_upgrade", "HTTP/2 without encryption, requested by Upgrade (RFC 7540, 3.2)"),
];

/// Methods that `method` accepts, with their meaning.
pub static METHODS: &[(&str, &str)] =
    &[("GET", "the page, whose beginning is read"), ("HEAD", "the header of the page")];

/// Groups of the TLS key exchange that `groups` accepts, with their meaning.
pub static GROUPS: &[(&str, &str)] = &[
    ("x25519", "Curve25519 (RFC 7748)"),
    ("secp256r1", "the NIST curve P-256"),
    ("secp384r1", "the NIST curve P-384"),
];

/// The longest path of a request, so that it fits a segment.
const LONGEST_PATH: usize = 512;

/// Octets that `request_octets` may have: more than any request needs, and what fills a packet of 1500 octets with the
/// headers of IPv4 and of TCP with timestamps.
const REQUEST_SIZES: RangeInclusive<i64> = 1024..=1448;

/// One row of the registry of options.
#[derive(Debug)]
pub struct OptionDef {
    /// The key in `[connect]` and in `[config.NAME.connect]`.
    pub name: &'static str,
    /// What it does, in a sentence: the text that an editor shows.
    pub doc: &'static str,
    /// The type of its value.
    pub takes: Takes,
    /// The value that applies without the option, as TOML; empty if the option has no default.
    pub default: &'static str,
    /// A value, as TOML.
    pub example: &'static str,
    /// Whether every kind takes it.
    pub common: bool,
    /// What is wrong with a value of this type, and what to write instead.
    pub check: fn(&Value) -> Option<(String, String)>,
    /// A description of a value for people, given all options; `None` if it adds nothing.
    pub describe: fn(&Value, &Options) -> Option<String>,
}

/// The type of an option's value.
#[derive(Debug, Clone)]
pub enum Takes {
    /// true or false.
    Boolean,
    /// A whole number within bounds.
    Integer(RangeInclusive<i64>),
    /// A number of octets with its unit, within bounds.
    Size(RangeInclusive<i64>),
    /// A text that matches a regular expression.
    Text(&'static str),
    /// Texts, at least one.
    Texts,
    /// One of some words.
    Word(Words),
    /// Some of these words, at least one.
    Words(Words),
    /// A crafted packet.
    Packet,
    /// What a query says by EDNS.
    Edns,
}

/// Words that an option accepts.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// What they name: `"version of HTTP"`.
    pub of: &'static str,
    /// Each with its meaning.
    pub all: &'static [(&'static str, &'static str)],
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Takes::Boolean`].
    Boolean(bool),
    /// Of [`Takes::Integer`], and octets of [`Takes::Size`].
    Integer(i64),
    /// Of [`Takes::Text`].
    Text(String),
    /// Of [`Takes::Texts`].
    Texts(Vec<String>),
    /// Of [`Takes::Word`].
    Word(&'static str),
    /// Of [`Takes::Words`].
    Words(Vec<&'static str>),
    /// Of [`Takes::Edns`].
    Edns(Edns),
}

/// Names identify rows.
impl PartialEq for OptionDef {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OptionDef {}

/// A row without constraints, from which the others are made.
const PLAIN: OptionDef = OptionDef {
    name: "",
    doc: "",
    takes: Takes::Boolean,
    default: "",
    example: "true",
    common: false,
    check: |_| None,
    describe: |_, _| None,
};

/// Data with the SYN.
pub static TFO: OptionDef = OptionDef {
    name: "tfo",
    doc: "Whether data goes with the SYN where a cookie is known (TCP Fast Open, RFC 7413).",
    default: "false",
    describe: |value, _| {
        Some(match value {
            Value::Boolean(true) => "with data in the SYN where a cookie is known".to_owned(),
            _ => "without data in the SYN".to_owned(),
        })
    },
    ..PLAIN
};

/// Protocols offered by ALPN.
pub static ALPN: OptionDef = OptionDef {
    name: "alpn",
    doc: "Protocols to offer in the TLS handshake (ALPN, RFC 7301), the preferred first.",
    takes: Takes::Texts,
    example: "['h2', 'http/1.1']",
    check: |value| {
        let Value::Texts(names) = value else { return None };
        let wrong = names.is_empty() || names.iter().any(|name| !(1..=255).contains(&name.len()));
        wrong.then(|| {
            let message = "invalid protocol names: each has 1 to 255 bytes";
            (message.to_owned(), "write [\"h2\", \"http/1.1\"]".to_owned())
        })
    },
    describe: |_, options| Some(format!("offering {}", options.texts(&ALPN)?.join(", "))),
    ..PLAIN
};

/// Groups of the TLS key exchange.
pub static GROUP: OptionDef = OptionDef {
    name: "groups",
    doc: "Groups to offer for the key exchange of TLS (RFC 8446, 4.2.7), the preferred first.",
    takes: Takes::Words(Words { of: "group of the key exchange", all: GROUPS }),
    default: "['x25519', 'secp256r1', 'secp384r1']",
    example: "['x25519', 'secp256r1']",
    check: |value| {
        let empty = matches!(value, Value::Words(words) if words.is_empty());
        empty.then(|| {
            let message = "without a group there is no key exchange";
            (message.to_owned(), "write [\"x25519\"]".to_owned())
        })
    },
    describe: |_, options| Some(format!("keys by {}", options.words(&GROUP)?.join(", "))),
    ..PLAIN
};

/// The version of HTTP.
pub static VERSION: OptionDef = OptionDef {
    name: "version",
    doc: "The version of HTTP to use.",
    takes: Takes::Word(Words { of: "version of HTTP", all: HTTP_VERSIONS }),
    example: "'h2'",
    describe: |_, options| Some(format!("by HTTP version {}", options.word(&VERSION)?)),
    ..PLAIN
};

/// The method of a request.
pub static METHOD: OptionDef = OptionDef {
    name: "method",
    doc: "The method of the request over HTTP.",
    takes: Takes::Word(Words { of: "method", all: METHODS }),
    default: "'GET'",
    example: "'HEAD'",
    describe: |_, options| Some(request(options)),
    ..PLAIN
};

/// The path of a request.
pub static PATH: OptionDef = OptionDef {
    name: "path",
    doc: "The path of the page to request over HTTP.",
    takes: Takes::Text("^(/[!-~]*|.*\\$\\{.*)$"),
    default: "'/'",
    example: "'/index.html'",
    check: |value| {
        let Value::Text(path) = value else { return None };
        let wrong = !path.starts_with('/')
            || path.len() > LONGEST_PATH
            || !path.bytes().all(|b| b.is_ascii_graphic());
        wrong.then(|| {
            let help = format!(
                "write \"/\" and characters without spaces, at most {LONGEST_PATH}; others as %20"
            );
            ("invalid path of a page".to_owned(), help)
        })
    },
    // The method's description names the path.
    describe: |_, options| options.word(&METHOD).is_none().then(|| request(options)),
    ..PLAIN
};

/// A request over HTTP, for people.
fn request(options: &Options) -> String {
    format!("requesting {} {}", options.method(), options.path())
}

/// The query to a name server.
pub static QUESTION: OptionDef = OptionDef {
    name: "question",
    doc: "The type of the query to a name server.",
    takes: Takes::Word(Words { of: "question", all: QUESTIONS }),
    default: "'A'",
    example: "'AAAA'",
    describe: |_, options| Some(format!("querying {}", options.word(&QUESTION)?)),
    ..PLAIN
};

/// The name in the query to a name server.
pub static QNAME: OptionDef = OptionDef {
    name: "qname",
    doc: "The name in the query to a name server, instead of the target's; `.` is the root.",
    takes: Takes::Text(NAME),
    example: "'example.net'",
    check: |value| {
        let Value::Text(name) = value else { return None };
        (!is_name(name)).then(|| {
            let help = "write labels of at most 63 octets, separated by dots: \"example.net\"";
            ("invalid name of a query".to_owned(), help.to_owned())
        })
    },
    describe: |_, options| Some(format!("for the name {}", options.text(&QNAME)?)),
    ..PLAIN
};

/// EDNS in the query to a name server.
pub static EDNS: OptionDef = OptionDef {
    name: "edns",
    doc: "Adds EDNS to the query to a name server (RFC 6891); for one configuration, the keys in which it differs.",
    takes: Takes::Edns,
    example: "{ buffer = 4096, do = true, padding = 128 }",
    describe: |_, options| Some(format!("with {}", options.edns()?.describe())),
    ..PLAIN
};

/// The packet of the kind `forge`.
pub static PACKET: OptionDef = OptionDef {
    name: "packet",
    doc: "The packet that connections of the kind `forge` send; for one configuration, the keys in which it differs.",
    takes: Takes::Packet,
    example: "{ tcp_flags = ['syn'], ttl = 64 }",
    ..PLAIN
};

/// Consecutive attempts.
pub static REPEAT: OptionDef = OptionDef {
    name: "repeat",
    doc: "Attempts to each target, one after the other: 1 to 100. The record is that of the last one.",
    takes: Takes::Integer(1..=100),
    default: "1",
    example: "2",
    common: true,
    describe: |_, options| {
        let repeat = options.repeat();
        (repeat != 1).then(|| format!("{repeat} times one after the other"))
    },
    ..PLAIN
};

/// The size of a request.
pub static REQUEST_OCTETS: OptionDef = OptionDef {
    name: "request_octets",
    doc: "Octets of the HTTP/1 request, filled up with a header field `X-Padding`: 1024 to 1448. 1448 fill a packet of \
          1500 octets over IPv4; over IPv6, 1428 do, and more make two packets. Connections of the kind `tcp` send a \
          request, HEAD, only with this option.",
    takes: Takes::Integer(REQUEST_SIZES),
    example: "1428",
    describe: |value, _| match value {
        Value::Integer(octets) => Some(format!("padded to {octets} octets")),
        _ => None,
    },
    ..PLAIN
};

/// Octets of content to read.
pub static READ: OptionDef = OptionDef {
    name: "read",
    doc: "Octets of the response's content to read, with a unit: B, kB, KiB, MB or MiB; 1KiB to 16MiB. By default 64KiB. \
          Every target sends that much, if it has it: use no more than the question needs.",
    takes: Takes::Size(1 << 10..=16 << 20),
    example: "'1MiB'",
    describe: |_, options| Some(format!("reading up to {} octets of content", options.read()?)),
    ..PLAIN
};

/// Every option, in the order of the schema and of descriptions.
pub static OPTIONS: &[&OptionDef] = &[
    &TFO,
    &ALPN,
    &GROUP,
    &VERSION,
    &METHOD,
    &PATH,
    &REQUEST_OCTETS,
    &READ,
    &QUESTION,
    &QNAME,
    &EDNS,
    &PACKET,
    &REPEAT,
];

impl OptionDef {
    /// The words that it accepts, with their meaning, if it accepts words only.
    pub fn words(&self) -> Option<&'static [(&'static str, &'static str)]> {
        match &self.takes {
            Takes::Word(words) | Takes::Words(words) => Some(words.all),
            _ => None,
        }
    }
}

/// The option with a name.
pub fn option(name: &str) -> Option<&'static OptionDef> {
    OPTIONS.iter().copied().find(|row| row.name == name)
}

/// Options of a connection; the kind decides about those that are not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Values of options; [`set`](Self::set) keeps one for each.
    pub values: Vec<(&'static OptionDef, Value)>,
    /// The crafted packet: present exactly for the kind `forge`.
    pub packet: Option<Packet>,
    /// How to contact the operator: a URI that is valid in a comment of HTTP's User-Agent. It belongs to the run, not to
    /// the measurement.
    pub contact: Option<String>,
}

impl Options {
    /// Sets an option.
    pub fn set(&mut self, option: &'static OptionDef, value: Value) {
        self.values.retain(|(known, _)| *known != option);
        self.values.push((option, value));
    }

    /// The same options with one more.
    #[must_use]
    pub fn with(mut self, option: &'static OptionDef, value: Value) -> Self {
        self.set(option, value);
        self
    }

    /// The value of an option.
    pub fn get(&self, option: &OptionDef) -> Option<&Value> {
        self.values.iter().find(|(known, _)| *known == option).map(|(_, value)| value)
    }

    /// The value of an option of type [`Takes::Boolean`].
    pub fn boolean(&self, option: &OptionDef) -> Option<bool> {
        match self.get(option) {
            Some(Value::Boolean(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value of an option of type [`Takes::Word`].
    pub fn word(&self, option: &OptionDef) -> Option<&'static str> {
        match self.get(option) {
            Some(Value::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// The value of an option of type [`Takes::Words`].
    pub fn words(&self, option: &OptionDef) -> Option<&[&'static str]> {
        match self.get(option) {
            Some(Value::Words(words)) => Some(words),
            _ => None,
        }
    }

    /// The value of an option of type [`Takes::Text`].
    pub fn text(&self, option: &OptionDef) -> Option<&str> {
        match self.get(option) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of an option of type [`Takes::Texts`].
    pub fn texts(&self, option: &OptionDef) -> Option<&[String]> {
        match self.get(option) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    /// What a query says by EDNS, if it has EDNS.
    pub fn edns(&self) -> Option<Edns> {
        match self.get(&EDNS) {
            Some(Value::Edns(edns)) => Some(*edns),
            _ => None,
        }
    }

    /// Octets of a request, if it is padded.
    pub fn request_octets(&self) -> Option<usize> {
        match self.get(&REQUEST_OCTETS) {
            Some(Value::Integer(octets)) => usize::try_from(*octets).ok(),
            _ => None,
        }
    }

    /// Octets of content to read of a response, if the measurement says.
    pub fn read(&self) -> Option<u64> {
        match self.get(&READ) {
            Some(Value::Integer(octets)) => u64::try_from(*octets).ok(),
            _ => None,
        }
    }

    /// The most octets to read where `most` would be without the option `read`: what it allows, and an eighth more for the
    /// framing of chunks, frames and records.
    pub(super) fn most_read(&self, most: usize) -> usize {
        let octets = usize::try_from(self.read().unwrap_or_default()).unwrap_or_default();
        most + octets + octets / 8
    }

    /// Attempts to each target, one after the other: at least 1.
    pub fn repeat(&self) -> u32 {
        match self.get(&REPEAT) {
            Some(Value::Integer(repeat)) => u32::try_from(*repeat).unwrap_or(1).max(1),
            _ => 1,
        }
    }

    /// The method of a request over HTTP.
    pub(super) fn method(&self) -> &'static str {
        self.word(&METHOD).unwrap_or(METHODS[0].0)
    }

    /// The path of a request over HTTP.
    pub(super) fn path(&self) -> &str {
        self.text(&PATH).unwrap_or("/")
    }

    /// The given options, except those that every kind takes.
    pub fn given(&self) -> impl Iterator<Item = &'static OptionDef> {
        let has = |option: &OptionDef| match option.takes {
            Takes::Packet => self.packet.is_some(),
            _ => self.get(option).is_some(),
        };
        OPTIONS.iter().copied().filter(move |option| !option.common && has(option))
    }

    /// Descriptions for people of the given options.
    pub fn describe(&self) -> Vec<String> {
        let words = OPTIONS.iter().filter_map(|option| match option.takes {
            Takes::Packet => self.packet.as_ref().map(Packet::describe),
            _ => (option.describe)(self.get(option)?, self),
        });
        words.collect()
    }
}

/// The name of a version of HTTP in ALPN (RFC 7301, 6).
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

    #[test]
    fn an_option_has_one_value() {
        let options = Options::default().with(&METHOD, Value::Word("HEAD"));
        let options = options.with(&METHOD, Value::Word("GET")).with(&REPEAT, Value::Integer(3));
        assert_eq!(options.word(&METHOD), Some("GET"));
        assert_eq!(options.describe(), ["requesting GET /", "3 times one after the other"]);
        assert_eq!(options.given().map(|row| row.name).collect::<Vec<_>>(), ["method"]);
    }
}
