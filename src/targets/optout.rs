//! The exclusion list: networks, addresses and names that must not be probed.
//!
//! One entry per line: a prefix (`192.0.2.0/24`), an address, a name (`example.org`), or a name with everything below
//! it (`.example.org` or `*.example.org`); `#` begins a comment. A line that cannot be parsed is an error and is not
//! skipped: an opt-out list is worthless if a part of it is ignored.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;

use hickory_proto::rr::Name;

use super::name;
use super::prefixes::{ListDigest, Prefixes, each_line};
use super::refusal::shown;
use crate::error::Result;

/// Targets that must not be probed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OptOuts {
    prefixes: Prefixes,
    /// Names in lower case.
    names: HashSet<String>,
    /// Names that also cover everything below them.
    domains: HashSet<String>,
    /// The digest of each list.
    digests: Vec<ListDigest>,
}

impl OptOuts {
    /// Reads all lists into one.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) with the first line that cannot be parsed.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let mut all = Self::default();
        all.digests = each_line(paths, |entry| all.add(entry))?;
        all.prefixes.merge();
        Ok(all)
    }

    /// Whether a target is excluded by its address or by its name. Names are not resolved: a target that is listed
    /// without its name is matched by its address only.
    pub fn has(&self, address: Option<IpAddr>, name: Option<&str>) -> bool {
        address.is_some_and(|address| self.prefixes.contains(address))
            || name.is_some_and(|name| self.has_name(name))
    }

    /// Number of disjoint prefixes, and number of names.
    pub fn len(&self) -> (usize, usize) {
        (self.prefixes.len(), self.names.len() + self.domains.len())
    }

    /// The digest of each list, in the order in which they were read.
    pub fn digests(&self) -> &[ListDigest] {
        &self.digests
    }

    fn has_name(&self, name: &str) -> bool {
        if self.names.is_empty() && self.domains.is_empty() {
            return false;
        }
        let name = plain(name);
        if self.names.contains(&name) || self.domains.contains(&name) {
            return true;
        }
        let above = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        above.into_iter().any(|above| self.domains.contains(above))
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        let bare = entry.trim_start_matches('[').trim_end_matches(']');
        if entry.contains('/') || bare.parse::<IpAddr>().is_ok() {
            return self.prefixes.add(entry);
        }
        let below = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.'));
        let name = plain(below.unwrap_or(entry));
        let name = name::check(&name)
            .map_err(|why| format!("{} is not a prefix, address or name: {why}", shown(entry)))?;
        let names = if below.is_some() { &mut self.domains } else { &mut self.names };
        names.insert(name.to_owned());
        Ok(())
    }
}

/// Normalizes a name for comparison: lower case, no trailing dot, in the form of the DNS (RFC 5891).
fn plain(name: &str) -> String {
    let name = name.trim().trim_end_matches('.');
    if !name.is_ascii()
        && let Ok(encoded) = Name::from_str_relaxed(name)
    {
        return encoded.to_ascii().to_ascii_lowercase();
    }
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::prefixes::each_entry;

    fn list(text: &str) -> Result<OptOuts, (usize, String)> {
        let mut list = OptOuts::default();
        each_entry(text, |entry| list.add(entry))?;
        list.prefixes.merge();
        Ok(list)
    }

    #[test]
    fn what_is_excluded_and_what_is_not() {
        let list = list(
            "# asked to be left alone\n203.0.113.0/24\n192.0.2.7 # a host\n[2001:db8::7]\n\nExample.ORG.\n\
             .all.example\n*.stars.example\nbücher.example\n",
        )
        .unwrap();
        assert_eq!(list.len(), (3, 4));
        for (address, name, meant) in [
            ("203.0.113.9", None, true),
            ("::ffff:203.0.113.9", None, true),
            ("192.0.2.7", Some("other.example"), true),
            ("192.0.2.8", None, false),
            ("2001:db8::7", None, true),
            ("192.0.2.8", Some("example.org"), true),
            ("192.0.2.8", Some("EXAMPLE.org."), true),
            ("192.0.2.8", Some("www.example.org"), false),
            ("192.0.2.8", Some("all.example"), true),
            ("192.0.2.8", Some("a.b.all.example"), true),
            ("192.0.2.8", Some("notall.example"), false),
            ("192.0.2.8", Some("www.stars.example"), true),
            ("192.0.2.8", Some("stars.example"), true),
            ("192.0.2.8", Some("Bücher.example"), true),
            ("192.0.2.8", Some("xn--bcher-kva.example"), true),
            ("192.0.2.8", Some(""), false),
        ] {
            assert_eq!(list.has(address.parse().ok(), name), meant, "{address} {name:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_parsed_is_reported() {
        for (text, line, why) in [
            ("example.org\n10.0.0.1/8\n", 2, "has host bits set"),
            ("10.0.0.0/99", 1, "length"),
            ("two words", 1, "is not a prefix, address or name"),
            ("a..b", 1, "empty label"),
            (".", 1, "an empty name"),
        ] {
            let (at, said) = list(text).unwrap_err();
            assert!(at == line && said.contains(why), "{text:?}: {at}: {said}");
        }
    }
}
