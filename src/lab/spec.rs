//! The lab file: a TOML file of hosts, the fault on the path to each, and the truth about them per measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Diagnostic, Report, Result};
use crate::lab::truth::{self, Spans, Stated, Truth};

/// The text of the built-in lab.
pub const INTERNET: &str = include_str!("internet.toml");

/// Maximum number of addresses of each family in a lab.
pub const CAPACITY: usize = 1 << 23;

/// Above this number, the IPv4 addresses are private ones, since the range for benchmarks does not suffice.
const FOR_BENCHMARKS: usize = 1 << 17;

/// The smallest block of addresses of a host, so that neighbouring hosts are easy to distinguish.
const SMALLEST_BLOCK: usize = 16;

/// A lab, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The hosts in file order.
    pub hosts: Vec<HostSpec>,
    /// What is true over IPv4 for a host that does not say otherwise.
    pub truth_v4: Truth,
    /// The same over IPv6.
    pub truth_v6: Truth,
}

/// One kind of host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Short unique name: small letters, digits and hyphens.
    pub name: String,
    /// What it does, in one sentence.
    pub title: String,
    /// Number of its IPv4 addresses, and of its IPv6 addresses.
    pub count: usize,
    /// The server at the far end.
    pub server: ServerSpec,
    /// nftables rules applied to packets towards the host.
    pub path: Vec<String>,
    /// nftables rules applied to packets from the host.
    pub path_back: Vec<String>,
    /// The delay in milliseconds of each packet towards the host.
    pub delay_ms: u64,
    /// The conditions that are true over IPv4, per measurement: all of them, and no others. Includes what is true of
    /// every host.
    pub truth_v4: Truth,
    /// The same over IPv6.
    pub truth_v6: Truth,
    /// For a host with a delay: what is true of every host over IPv4 and not overridden for this one. It is separate
    /// because it depends on packets that come late; on a busy machine they may still be seen.
    pub late_v4: Truth,
    /// The same over IPv6.
    pub late_v6: Truth,
    /// Measurements whose outcome is random, and so not compared.
    pub unmeasured: Vec<String>,
    /// The first address of its block, counted from the start of the lab's ranges.
    pub(crate) offset: usize,
    /// Whether the IPv4 addresses of the lab are private ones.
    pub(crate) private: bool,
}

impl HostSpec {
    /// Size of its block of addresses: a power of two.
    pub(crate) fn block(&self) -> usize {
        self.count.next_power_of_two().max(SMALLEST_BLOCK)
    }
}

/// The far end of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// How it treats a connection.
    #[serde(default)]
    pub plays: Play,
    /// Kernel parameters of the server's namespace.
    #[serde(default)]
    pub sysctl: BTreeMap<String, Value>,
    /// Whether it accepts Multipath TCP, if the kernel can.
    #[serde(default)]
    pub mptcp: bool,
    /// Whether it speaks HTTP/2, with and without TLS.
    #[serde(default = "yes")]
    pub h2: bool,
    /// How it speaks TLS on port 443.
    #[serde(default)]
    pub tls: Encryption,
    /// Whether it also accepts datagrams without a checksum over IPv6 (RFC 6935).
    #[serde(default)]
    pub udp_zero6: bool,
    /// How it answers questions, over UDP and TCP.
    #[serde(default)]
    pub dns: Answers,
    /// Not a kernel but a responder, which sends what no kernel would. It excludes all of the above.
    #[serde(default)]
    pub responder: Option<Responder>,
}

/// How a responder differs from a usual server. It speaks HTTP/1.1 and DNS, but not TLS: port 443 is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Responder {
    /// The ECN flags of its SYN-ACK.
    #[serde(default)]
    pub ecn: Mirror,
    /// The maximum segment size that it announces, in octets; by default the one for Ethernet.
    #[serde(default)]
    pub mss: Option<u16>,
    /// Further options of its SYN-ACK, requested or not: the kind of each, and its octets.
    #[serde(default)]
    pub options: Vec<Vec<u8>>,
}

/// The ECN flags of a responder's SYN-ACK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mirror {
    /// None: it does not know ECN.
    #[default]
    None,
    /// ECE and CWR as in the SYN, without support for them.
    Reflect,
    /// Accurate ECN (RFC 9768): AE, CWR and ECE report the codepoint of the SYN.
    Accurate,
}

fn yes() -> bool {
    true
}

impl Default for ServerSpec {
    fn default() -> Self {
        let (plays, sysctl, tls, dns) = Default::default();
        Self { plays, sysctl, mptcp: false, h2: true, tls, udp_zero6: false, dns, responder: None }
    }
}

