//! Reads the lab file: a TOML file of hosts, the fault on the path to each, and the truth about them per measurement.

mod labels;
mod routers;

use std::collections::BTreeSet;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::error::{Diagnostic, Report, Result};
use crate::lab::chain::RouterSpec;
use crate::lab::spec::{HostSpec, Play, SMALLEST_BLOCK, ServerSpec, Spec};
use crate::lab::truth::{self, Spans, Stated, Truth};
pub use labels::{measured, unknown_labels};
use routers::{FaultText, RouterText};

/// The text of the built-in lab.
pub const INTERNET: &str = include_str!("internet.toml");

/// Maximum number of addresses of each family in a lab.
pub const CAPACITY: usize = 1 << 23;

/// The smallest and the largest MTU of a path: IPv6 needs the first (RFC 8200, 5), the lab's links have the second.
const SMALLEST_MTU: u32 = 1280;
const LARGEST_MTU: u32 = 1500;

/// The longest delay: longer than any timeout of a connection.
const LONGEST_DELAY_MS: u64 = 3_600_000;

/// Above this number, the IPv4 addresses are private ones, since the range for benchmarks does not suffice.
const FOR_BENCHMARKS: usize = 1 << 17;

/// A lab: hosts, the fault on the path to each, and the truth about them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pathspider lab", extend("required" = ["host"]))]
struct FileText {
    /// What is true of every host: per measurement, all labels that it gives.
    #[serde(default)]
    #[schemars(with = "Truth")]
    truth: Spans,
    /// The same for IPv4 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    truth_v4: Spans,
    /// The same for IPv6 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    truth_v6: Spans,
    /// What is true besides of every host if a run locates a label of it: the labels about the place, per measurement.
    #[serde(default)]
    #[schemars(with = "Truth")]
    located: Spans,
    /// The same for IPv4 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    located_v4: Spans,
    /// The same for IPv6 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    located_v6: Spans,
    /// Routers beyond the first one, which every lab has next to the prober and which is named `r1`.
    #[serde(default)]
    router: Vec<RouterText>,
    /// The kinds of host.
    #[serde(default)]
    host: Vec<HostText>,
}

/// Hosts that are alike, with a prefix of addresses per family.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "title"]))]
struct HostText {
    /// A short name that no other host has: small letters, digits and hyphens.
    #[schemars(with = "String", regex(pattern = "^[a-z0-9-]+$"))]
    name: Spanned<String>,
    /// What it does, in one sentence.
    title: String,
    /// Number of its IPv4 addresses, and of its IPv6 addresses.
    #[serde(default = "four")]
    #[schemars(with = "usize", range(min = 1, max = CAPACITY / 2))]
    count: Spanned<usize>,
    /// The far end: Linux with its default settings unless stated otherwise.
    #[serde(default)]
    #[schemars(with = "ServerSpec")]
    server: Option<Spanned<ServerSpec>>,
    /// nftables rules of the router for packets towards the host. A rule with the word `ip` or `icmp` is for IPv4, one
    /// with `ip6` or `icmpv6` for IPv6, any other for both.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    path: Vec<Spanned<String>>,
    /// nftables rules of the router for packets from the host.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    path_back: Vec<Spanned<String>>,
    /// The last router on the path to it, by default `r1`, the only one.
    #[serde(default)]
    #[schemars(with = "String")]
    behind: Option<Spanned<String>>,
    /// Faults at the routers of the path. `path` and `path_back` are rules of the first router.
    #[serde(default)]
    faults: Vec<FaultText>,
    /// The delay in milliseconds of each packet towards the host.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 0, max = LONGEST_DELAY_MS))]
    delay_ms: Option<Spanned<u64>>,
    /// The largest packet in octets that the router forwards to the host. About a larger one it reports an error with
    /// this number: fragmentation needed (RFC 1191), or packet too big (RFC 8201).
    #[serde(default)]
    #[schemars(with = "u32", range(min = SMALLEST_MTU, max = LARGEST_MTU))]
    mtu: Option<Spanned<u32>>,
    /// Whether the router reports errors about packets to the host: too big, lifetime exceeded, rejected by a rule.
    #[serde(default = "yes")]
    icmp: bool,
    /// What is true of this host, instead of what is true of every host.
    #[serde(default)]
    #[schemars(with = "Truth")]
    truth: Spans,
    /// The same for IPv4 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    truth_v4: Spans,
    /// The same for IPv6 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    truth_v6: Spans,
    /// The labels about the place that are true of this host if a run locates a label of it, instead of those for every
    /// host. An empty list: the place is not compared.
    #[serde(default)]
    #[schemars(with = "Truth")]
    located: Spans,
    /// The same for IPv4 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    located_v4: Spans,
    /// The same for IPv6 alone.
    #[serde(default)]
    #[schemars(with = "Truth")]
    located_v6: Spans,
    /// Measurements whose outcome is random for this host, so they are not compared.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    unmeasured: Vec<Spanned<String>>,
}

