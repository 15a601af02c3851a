//! The table of nftables rules of a run: the transaction that makes it, and the table itself.
//!
//! The rules of all configurations in force are in one table of the program's own, that of the run's [`Slot`]. One
//! transaction makes it and one deletes it. A chain without rules (`run_PID_START`) identifies its owner, so that the
//! table of another program is never deleted. Each hook in use has a base chain at the priority `mangle`, which sends the
//! packets of each configuration, and no others, to a chain with the rules of that configuration in their order; so a
//! rule applies to these packets only.
//!
//! At `output` and `postrouting` a configuration's packets carry its mark. At `prerouting` and `input` packets carry no
//! mark of ours, so there they are TCP and UDP packets *to* the source ports of the configuration: each has a set of
//! ports, which its own packets fill as they leave, and from which a packet of another configuration removes its port.
//! Packets that quote those ports (ICMP errors) and later fragments are not included.
//!
//! The transaction is in nft's own language: libnftables' JSON cannot carry a rule that is written as text, and a
//! measurement's rules are.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::kind::{Flows, Place};
use super::lock::Run;
use super::rule::{HOOKS, Hook, by_family, reroutes};
use super::slot::Slot;
use super::tool::NFT;
use crate::error::{Error, Result};

/// A rule of a configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a> {
    /// Its step.
    pub place: Place,
    /// Where it applies.
    pub hook: Hook,
    /// The rule as nft(8) reads it.
    pub text: &'a str,
}

/// A table of the program's own: its name with the family, and the chain that identifies its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    name: String,
    chain: String,
}

/// The transaction that makes a table, in nft's language, a command a line.
#[derive(Debug)]
pub(super) struct Script {
    table: Table,
    lines: Vec<String>,
    /// For each line the rule that it puts in force, as written in the measurement.
    rules: Vec<Option<String>>,
    /// For each line the step of that rule.
    origins: Vec<Option<Place>>,
}

impl Script {
    /// The table `of` with these rules, for configurations with these packets. The resets of those in `holds` are dropped
    /// at output by the rule that `hold` gives, for the set of their source ports.
    pub fn new(
        flows: &[Flows],
        rules: &[Rule<'_>],
        (holds, hold): (&[usize], impl Fn(&Flows, &str) -> String),
        of: Table,
    ) -> Self {
        let table = of.name.clone();
        let mut script =
            Script { lines: Vec::new(), rules: Vec::new(), origins: Vec::new(), table: of };
        // `create`, unlike `add`, fails if the table exists.
        script.line(format!("create table {table}"), None);
        script.line(format!("add chain {table} {}", script.table.chain), None);
        for (name, hook, _) in HOOKS {
            let here: Vec<&Rule<'_>> = rules.iter().filter(|rule| rule.hook == *hook).collect();
            let holds = if *hook == Hook::Output { holds } else { &[] };
            if here.is_empty() && holds.is_empty() {
                continue;
            }
            if matches!(hook, Hook::Prerouting | Hook::Input) || !holds.is_empty() {
                script.ports(flows);
            }
            // A packet of ours whose mark or address is changed is routed again.
            let again = *hook == Hook::Output && here.iter().any(|rule| reroutes(rule.text));
            let kind = if again { "route" } else { "filter" };
            script.line(
                format!("add chain {table} {name} {{ type {kind} hook {name} priority mangle; policy accept; }}"),
                None,
            );
            for flows in holds.iter().filter_map(|number| flows.get(*number)) {
                let rule = hold(flows, &ports(flows));
                script.line(format!("add rule {table} {name} {rule}"), Some((&rule, None)));
            }
            for (number, flows) in flows.iter().enumerate() {
                let own = here.iter().filter(|rule| rule.place.0 == number);
                script.configuration((name, *hook), flows, own.copied());
            }
        }
        script
    }

    /// The chain of one configuration at a hook, if it has rules there.
    fn configuration<'r>(
        &mut self,
        (name, hook): (&str, Hook),
        flows: &Flows,
        rules: impl Iterator<Item = &'r Rule<'r>>,
    ) {
        let table = self.table.name.clone();
        let chain = format!("{name}_{:x}", flows.mark);
        let mut rules = rules.peekable();
        if rules.peek().is_none() {
            return;
        }
        self.line(format!("add chain {table} {chain}"), None);
        let ours = match hook {
            Hook::Output | Hook::Postrouting => format!("meta mark {:#x}", flows.mark),
            Hook::Prerouting | Hook::Input => {
                format!("meta l4proto {{ tcp, udp }} th dport @{}", ports(flows))
            }
        };
        self.line(format!("add rule {table} {name} {ours} jump {chain}"), None);
        for rule in rules {
            for text in by_family(rule.text) {
                let origin = Some((rule.text, Some(rule.place)));
                self.line(format!("add rule {table} {chain} {text}"), origin);
            }
        }
    }

