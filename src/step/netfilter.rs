//! Rules of nftables: as a measurement describes them, and in force.
//!
//! All rules of the configurations in force live in one table of the tool's own, that of the run's
//! [`Slot`], which one transaction makes and one deletes. A chain without rules (`run_PID_START`) says
//! whose it is, so that a table of somebody else is never deleted. In it every hook that is used has a base chain at
//! the priority `mangle`, which sends each configuration's packets, and no others, to a chain of
//! that configuration with its rules in their order; so whatever a rule says is about them.
//!
//! At `output` and `postrouting` a configuration's packets carry its mark. At `prerouting` and `input` packets
//! carry no mark of ours, so there they are TCP and UDP packets *to* the source ports of the configuration: each
//! has a set of ports, which its own packets fill as they leave, and which a packet of another configuration from
//! the same port empties. Packets that quote those ports (ICMP errors) and later fragments are not among them.
//!
//! The transaction is in nft's own language: libnftables' JSON cannot carry a rule that is written
//! as text, and a measurement's rules are.

use serde::{Deserialize, Serialize};

use super::Step;
use super::applied::{Failure, Flows};
use super::family::Family;
use super::hold;
use super::lock::Run;
use super::slot::Slot;
use super::tool::NFT;
use crate::error::{Error, Result};

/// Where on a packet's way through this host a rule is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hook {
    /// Packets that came in, before they are routed.
    Prerouting,
    /// Packets for this host.
    Input,
    /// Packets of this host, before they are routed.
    #[default]
    Output,
    /// Packets that go out, after they were routed.
    Postrouting,
}

/// Every hook: its name in a file and what it sees.
pub static HOOKS: &[(&str, Hook, &str)] = &[
    ("prerouting", Hook::Prerouting, "packets that came in, before they are routed"),
    ("input", Hook::Input, "packets for this host, after they were routed"),
    ("output", Hook::Output, "packets of this host, before they are routed: the default"),
    ("postrouting", Hook::Postrouting, "packets that go out, after they were routed"),
];

impl Hook {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        HOOKS.iter().find(|(_, hook, _)| *hook == self).map_or("", |(name, ..)| name)
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netfilter {
    /// The rule as nft(8) reads it, without the match of the mark. Statements that set dscp, ecn, ttl
    /// or hoplimit without family (`dscp set 46`) are for both IP versions; a rule that names one (`ip
    /// dscp set 46`) is for that one.
    pub rule: String,
    /// Where it is looked at.
    pub hook: Hook,
}

impl Netfilter {
    /// What it does, in plain words.
    pub fn describe(&self) -> String {
        format!(
            "treat this configuration's packets at the hook {} by the nftables rule: {}",
            self.hook.as_str(),
            self.rule
        )
    }
}

/// What a rule may not have, since it could then be more than a rule of our own table.
pub fn fault(rule: &str) -> Option<&'static str> {
    let mut open = 0usize;
    for c in rule.chars() {
        match c {
            '\n' | '\r' | ';' => return Some("is more than one statement"),
            '#' => return Some("has a remark, which would hide what is put behind it"),
            '\\' => return Some("has a backslash, which would join it to what is put behind it"),
            _ if c.is_control() => return Some("has a control character"),
            '{' => open += 1,
            '}' if open == 0 => return Some("closes a brace that is not open"),
            '}' => open -= 1,
            _ => {}
        }
    }
    let quotes = rule.matches('"').count();
    match (rule.split_whitespace().next(), open) {
        (None, _) => Some("is empty"),
        (Some("handle" | "position" | "index"), _) => Some("says where it stands among others"),
        (_, 0) if quotes % 2 == 1 => Some("opens a quote and does not close it"),
        (_, 0) => None,
        _ => Some("opens a brace and does not close it"),
    }
}

/// A table of ours: its name with the family, and the chain that says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    name: String,
    chain: String,
}