fn yes() -> bool {
    true
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
            Ok(file) => Checker { diagnostics: &mut diagnostics }.lab(file),
            Err(error) => {
                diagnostics.push(Diagnostic {
                    code: "E0901",
                    span: error.span().unwrap_or(0..0),
                    message: error.message().trim().to_owned(),
                    label: String::new(),
                    help: None,
                });
                Spec {
                    hosts: Vec::new(),
                    routers: Vec::new(),
                    truth_v4: Truth::new(),
                    truth_v6: Truth::new(),
                    located_v4: Truth::new(),
                    located_v6: Truth::new(),
                }
            }
        };
        if diagnostics.is_empty() {
            return Ok(spec);
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        Err(Report::new(origin, text, diagnostics).into())
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

/// Checks a lab file and collects its mistakes.
struct Checker<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
}

const ONCE: &str = "write each label once";

/// What is true of every host, over IPv4 and IPv6.
#[derive(Clone, Copy)]
struct General<'a> {
    truth: (&'a Truth, &'a Truth),
    located: (&'a Truth, &'a Truth),
}

impl Checker<'_> {
    fn complain(&mut self, span: Range<usize>, message: impl Into<String>, help: &str) {
        self.diagnostics.push(Diagnostic {
            code: "E0902",
            span,
            message: message.into(),
            label: String::new(),
            help: Some(help.to_owned()),
        });
    }

    fn lab(mut self, file: FileText) -> Spec {
        let all = Stated { truth: file.truth, truth_v4: file.truth_v4, truth_v6: file.truth_v6 };
        self.stated_once(&all);
        let (truth_v4, truth_v6) = all.over((&Truth::new(), &Truth::new()));
        let located =
            Stated { truth: file.located, truth_v4: file.located_v4, truth_v6: file.located_v6 };
        self.stated_once(&located);
        let (located_v4, located_v6) = located.over((&Truth::new(), &Truth::new()));
        let general =
            General { truth: (&truth_v4, &truth_v6), located: (&located_v4, &located_v6) };
        let routers = self.routers(file.router);
        let mut names = BTreeSet::new();
        let mut hosts: Vec<HostSpec> = Vec::new();
        let mut next = SMALLEST_BLOCK;
        for host in file.host {
            let count = host.count.span();
            self.name(&host.name, &mut names);
            let Some(mut spec) = self.host(host, general, &routers) else {
                continue;
            };
            // A block begins at a multiple of its size, so it is one prefix.
            spec.offset = next.next_multiple_of(spec.block());
            next = spec.offset + spec.block();
            if next > CAPACITY {
                let message = format!("the hosts of this lab need more than {CAPACITY} addresses");
                let help = "give them fewer; each host's number is rounded up to a power of two";
                self.complain(count, message, help);
                break;
            }
            hosts.push(spec);
        }
        hosts.iter_mut().for_each(|host| host.private = next > FOR_BENCHMARKS);
        if hosts.is_empty() && self.diagnostics.is_empty() {
            let help = "write at least one [[host]] with a name and a title";
            self.complain(0..0, "this lab has no hosts", help);
        }
        Spec { hosts, routers, truth_v4, truth_v6, located_v4, located_v6 }
    }

    /// One host. `None` if its number of addresses is impossible.
    fn host(
        &mut self,
        host: HostText,
        General { truth: all, located: located_of_all }: General<'_>,
        routers: &[RouterSpec],
    ) -> Option<HostSpec> {
        let count = *host.count.get_ref();
        if count == 0 || count > CAPACITY / 2 {
            let help = format!("write a number from 1 to {}", CAPACITY / 2);
            let message = format!("a host cannot have {count} addresses");
            self.complain(host.count.span(), message, &help);
            return None;
        }
        self.rules(host.path.iter().chain(&host.path_back));
        let behind = host.behind.as_ref().and_then(|name| self.router(name, routers));
        let faults = host.faults.into_iter().filter_map(|fault| self.fault(fault, behind, routers));
        let faults = faults.collect();
        let located =
            Stated { truth: host.located, truth_v4: host.located_v4, truth_v6: host.located_v6 };
        self.stated_once(&located);
        let (located_v4, located_v6) = located.over(located_of_all);
        let server = host.server.as_ref().map(|s| s.get_ref().clone()).unwrap_or_default();
        let span = host.server.as_ref().map(Spanned::span).unwrap_or(0..0);
        let delay_ms = host.delay_ms.as_ref().map_or(0, |delay| *delay.get_ref());
        self.server(&server, &span, delay_ms);
        if let Some(mtu) = &host.mtu
            && !(SMALLEST_MTU..=LARGEST_MTU).contains(mtu.get_ref())
        {
            let message = format!("a path of the lab cannot have an MTU of {}", mtu.get_ref());
            let help = format!("write a number from {SMALLEST_MTU} to {LARGEST_MTU}");
            self.complain(mtu.span(), message, &help);
        }
        if delay_ms > LONGEST_DELAY_MS {
            let span = host.delay_ms.as_ref().map_or(0..0, Spanned::span);
            let help = format!("write at most {LONGEST_DELAY_MS}, an hour");
            self.complain(span, format!("a delay of {delay_ms} ms is too long"), &help);
        }
        let stated = Stated { truth: host.truth, truth_v4: host.truth_v4, truth_v6: host.truth_v6 };
        self.stated_once(&stated);
        let mut own = stated.over(all);
        for name in &host.unmeasured {
            self.unmeasured(name, &stated, &mut own);
        }
        let (truth_v4, truth_v6) = own;
        let late = |own: &Truth, all: &Truth| match delay_ms {
            0 => Truth::new(),
            _ => truth::unstated(own, all),
        };
        Some(HostSpec {
            late_v4: late(&truth_v4, all.0),
            late_v6: late(&truth_v6, all.1),
            name: host.name.into_inner(),
            title: host.title,
            count,
            server,
            path: host.path.into_iter().map(Spanned::into_inner).collect(),
            path_back: host.path_back.into_iter().map(Spanned::into_inner).collect(),
            behind,
            faults,
            delay_ms,
            mtu: host.mtu.map(Spanned::into_inner),
            icmp: host.icmp,
            truth_v4,
            truth_v6,
            located_v4,
            located_v6,
            unmeasured: host.unmeasured.into_iter().map(Spanned::into_inner).collect(),
            offset: 0,
            private: false,
        })
    }

    fn rules<'r>(&mut self, rules: impl Iterator<Item = &'r Spanned<String>>) {
        for rule in rules {
            if rule.get_ref().trim().is_empty() || rule.get_ref().contains(['\n', ';', '#']) {
                let help =
                    "write each rule as a string of its own, on one line, without `;` and `#`";
                self.complain(rule.span(), "this is not one nftables rule", help);
            }
        }
    }

    fn name(&mut self, name: &Spanned<String>, names: &mut BTreeSet<String>) {
        self.unique(name, names, "host", "give each kind of host a name of its own");
    }

    fn unique(
        &mut self,
        name: &Spanned<String>,
        names: &mut BTreeSet<String>,
        what: &str,
        remedy: &str,
    ) {
        let (span, name) = (name.span(), name.get_ref());
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || !name.bytes().all(fits) {
            let help = "use small letters, digits and hyphens";
            self.complain(span.clone(), format!("`{name}` cannot name a {what}"), help);
        }
        if !names.insert(name.clone()) {
            self.complain(span, format!("there are two {what}s `{name}`"), remedy);
        }
    }

    fn server(&mut self, server: &ServerSpec, span: &Range<usize>, delay_ms: u64) {
        if let Some(sysctl) = server.sysctl.keys().find(|name| !name.starts_with("net.")) {
            let message = format!("`{sysctl}` is not a parameter of a network namespace");
            let help = "only names that begin with `net.` can be set for a server";
            self.complain(span.clone(), message, help);
        }
        let plain = ServerSpec {
            plays: server.plays,
            sysctl: server.sysctl.clone(),
            mptcp: server.mptcp && server.plays == Play::Close,
            ..ServerSpec::default()
        };
        if server.plays != Play::Greeting && *server != plain {
            let message = "a server that answers nothing cannot have `mptcp`, `h2`, `tls` or `dns`";
            self.complain(span.clone(), message, "leave them out, or write plays = \"greeting\"");
        }
        let Some(responder) = &server.responder else { return };
        let alone = ServerSpec { responder: Some(responder.clone()), ..ServerSpec::default() };
        if delay_ms > 0 || *server != alone {
            let help =
                "it is not a kernel: remove all other settings of the server, and `delay_ms`";
            self.complain(span.clone(), "a responder excludes other settings", help);
        }
        // The data offset allows 15 words, of which the header takes five and the segment size one.
        let lengths = responder.options.iter().map(|option| option.len() + 1);
        if responder.options.iter().any(Vec::is_empty) || lengths.sum::<usize>() > 36 {
            let help = "each is its kind and its octets; with a length octet each, they have 36 octets in total";
            self.complain(span.clone(), "these options do not fit a TCP header", help);
        }
    }

    fn stated_once(&mut self, stated: &Stated) {
        if let Some((span, label)) = stated.twice() {
            self.complain(span, format!("the truth says `{label}` twice"), ONCE);
        }
    }

    /// Removes a measurement from a host's truth.
    fn unmeasured(&mut self, name: &Spanned<String>, stated: &Stated, own: &mut (Truth, Truth)) {
        let (span, name) = (name.span(), name.get_ref());
        if let Some(place) = stated.place(name) {
            let message = format!("`{name}` has a truth here and is `unmeasured`");
            self.complain(place, message, "leave out one of them");
        }
        if [own.0.remove(name), own.1.remove(name)] == [None, None] {
            let message = format!("nothing is stated about `{name}` anyway");
            self.complain(span, message, "name a measurement that the lab's [truth] has");
        }
    }
}

/// Whether a text is a lab's and not a measurement's: it has hosts. It is not parsed, since it may be larger than what
/// should be.
pub fn is_lab(text: &str) -> bool {
    text.lines().any(|line| line.trim().starts_with("[[host]]"))
}

/// The JSON Schema of lab files.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(FileText).to_value()
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