/// How a server speaks TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// TLS 1.2 and 1.3, with the lab's certificate.
    #[default]
    Usual,
    /// It rejects every client with the alert handshake_failure.
    Refused,
}

/// How a server answers questions on port 53.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Every name has the queried server's address; in the other family, one for documentation.
    #[default]
    Right,
    /// With an identifier that is not the question's.
    OtherId,
    /// With the answer to another question.
    OtherQuestion,
    /// Correctly, but with the name in lower case, whatever the case of the question.
    LowerCase,
    /// With the code SERVFAIL.
    Servfail,
    /// With the code REFUSED, in a header alone.
    Refused,
    /// Not at all.
    Silent,
}

/// How a server treats a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Play {
    /// Linux: answers HTTP on port 80, HTTP over TLS on port 443, DNS on port 53. A client that closes port 80
    /// without sending data gets a line of text.
    #[default]
    Greeting,
    /// Linux: closes as soon as the connection is established, and sends nothing.
    Close,
    /// Linux without listeners: connections are refused with a reset.
    Nothing,
}

/// The value of a kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Number(number) => number.fmt(f),
            Value::Text(text) => text.fmt(f),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    truth: Spans,
    #[serde(default)]
    truth_v4: Spans,
    #[serde(default)]
    truth_v6: Spans,
    #[serde(default)]
    host: Vec<HostText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostText {
    name: Spanned<String>,
    title: String,
    #[serde(default = "four")]
    count: Spanned<usize>,
    #[serde(default)]
    server: Option<Spanned<ServerSpec>>,
    #[serde(default)]
    path: Vec<Spanned<String>>,
    #[serde(default)]
    path_back: Vec<Spanned<String>>,
    #[serde(default)]
    delay_ms: Option<Spanned<u64>>,
    #[serde(default)]
    truth: Spans,
    #[serde(default)]
    truth_v4: Spans,
    #[serde(default)]
    truth_v6: Spans,
    #[serde(default)]
    unmeasured: Vec<Spanned<String>>,
}

fn four() -> Spanned<usize> {
    Spanned::new(0..0, 4)
}

impl Spec {
    /// The built-in lab.
    pub fn internet() -> Result<Self> {
        Self::parse("internet.toml", INTERNET)
    }

    /// Parses a lab file; `origin` is its name as the user gave it. Reports every mistake with its place.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let mut diagnostics = Vec::new();
        let spec = match toml::from_str::<FileText>(text) {
            Ok(file) => check(file, &mut diagnostics),
            Err(error) => {
                diagnostics.push(Diagnostic {
                    code: "E0901",
                    span: error.span().unwrap_or(0..0),
                    message: error.message().trim().to_owned(),
                    label: String::new(),
                    help: None,
                });
                Spec { hosts: Vec::new(), truth_v4: Truth::new(), truth_v6: Truth::new() }
            }
        };
        if diagnostics.is_empty() {
            return Ok(spec);
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        Err(Report { origin: origin.to_owned(), text: text.to_owned(), diagnostics }.into())
    }

    /// A lab for load tests: `answering` addresses of each family that answer and `silent` ones that never do (0:
    /// none).
    pub fn plain(answering: usize, silent: usize) -> Result<Self> {
        let mut text = String::new();
        for (name, title, count, path) in [
            ("plain", "Answers", answering, "[]"),
            ("silent", "Never answers", silent, "[\"drop\"]"),
        ] {
            if count > 0 {
                text.push_str(&format!(
                    "[[host]]\nname = \"{name}\"\ntitle = \"{title}\"\ncount = {count}\npath = {path}\n"
                ));
            }
        }
        Self::parse("a plain lab", &text)
    }
}

