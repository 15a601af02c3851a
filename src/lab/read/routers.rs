//! The routers of a lab file, and the faults at them.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::Checker;
use crate::lab::chain::{Edits, Errors, FIRST, Fault, Hook, MOST_ROUTERS, OWN_AS, RouterSpec};

/// A router on the path to some hosts: Linux in a namespace of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub(super) struct RouterText {
    /// A short name that no other router has: small letters, digits and hyphens.
    #[schemars(with = "String", regex(pattern = "^[a-z0-9-]+$"))]
    name: Spanned<String>,
    /// The router before it on the way from the prober, by default `r1`. It must come earlier in the file.
    #[serde(default)]
    #[schemars(with = "String")]
    behind: Option<Spanned<String>>,
    /// The autonomous system of its address, for the lab's AS table; by default that of the router before it.
    #[serde(default)]
    asn: Option<u32>,
    /// Whether it is not Linux but played in user space, for what Linux cannot do. Only such routers may be behind it.
    #[serde(default)]
    wire: bool,
    /// Whether it sends no ICMP errors.
    #[serde(default)]
    silent: bool,
    /// The ICMP errors per second that it sends to one address after a burst of six, as Linux does by default with 1.
    /// Without this key there is no limit.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 1000))]
    errors_per_second: Option<Spanned<u32>>,
}

/// A fault at one router of a host's path.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["router"]))]
pub(super) struct FaultText {
    /// The name of the router; it must be on the path of the host.
    #[schemars(with = "String")]
    router: Spanned<String>,
    /// Where in the router the rules act.
    #[serde(default)]
    hook: Hook,
    /// nftables rules for packets towards the host, as in the host's own `path`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    path: Vec<Spanned<String>>,
    /// nftables rules for packets from the host.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    path_back: Vec<Spanned<String>>,
    /// What a router with `wire = true` does to packets and in its errors.
    #[serde(default)]
    edits: Edits,
    /// The ICMP errors per second about packets to the host that the router sends, after a burst of five; 0 means none.
    #[serde(default)]
    errors_per_second: Option<u32>,
}

impl Checker<'_> {
    pub(super) fn routers(&mut self, texts: Vec<RouterText>) -> Vec<RouterSpec> {
        let mut names = BTreeSet::from([FIRST.to_owned()]);
        let mut routers: Vec<RouterSpec> = Vec::new();
        for text in texts {
            let help = format!("give each router a name of its own; `{FIRST}` is the first one");
            self.unique(&text.name, &mut names, "router", &help);
            if routers.len() == MOST_ROUTERS {
                let message = format!("a lab has at most {MOST_ROUTERS} routers");
                self.complain(text.name.span(), message, "leave some out");
                break;
            }
            let behind = text.behind.as_ref().and_then(|name| self.router(name, &routers));
            if let Some(number) = &text.errors_per_second
                && !(1..=1000).contains(number.get_ref())
            {
                let help =
                    "write a number from 1 to 1000; `silent = true` is a router without errors";
                self.complain(number.span(), "a router cannot have this limit", help);
            }
            let is_wire = |index: usize| routers.get(index).is_some_and(|router| router.wire);
            if behind.is_some_and(is_wire) && !text.wire {
                let help = "give it `wire = true` as well, or place it elsewhere";
                self.complain(
                    text.name.span(),
                    "behind a router on a wire there is no other",
                    help,
                );
            }
            let asn = text.asn.or_else(|| Some(routers.get(behind?)?.asn)).unwrap_or(OWN_AS);
            routers.push(RouterSpec {
                name: text.name.into_inner(),
                behind,
                asn,
                wire: text.wire,
                silent: text.silent,
                errors_per_second: text.errors_per_second.map(Spanned::into_inner),
            });
        }
        routers
    }

    /// The router with a name; `None` is the first one.
    pub(super) fn router(
        &mut self,
        name: &Spanned<String>,
        routers: &[RouterSpec],
    ) -> Option<usize> {
        let found = routers.iter().position(|router| router.name == *name.get_ref());
        if found.is_none() && name.get_ref() != FIRST {
            let help = format!("name `{FIRST}` or a [[router]] that comes earlier in the file");
            self.complain(name.span(), format!("there is no router `{}`", name.get_ref()), &help);
        }
        found
    }

    /// A fault at a router of a path that ends `behind` a router.
    pub(super) fn fault(
        &mut self,
        text: FaultText,
        behind: Option<usize>,
        routers: &[RouterSpec],
    ) -> Option<Fault> {
        self.rules(text.path.iter().chain(&text.path_back));
        let said = self.diagnostics.len();
        let router = self.router(&text.router, routers);
        if self.diagnostics.len() > said {
            return None;
        }
        let mut next = behind;
        while next.is_some() && next != router {
            next = next.and_then(|index| routers.get(index)?.behind);
        }
        if next != router {
            let message = format!("`{}` is not on the path to this host", text.router.get_ref());
            self.complain(text.router.span(), message, "name a router that the host is behind");
        }
        let errors = match text.errors_per_second {
            None => Errors::All,
            Some(0) => Errors::None,
            Some(number) => Errors::PerSecond(number),
        };
        let has_rules = !text.path.is_empty() || !text.path_back.is_empty();
        if !has_rules && errors == Errors::All && text.edits == Edits::default() {
            let help = "give it `path`, `path_back`, `edits` or `errors_per_second`";
            self.complain(text.router.span(), "this fault does nothing", help);
        }
        let on_wire = router.and_then(|index| routers.get(index)).is_some_and(|router| router.wire);
        match on_wire {
            true if has_rules || matches!(errors, Errors::PerSecond(_)) => {
                let help = "write `edits` instead of rules, and no limit but 0";
                self.complain(text.router.span(), "a router on a wire has no nftables", help);
            }
            false if text.edits != Edits::default() => {
                let help = "write rules, or give the router `wire = true`";
                self.complain(text.router.span(), "only a router on a wire has `edits`", help);
            }
            _ => {}
        }
        let texts =
            |rules: Vec<Spanned<String>>| rules.into_iter().map(Spanned::into_inner).collect();
        let (path, path_back) = (texts(text.path), texts(text.path_back));
        Some(Fault { router, hook: text.hook, path, path_back, edits: text.edits, errors })
    }
}