/// What makes our table: a transaction in nft's language, a command a line.
#[derive(Debug)]
pub(super) struct Script {
    table: Table,
    lines: Vec<String>,
    /// The rule, as the measurement has it, that a line puts in force.
    rules: Vec<Option<String>>,
    /// Whose rule that is: the numbers of its configuration among these, and of its step there.
    origins: Vec<Option<(usize, usize)>>,
}

impl Script {
    /// For the `netfilter` steps of all configurations that are in force at once.
    pub fn new(configurations: &[(&[Step], &Flows)], of: Table) -> Self {
        let table = of.name.clone();
        let (lines, rules_of, origins) = (Vec::new(), Vec::new(), Vec::new());
        let mut script = Script { lines, rules: rules_of, origins, table: of };
        // `create`, unlike `add`, fails if there is one.
        script.line(format!("create table {table}"), None);
        script.line(format!("add chain {table} {}", script.table.chain), None);
        for (name, hook, _) in HOOKS {
            let rules: Vec<Vec<(usize, &str)>> =
                configurations.iter().map(|(steps, _)| rules(steps, *hook).collect()).collect();
            let holds: Vec<&Flows> = configurations
                .iter()
                .filter(|(steps, _)| *hook == Hook::Output && steps.contains(&Step::HoldReset))
                .map(|(_, flows)| *flows)
                .collect();
            if rules.iter().all(Vec::is_empty) && holds.is_empty() {
                continue;
            }
            if matches!(hook, Hook::Prerouting | Hook::Input) || !holds.is_empty() {
                script.ports(configurations);
            }
            let reroutes =
                *hook == Hook::Output && rules.iter().flatten().any(|(_, rule)| reroutes(rule));
            // A packet of ours whose mark or address is changed takes the way of its new one.
            let kind = if reroutes { "route" } else { "filter" };
            script.line(
                format!("add chain {table} {name} {{ type {kind} hook {name} priority mangle; policy accept; }}"),
                None,
            );
            for flows in holds {
                let rule = hold::rule(flows, &ports(flows));
                script.line(format!("add rule {table} {name} {rule}"), Some((&rule, None)));
            }
            for (number, ((_, flows), rules)) in configurations.iter().zip(rules).enumerate() {
                if rules.is_empty() {
                    continue;
                }
                let chain = format!("{name}_{:x}", flows.mark);
                script.line(format!("add chain {table} {chain}"), None);
                let ours = match hook {
                    Hook::Output | Hook::Postrouting => format!("meta mark {:#x}", flows.mark),
                    Hook::Prerouting | Hook::Input => {
                        format!("meta l4proto {{ tcp, udp }} th dport @{}", ports(flows))
                    }
                };
                script.line(format!("add rule {table} {name} {ours} jump {chain}"), None);
                for (step, rule) in rules {
                    for text in by_family(rule) {
                        let rule = Some((rule, Some((number, step))));
                        script.line(format!("add rule {table} {chain} {text}"), rule);
                    }
                }
            }
        }
        script
    }

    /// Keeps the set of each configuration's source ports, if it is not kept yet.
    fn ports(&mut self, configurations: &[(&[Step], &Flows)]) {
        let table = self.table.name.clone();
        let chain = format!(
            "add chain {table} ports {{ type filter hook output priority mangle - 1; policy accept; }}"
        );
        if self.lines.contains(&chain) {
            return;
        }
        let sets: Vec<String> = configurations.iter().map(|(_, flows)| ports(flows)).collect();
        for set in &sets {
            let kind = "type inet_service; size 65535; flags dynamic;";
            self.line(format!("add set {table} {set} {{ {kind} }}"), None);
        }
        self.line(chain, None);
        for ((_, Flows { mark }), own) in configurations.iter().zip(&sets) {
            let ours =
                format!("add rule {table} ports meta mark {mark:#x} meta l4proto {{ tcp, udp }}");
            self.line(format!("{ours} update @{own} {{ th sport }}"), None);
            // A statement that deletes what is not there ends its rule: each has its own.
            for other in sets.iter().filter(|set| *set != own) {
                self.line(format!("{ours} delete @{other} {{ th sport }}"), None);
            }
        }
    }

