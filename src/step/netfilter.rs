//! Rules of nftables, as a measurement describes them.
//!
//! A rule lives in a table of the tool's own and matches only packets that carry the
//! configuration's mark, so whatever it says is about them.

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
    /// The rule as nft(8) reads it, without the match of the mark: `ip dscp set 46`. Statements
    /// without family (`dscp set 46`) are meant for both IP versions.
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
            _ if c.is_control() => return Some("has a control character"),
            '{' => open += 1,
            '}' if open == 0 => return Some("closes a brace that is not open"),
            '}' => open -= 1,
            _ => {}
        }
    }
    match (rule.trim().is_empty(), open) {
        (true, _) => Some("is empty"),
        (_, 0) => None,
        _ => Some("opens a brace and does not close it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_stays_one_rule() {
        for good in ["ip dscp set 46", "tcp dport { 80, 443 } tcp option maxseg size set 1000"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in
            ["", " ", "drop; flush ruleset", "drop } table x {", "drop {", "drop # x", "a\nb"]
        {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn hooks_have_names() {
        for (name, hook, _) in HOOKS {
            assert_eq!(hook.as_str(), *name);
        }
    }
}
