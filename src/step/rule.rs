//! Rules of nftables as text: where they apply, what they may not contain, and for which versions of IP they are.

use super::family::Family;

/// The point on a packet's way through this host where a rule applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hook {
    /// Incoming packets, before they are routed.
    Prerouting,
    /// Packets for this host.
    Input,
    /// Packets from this host, before they are routed.
    #[default]
    Output,
    /// Outgoing packets, after they were routed.
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

/// What is wrong with a rule, if it could be more than one rule of the program's own table.
pub fn fault(rule: &str) -> Option<&'static str> {
    let mut open = 0usize;
    for c in rule.chars() {
        match c {
            '\n' | '\r' | ';' => return Some("is more than one statement"),
            '#' => return Some("contains a comment, which would swallow the text appended to it"),
            '\\' => return Some("contains a backslash, which would join the text appended to it"),
            _ if c.is_control() => return Some("contains a control character"),
            '{' => open += 1,
            '}' if open == 0 => return Some("closes a brace that is not open"),
            '}' => open -= 1,
            _ => {}
        }
    }
    let quotes = rule.matches('"').count();
    match (rule.split_whitespace().next(), open) {
        (None, _) => Some("is empty"),
        (Some("handle" | "position" | "index"), _) => Some("names its place among other rules"),
        (_, 0) if quotes % 2 == 1 => Some("opens a quote and does not close it"),
        (_, 0) => None,
        _ => Some("opens a brace and does not close it"),
    }
}

/// The words of a rule outside quotes, with their places.
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

/// Whether a rule changes something that routing depends on.
pub(super) fn reroutes(rule: &str) -> bool {
    let words = words(rule);
    words.iter().enumerate().any(|(at, (_, word))| {
        let set = words.get(at + 1).is_some_and(|(_, next)| *next == "set");
        let of_connection = at > 0 && words[at - 1].1 == "ct";
        set && (matches!(*word, "saddr" | "daddr") || (*word == "mark" && !of_connection))
    })
}

/// The only IP version whose packets a rule can match; `None` if both, or if that is not known.
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
            // Only `meta` matches read every packet; `ip protocol != tcp` is about IPv4.
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

/// A rule without the version in statements that set fields of both: `ip dscp set 46` becomes `dscp set 46`.
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

/// The rule once per IP version, if it sets a field (`dscp set 46`) without naming a version: nft knows such fields
/// for one version only.
pub(super) fn by_family(rule: &str) -> Vec<String> {
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
        // A rule that names one version is about that one.
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

    #[test]
    fn a_rule_that_changes_the_way_reroutes() {
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
    fn fields_without_a_version_are_set_in_both() {
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