    fn line(&mut self, line: String, rule: Option<(&str, Option<(usize, usize)>)>) {
        self.lines.push(line);
        self.rules.push(rule.map(|(rule, _)| rule.to_owned()));
        self.origins.push(rule.and_then(|(_, origin)| origin));
    }

    /// Whose rule a line puts in force: the numbers of its configuration among these, and of its step there.
    pub fn origin(&self, line: usize) -> Option<(usize, usize)> {
        self.origins.get(line).copied().flatten()
    }

    /// The same to be checked only: whether there is a table of that name does not matter.
    pub fn checked(&self) -> String {
        self.text().replacen("create table", "add table", 1)
    }

    /// The table that it makes.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Puts the rules in force: all, or on error none.
    pub fn load(&self) -> Result<(), Failure> {
        let table = &self.table.name;
        let said = NFT.run(&["-f", "-"], &self.text()).map_err(Failure::Unchanged)?;
        if said.ok {
            log::info!("nftables: {} rules in table {table}", self.rules.iter().flatten().count());
            return Ok(());
        }
        let complaint = said.complaint();
        let line = said.line();
        let rule = line.and_then(|line| self.rules.get(line)?.as_deref());
        let why = match (rule, line) {
            (Some(rule), _) => {
                Error::failed(format!("put the nftables rule `{rule}` in force"), complaint)
            }
            (None, Some(0)) if complaint.contains("File exists") => Error::Failed(format!(
                "make the nftables table {table}: there is one already, of another program; remove it: \
                 nft delete table {table}"
            )),
            _ => Error::failed(format!("make the nftables table {table}"), complaint),
        };
        Err(Failure::Unchanged(why))
    }