fn check(file: FileText, diagnostics: &mut Vec<Diagnostic>) -> Spec {
    let mut complain = |span: Range<usize>, message: String, help: &str| {
        diagnostics.push(Diagnostic {
            code: "E0902",
            span,
            message,
            label: String::new(),
            help: Some(help.to_owned()),
        });
    };
    const ONCE: &str = "write each label once";
    let all = Stated { truth: file.truth, truth_v4: file.truth_v4, truth_v6: file.truth_v6 };
    if let Some((span, label)) = all.twice() {
        complain(span, format!("the truth says `{label}` twice"), ONCE);
    }
    let (truth_v4, truth_v6) = all.over((&Truth::new(), &Truth::new()));
    let mut names = BTreeSet::new();
    let mut hosts: Vec<HostSpec> = Vec::new();
    let mut next = SMALLEST_BLOCK;
    for host in file.host {
        let name = host.name.get_ref().clone();
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            complain(
                host.name.span(),
                format!("`{name}` cannot name a host"),
                "use small letters, digits and hyphens",
            );
        }
        if !names.insert(name.clone()) {
            complain(
                host.name.span(),
                format!("there are two hosts `{name}`"),
                "give each kind of host a name of its own",
            );
        }
        let count = *host.count.get_ref();
        if count == 0 || count > CAPACITY / 2 {
            complain(
                host.count.span(),
                format!("a host cannot have {count} addresses"),
                &format!("write a number from 1 to {}", CAPACITY / 2),
            );
            continue;
        }
        for rule in host.path.iter().chain(&host.path_back) {
            if rule.get_ref().trim().is_empty() || rule.get_ref().contains(['\n', ';', '#']) {
                complain(
                    rule.span(),
                    "this is not one nftables rule".to_owned(),
                    "write each rule as a string of its own, on one line, without `;` and `#`",
                );
            }
        }
        let server = host.server.as_ref().map(|s| s.get_ref().clone()).unwrap_or_default();
        let span = host.server.as_ref().map(Spanned::span).unwrap_or(0..0);
        if let Some(sysctl) = server.sysctl.keys().find(|name| !name.starts_with("net.")) {
            complain(
                span.clone(),
                format!("`{sysctl}` is not a parameter of a network namespace"),
                "only names that begin with `net.` can be set for a server",
            );
        }
        let plain = ServerSpec {
            plays: server.plays,
            sysctl: server.sysctl.clone(),
            mptcp: server.mptcp && server.plays == Play::Close,
            ..ServerSpec::default()
        };
        if server.plays != Play::Greeting && server != plain {
            complain(
                span.clone(),
                "a server that answers nothing cannot have `mptcp`, `h2`, `tls` or `dns`"
                    .to_owned(),
                "leave them out, or write plays = \"greeting\"",
            );
        }
        let delay_ms = host.delay_ms.as_ref().map_or(0, |delay| *delay.get_ref());
        if let Some(responder) = &server.responder {
            let alone = ServerSpec { responder: Some(responder.clone()), ..ServerSpec::default() };
            if delay_ms > 0 || server != alone {
                complain(
                    span.clone(),
                    "a responder excludes other settings".to_owned(),
                    "it is not a kernel: remove all other settings of the server, and `delay_ms`",
                );
            }
            // The data offset allows 15 words, of which the header takes five and the segment size one.
            let lengths = responder.options.iter().map(|option| option.len() + 1);
            if responder.options.iter().any(Vec::is_empty) || lengths.sum::<usize>() > 36 {
                complain(
                    span,
                    "these options do not fit a TCP header".to_owned(),
                    "each is its kind and its octets; with a length octet each, they have 36 octets in total",
                );
            }
        }
        let stated = Stated { truth: host.truth, truth_v4: host.truth_v4, truth_v6: host.truth_v6 };
        if let Some((span, label)) = stated.twice() {
            complain(span, format!("the truth says `{label}` twice"), ONCE);
        }
        let (mut own_v4, mut own_v6) = stated.over((&truth_v4, &truth_v6));
        for name in &host.unmeasured {
            if let Some(span) = stated.place(name.get_ref()) {
                complain(
                    span,
                    format!("`{}` has a truth here and is `unmeasured`", name.get_ref()),
                    "leave out one of them",
                );
            }
            let removed = [own_v4.remove(name.get_ref()), own_v6.remove(name.get_ref())];
            if removed == [None, None] {
                complain(
                    name.span(),
                    format!("nothing is stated about `{}` anyway", name.get_ref()),
                    "name a measurement that the lab's [truth] has",
                );
            }
        }
        let late = |own: &Truth, all: &Truth| match delay_ms {
            0 => Truth::new(),
            _ => truth::unstated(own, all),
        };
        let mut spec = HostSpec {
            late_v4: late(&own_v4, &truth_v4),
            late_v6: late(&own_v6, &truth_v6),
            name,
            title: host.title,
            count,
            server,
            path: host.path.into_iter().map(Spanned::into_inner).collect(),
            path_back: host.path_back.into_iter().map(Spanned::into_inner).collect(),
            delay_ms,
            truth_v4: own_v4,
            truth_v6: own_v6,
            unmeasured: host.unmeasured.into_iter().map(Spanned::into_inner).collect(),
            offset: 0,
            private: false,
        };
        // A block begins at a multiple of its size, so it is one prefix.
        spec.offset = next.next_multiple_of(spec.block());
        next = spec.offset + spec.block();
        if next > CAPACITY {
            complain(
                host.count.span(),
                format!("the hosts of this lab need more than {CAPACITY} addresses"),
                "give them fewer; each host's number is rounded up to a power of two",
            );
            break;
        }
        hosts.push(spec);
    }
    hosts.iter_mut().for_each(|host| host.private = next > FOR_BENCHMARKS);
    if hosts.is_empty() && diagnostics.is_empty() {
        diagnostics.push(Diagnostic {
            code: "E0902",
            span: 0..0,
            message: "this lab has no hosts".to_owned(),
            label: String::new(),
            help: Some("write at least one [[host]] with a name and a title".to_owned()),
        });
    }
    Spec { hosts, truth_v4, truth_v6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = mistakes_of(text);
        assert!(!mistakes.is_empty(), "expected mistakes in {text}");
        mistakes
    }

    fn mistakes_of(text: &str) -> Vec<String> {
        match Spec::parse("x.toml", text) {
            Ok(_) => Vec::new(),
            Err(Error::File(report)) => {
                report.diagnostics.iter().map(|d| d.message.clone()).collect()
            }
            other => panic!("expected mistakes, got {other:?}"),
        }
    }

    #[test]
    fn the_built_in_lab_is_sound_and_states_every_truth_for_ecn() {
        let spec = Spec::internet().unwrap();
        for host in &spec.hosts {
            // They count packets: the share of one address is known only if there is one.
            let counts = !host.name.starts_with("lossy") && host.path.concat().contains("numgen");
            for truth in [&host.truth_v4, &host.truth_v6] {
                let Some(ecn) = truth.get("ecn") else {
                    // Hosts that only other measurements need.
                    assert!(counts, "{}", host.name);
                    continue;
                };
                assert!(ecn[0].starts_with("ecn.connectivity."), "{}", host.name);
            }
            let enough = if counts { host.count == 1 } else { host.count >= 2 };
            assert!(enough && host.title.ends_with('.'), "{}", host.name);
        }
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let spec = Spec::plain(10_000, 1_000).unwrap();
        let [plain, silent] = spec.hosts.as_slice() else { panic!() };
        assert_eq!((plain.offset, plain.block()), (16_384, 16_384));
        assert_eq!((silent.offset, silent.block()), (32_768, 1_024));
    }

    #[test]
    fn a_million_addresses_are_private_and_a_few_are_for_benchmarks() {
        let ends = |answering: usize| {
            let spec = Spec::plain(answering, 0).unwrap();
            [0, answering - 1].map(|index| spec.hosts[0].address_v4(index).to_string())
        };
        assert_eq!(ends(65_536), ["198.19.0.0", "198.19.255.255"]);
        assert_eq!(ends(500_000), ["10.8.0.0", "10.15.161.31"]);
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = r#"
            [[host]]
            name = "A b"
            title = "x"
            count = 0
            [[host]]
            name = "c"
            title = "x"
            path = ["drop; drop"]
            server = { responder = {}, sysctl = { "kernel.x" = 1 } }
        "#;
        let said = mistakes(text);
        assert_eq!(said.len(), 5, "{said:?}");
        let plays = |with: &str| {
            mistakes_of(&format!("[[host]]\nname='a'\ntitle='b'\nserver = {{ {with} }}"))
        };
        assert!(plays("h2 = false, dns = 'other_id', mptcp = true").is_empty());
        assert!(plays("plays = 'close', mptcp = true").is_empty());
        assert!(plays("plays = 'nothing', h2 = false").concat().contains("answers nothing"));
        assert!(plays("responder = {}, dns = 'silent'").concat().contains("excludes other"));
        assert!(
            plays("responder = { mss = 9, ecn = 'accurate', options = [[4], [3, 7]] }").is_empty()
        );
        for options in [
            "[[]]",
            "[[1, 2, 3], [254, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]",
        ] {
            let said = plays(&format!("responder = {{ options = {options} }}")).concat();
            assert!(said.contains("do not fit"), "{options}: {said}");
        }
        assert!(plays("dns = 'wrong'").concat().contains("servfail"));
        assert!(mistakes("").concat().contains("no hosts"));
        assert!(mistakes("[[host]]\nname='a'\ntitel='b'").concat().contains("titel"));
        assert!(mistakes("[[host]]\nname='a'\ntitle='b'\ncount=-1").len() == 1);
        let half = CAPACITY / 2;
        let huge = format!(
            "[[host]]\nname='a'\ntitle='b'\ncount={half}\n[[host]]\nname='b'\ntitle='b'\ncount={half}"
        );
        assert!(mistakes(&huge).concat().contains("need more than"));
    }
}