    /// Adds the sets of the configurations' source ports, unless they are there already.
    fn ports(&mut self, flows: &[Flows]) {
        let table = self.table.name.clone();
        let chain = format!(
            "add chain {table} ports {{ type filter hook output priority mangle - 1; policy accept; }}"
        );
        if self.lines.contains(&chain) {
            return;
        }
        let sets: Vec<String> = flows.iter().map(ports).collect();
        for set in &sets {
            let kind = "type inet_service; size 65535; flags dynamic;";
            self.line(format!("add set {table} {set} {{ {kind} }}"), None);
        }
        self.line(chain, None);
        for (Flows { mark }, own) in flows.iter().zip(&sets) {
            let ours =
                format!("add rule {table} ports meta mark {mark:#x} meta l4proto {{ tcp, udp }}");
            self.line(format!("{ours} update @{own} {{ th sport }}"), None);
            // Deleting an element that is missing ends the rule, so each deletion has a rule of its own.
            for other in sets.iter().filter(|set| *set != own) {
                self.line(format!("{ours} delete @{other} {{ th sport }}"), None);
            }
        }
    }

    fn line(&mut self, line: String, rule: Option<(&str, Option<Place>)>) {
        self.lines.push(line);
        self.rules.push(rule.map(|(rule, _)| rule.to_owned()));
        self.origins.push(rule.and_then(|(_, origin)| origin));
    }

    /// The step whose rule a line puts in force.
    pub fn origin(&self, line: usize) -> Option<Place> {
        self.origins.get(line).copied().flatten()
    }

    /// The transaction for a check only: a table of that name may exist.
    pub fn checked(&self) -> String {
        self.text().replacen("create table", "add table", 1)
    }

    /// The table that it makes.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Puts all rules in force, or none on error.
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
                "make the nftables table {table}: another program has a table of this name; remove it: \
                 nft delete table {table}"
            )),
            _ => Error::failed(format!("make the nftables table {table}"), complaint),
        };
        Err(Failure::Unchanged(why))
    }

    /// Whether a listing ([`Table::list`]) has everything that the script makes: each line makes one object, and each
    /// object is listed with its handle.
    pub fn is_complete(&self, seen: &str) -> bool {
        seen.matches("# handle ").count() >= self.lines.len()
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Table {
    /// The table of a slot, marked as this run's.
    pub fn new(slot: Slot, run: &Run) -> Self {
        Self { name: slot.table(), chain: run.chain() }
    }

    /// Its name, with the family.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules as nft lists them, with handles, without counters and elements of sets; empty if it is gone.
    pub fn list(&self) -> Result<String> {
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

    /// Deletes the table if it exists and is ours; returns whether it did.
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

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWS: [Flows; 2] = [Flows { mark: 0x10 }, Flows { mark: 0x11 }];

    fn script(rules: &[Rule<'_>], holds: &[usize]) -> String {
        let run = Run { pid: 7, started: 8, since: 9, measurement: "x".into() };
        let hold = |_: &Flows, ports: &str| format!("tcp sport @{ports} drop");
        Script::new(&FLOWS, rules, (holds, hold), Table::new(Slot::default(), &run)).text()
    }

    fn rule(place: Place, text: &str, hook: Hook) -> Rule<'_> {
        Rule { place, hook, text }
    }

    #[test]
    fn all_configurations_are_one_transaction() {
        let rules = [
            rule((0, 0), "dscp set 46", Hook::Output),
            rule((0, 1), "counter", Hook::Input),
            rule((1, 0), "ip ttl set 9", Hook::Output),
            rule((1, 1), "tcp flags rst drop", Hook::Output),
        ];
        assert_eq!(
            script(&rules, &[]),
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
    fn resets_from_the_ports_of_a_configuration_are_held_back() {
        assert_eq!(
            script(&[rule((1, 0), "ip ttl set 9", Hook::Output)], &[0, 1]),
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
add rule inet pathspider output tcp sport @ports_10 drop
add rule inet pathspider output tcp sport @ports_11 drop
add chain inet pathspider output_11
add rule inet pathspider output meta mark 0x11 jump output_11
add rule inet pathspider output_11 ip ttl set 9
"
        );
    }
}