    /// Whether a listing ([`Table::look`]) has everything that the script makes: each line makes one object, and each
    /// object is listed with its handle.
    pub fn is_whole(&self, seen: &str) -> bool {
        seen.matches("# handle ").count() >= self.lines.len()
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Table {
    /// That of a slot, marked as this run's.
    pub fn new(slot: Slot, run: &Run) -> Self {
        Self { name: slot.table(), chain: run.chain() }
    }

    /// Its name, with the family.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules as nft lists them, with handles, without counts and elements of sets; nothing if it is gone.
    pub fn look(&self) -> Result<String> {
        let words: Vec<&str> =
            ["-s", "-t", "-a", "list", "table"].into_iter().chain(self.name.split(' ')).collect();
        let said = NFT.run(&words, "")?;
        match said.ok || said.complaint().contains("No such file or directory") {
            true => Ok(said.output),
            false => Err(Error::failed(
                format!("list the nftables table {}", self.name),
                said.complaint(),
            )),
        }
    }

    /// Deletes it, if it is there and ours; says whether it was.
    pub fn remove(&self) -> Result<bool> {
        let Self { name, chain } = self;
        let text = format!("delete chain {name} {chain}\ndelete table {name}\n");
        let said = NFT.run(&["-f", "-"], &text)?;
        if said.ok {
            return Ok(true);
        }
        let complaint = said.complaint();
        match complaint.contains("No such file or directory") {
            true => Ok(false),
            false => Err(Error::failed(format!("delete the nftables table {name}"), complaint)),
        }
    }
}

/// The name of the set of a configuration's source ports.
fn ports(flows: &Flows) -> String {
    format!("ports_{:x}", flows.mark)
}

/// The rules of these steps at a hook, in order, with the numbers of their steps.
fn rules(steps: &[Step], hook: Hook) -> impl Iterator<Item = (usize, &str)> {
    steps.iter().enumerate().filter_map(move |(number, step)| match step {
        Step::Netfilter(step) if step.hook == hook => Some((number, step.rule.trim())),
        _ => None,
    })
}

/// The words of a rule that are not within quotes, with their places.
fn words(rule: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut quoted = false;
    let mut start = None;
    for (at, c) in rule.char_indices().chain([(rule.len(), ' ')]) {
        quoted ^= c == '"';
        let part = !quoted && !c.is_whitespace() && c != '"';
        match (start, part) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push((from, &rule[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// Whether a rule changes what the way of a packet depends on.
fn reroutes(rule: &str) -> bool {
    let words = words(rule);
    words.iter().enumerate().any(|(at, (_, word))| {
        let set = words.get(at + 1).is_some_and(|(_, next)| *next == "set");
        let of_connection = at > 0 && words[at - 1].1 == "ct";
        set && (matches!(*word, "saddr" | "daddr") || (*word == "mark" && !of_connection))
    })
}

/// The only IP version whose packets a rule can match; `None` if both, or if that cannot be told.
pub(super) fn only(rule: &str) -> Option<Family> {
    const V4: [&str; 2] = ["ip", "icmp"];
    const V6: [&str; 7] = ["ip6", "icmpv6", "ipv6-icmp", "exthdr", "hbh", "frag", "mh"];
    let words: Vec<&str> = words(rule).into_iter().map(|(_, word)| word).collect();
    let mut found = [false; 2];
    let mut named = |four: bool, not: bool| found[usize::from(four == not)] = true;
    let (mut not, mut ignored) = (false, false);
    for (at, word) in words.iter().enumerate() {
        let word = word.trim_matches(['{', '}', ',']);
        match word {
            // Only what `meta` reads has every packet as a subject; `ip protocol != tcp` is about IPv4.
            "!=" if at > 1 && words[at - 2] == "meta" => {
                not = matches!(words[at - 1], "nfproto" | "protocol");
                ignored = !not;
            }
            "" => {}
            "ipv4" | "ipv6" => named(word == "ipv4", not),
            _ if ignored => ignored = false,
            _ if V4.contains(&word) => named(true, not),
            _ if V6.contains(&word) => named(false, not),
            _ => not = false,
        }
    }
    match found {
        [true, false] => Some(Family::V4),
        [false, true] => Some(Family::V6),
        _ => None,
    }
}

/// A rule whose statements that set fields of both versions name none: `ip dscp set 46` becomes `dscp set 46`.
pub fn without_version(rule: &str) -> String {
    let words = words(rule);
    let mut text = rule.to_owned();
    for window in words.windows(3).rev() {
        let [(at, version), (field, name), (_, set)] = window else { continue };
        let of_both = matches!(*name, "dscp" | "ecn" | "ttl" | "hoplimit");
        if matches!(*version, "ip" | "ip6") && of_both && *set == "set" {
            text.replace_range(*at..*field, "");
        }
    }
    text
}

/// The rule once per IP version, if it sets a field (`dscp set 46`) of neither in particular; nft
/// knows such fields of one version only.
fn by_family(rule: &str) -> Vec<String> {
    /// Fields of both versions: their name here and in each.
    const FIELDS: [(&str, &str, &str); 4] = [
        ("dscp", "ip dscp", "ip6 dscp"),
        ("ecn", "ip ecn", "ip6 ecn"),
        ("ttl", "ip ttl", "ip6 hoplimit"),
        ("hoplimit", "ip ttl", "ip6 hoplimit"),
    ];
    let words = words(rule);
    let is = |at: Option<usize>, what: &[&str]| {
        at.and_then(|at| words.get(at)).is_some_and(|(_, word)| what.contains(word))
    };
    let mut neither = Vec::new();
    for (at, (place, word)) in words.iter().enumerate() {
        if let Some(field) = FIELDS.iter().find(|(field, ..)| field == word)
            && is(Some(at + 1), &["set"])
            && !is(at.checked_sub(1), &["ip", "ip6"])
        {
            neither.push((*place, field));
        }
    }
    if neither.is_empty() {
        return vec![rule.to_owned()];
    }
    let names = |family: &str| words.iter().any(|(_, word)| *word == family);
    let versions = [("ip", "ip6", "ipv4"), ("ip6", "ip", "ipv6")];
    versions
        .iter()
        .enumerate()
        // What names one version is about that one.
        .filter(|(_, (own, other, _))| names(own) || !names(other))
        .map(|(version, (_, _, nfproto))| {
            let mut text = rule.to_owned();
            for (place, (field, four, six)) in neither.iter().rev() {
                text.replace_range(*place..place + field.len(), [four, six][version]);
            }
            format!("meta nfproto {nfproto} {text}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_stays_one_rule() {
        for good in ["ip dscp set 46", "tcp dport { 80, 443 } tcp option maxseg size set 1000"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "",
            " ",
            "drop; flush ruleset",
            "drop } table x {",
            "drop {",
            "drop # x",
            "a\nb",
            "drop \\",
            "counter comment \"x",
            "handle 3 drop",
        ] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    fn step(rule: &str, hook: Hook) -> Step {
        Step::Netfilter(Netfilter { rule: rule.into(), hook })
    }

    #[test]
    fn all_configurations_are_one_transaction() {
        let zero = [step("dscp set 46", Hook::Output), step("counter", Hook::Input)];
        let one = [step("ip ttl set 9", Hook::Output), step("tcp flags rst drop", Hook::Output)];
        let run = Run { pid: 7, started: 8, since: 9, measurement: "x".into() };
        let table = Table::new(Slot::default(), &run);
        let (f0, f1) = (Flows { mark: 0x10 }, Flows { mark: 0x11 });
        assert_eq!(
            Script::new(&[(&zero, &f0), (&one, &f1)], table).text(),
            "\
create table inet pathspider
add chain inet pathspider run_7_8
add set inet pathspider ports_10 { type inet_service; size 65535; flags dynamic; }
add set inet pathspider ports_11 { type inet_service; size 65535; flags dynamic; }
add chain inet pathspider ports { type filter hook output priority mangle - 1; policy accept; }
add rule inet pathspider ports meta mark 0x10 meta l4proto { tcp, udp } update @ports_10 { th sport }
add rule inet pathspider ports meta mark 0x10 meta l4proto { tcp, udp } delete @ports_11 { th sport }
add rule inet pathspider ports meta mark 0x11 meta l4proto { tcp, udp } update @ports_11 { th sport }
add rule inet pathspider ports meta mark 0x11 meta l4proto { tcp, udp } delete @ports_10 { th sport }
add chain inet pathspider input { type filter hook input priority mangle; policy accept; }
add chain inet pathspider input_10
add rule inet pathspider input meta l4proto { tcp, udp } th dport @ports_10 jump input_10
add rule inet pathspider input_10 counter
add chain inet pathspider output { type filter hook output priority mangle; policy accept; }
add chain inet pathspider output_10
add rule inet pathspider output meta mark 0x10 jump output_10
add rule inet pathspider output_10 meta nfproto ipv4 ip dscp set 46
add rule inet pathspider output_10 meta nfproto ipv6 ip6 dscp set 46
add chain inet pathspider output_11
add rule inet pathspider output meta mark 0x11 jump output_11
add rule inet pathspider output_11 ip ttl set 9
add rule inet pathspider output_11 tcp flags rst drop
"
        );
    }

    #[test]
    fn resets_are_held_back_from_the_configurations_ports() {
        let zero = [Step::HoldReset];
        let one = [step("ip ttl set 9", Hook::Output), Step::HoldReset];
        let (f0, f1) = (Flows { mark: 0x10 }, Flows { mark: 0x11 });
        let run = Run { pid: 7, started: 8, since: 9, measurement: "x".into() };
        let table = Table::new(Slot::default(), &run);
        assert_eq!(
            Script::new(&[(&zero, &f0), (&one, &f1)], table).text(),
            "\
create table inet pathspider
add chain inet pathspider run_7_8
add set inet pathspider ports_10 { type inet_service; size 65535; flags dynamic; }
add set inet pathspider ports_11 { type inet_service; size 65535; flags dynamic; }
add chain inet pathspider ports { type filter hook output priority mangle - 1; policy accept; }
add rule inet pathspider ports meta mark 0x10 meta l4proto { tcp, udp } update @ports_10 { th sport }
add rule inet pathspider ports meta mark 0x10 meta l4proto { tcp, udp } delete @ports_11 { th sport }
add rule inet pathspider ports meta mark 0x11 meta l4proto { tcp, udp } update @ports_11 { th sport }
add rule inet pathspider ports meta mark 0x11 meta l4proto { tcp, udp } delete @ports_10 { th sport }
add chain inet pathspider output { type filter hook output priority mangle; policy accept; }
add rule inet pathspider output tcp flags & rst == rst tcp sport @ports_10 meta mark != 0x10 drop
add rule inet pathspider output tcp flags & rst == rst tcp sport @ports_11 meta mark != 0x11 drop
add chain inet pathspider output_11
add rule inet pathspider output meta mark 0x11 jump output_11
add rule inet pathspider output_11 ip ttl set 9
"
        );
    }

    #[test]
    fn what_changes_the_way_is_routed_again() {
        for (rule, expected) in [
            ("meta mark set 7", true),
            ("counter ip daddr set 192.0.2.1", true),
            ("ct mark set 7", false),
            ("meta mark 7 drop", false),
            ("counter comment \"mark set 7\"", false),
        ] {
            assert_eq!(reroutes(rule), expected, "{rule}");
        }
    }

    #[test]
    fn fields_of_no_version_are_set_in_both() {
        for (rule, expected) in [
            (
                "dscp set 46",
                &["meta nfproto ipv4 ip dscp set 46", "meta nfproto ipv6 ip6 dscp set 46"][..],
            ),
            (
                "tcp dport 80 ttl set 3 ecn set ce",
                &[
                    "meta nfproto ipv4 tcp dport 80 ip ttl set 3 ip ecn set ce",
                    "meta nfproto ipv6 tcp dport 80 ip6 hoplimit set 3 ip6 ecn set ce",
                ],
            ),
            (
                "ip saddr 192.0.2.1 dscp set 4",
                &["meta nfproto ipv4 ip saddr 192.0.2.1 ip dscp set 4"],
            ),
            ("ip6 daddr ::1 ttl set 4", &["meta nfproto ipv6 ip6 daddr ::1 ip6 hoplimit set 4"]),
            ("ip dscp set 46", &["ip dscp set 46"]),
            ("ip6 hoplimit set 4", &["ip6 hoplimit set 4"]),
            ("tcp flags ecn drop", &["tcp flags ecn drop"]),
            ("counter comment \"dscp set 4\"", &["counter comment \"dscp set 4\""]),
        ] {
            assert_eq!(by_family(rule), expected, "{rule}");
        }
        for (rule, expected) in [
            ("ip dscp set 46", "dscp set 46"),
            ("tcp dport 80 ip ttl set 3 ip ecn set ce", "tcp dport 80 ttl set 3 ecn set ce"),
            ("ip6 hoplimit set 4", "hoplimit set 4"),
            ("ip saddr 192.0.2.1 drop", "ip saddr 192.0.2.1 drop"),
            ("ip dscp 46 drop", "ip dscp 46 drop"),
        ] {
            assert_eq!(without_version(rule), expected, "{rule}");
        }
    }

    #[test]
    fn hooks_have_names() {
        for (name, hook, _) in HOOKS {
            assert_eq!(hook.as_str(), *name);
        }
    }
}
