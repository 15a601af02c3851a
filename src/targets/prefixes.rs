//! Lists of prefixes.
//!
//! One prefix (`192.0.2.0/24`), address or range (`192.0.2.0-192.0.2.9`) per line; `#` begins a comment. A line that
//! cannot be parsed is an error and is not skipped: an exclude list is worthless if a part of it is ignored.

use std::io::BufReader;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::lines::Lines;
use super::refusal::shown;
use crate::error::{Error, Result};
use crate::files;

/// A set of addresses with lookups in logarithmic time; takes at most 32 octets per prefix.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Prefixes {
    /// First and last address of each range; sorted and disjoint after [`Prefixes::merge`].
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// Calls `take` with each line of the lists, without comments and blank lines, and returns the digest of each list.
///
/// # Errors
/// [`Error::Usage`] with the first line that cannot be parsed.
pub(super) fn each_line(
    paths: &[impl AsRef<Path>],
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<Vec<ListDigest>> {
    let mut digests = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let refuse = |why: String| Error::Usage(format!("read {}: {why}", path.display()));
        let file = files::Input::open(path)
            .map_err(|error| files::refuse(&path.display().to_string(), error))?;
        let mut lines = Lines::new(Box::new(BufReader::new(file)));
        let mut entries = 0;
        let mut take = |text: &str| {
            entries += 1;
            take(text)
        };
        while let Some(line) = lines.next().map_err(|error| refuse(error.to_string()))? {
            entry(line.text, &mut take)
                .map_err(|why| refuse(format!("line {}: {why}", line.number)))?;
        }
        let (bytes, sha256) = (lines.bytes(), lines.digest().unwrap_or_default());
        digests.push(ListDigest { bytes, sha256, entries });
    }
    Ok(digests)
}

/// What identifies a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListDigest {
    /// Octets.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Entries, without comments and blank lines.
    pub entries: u64,
}

/// Calls `take` with a line, unless it is blank.
fn entry(
    line: Result<&str, String>,
    take: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let entry = line?.split('#').next().unwrap_or_default().trim();
    if entry.is_empty() { Ok(()) } else { take(entry) }
}

/// [`each_line`] for a text; an error has its line number.
#[cfg(test)]
pub(super) fn each_entry(
    text: &str,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), (usize, String)> {
    (1..)
        .zip(text.lines())
        .try_for_each(|(number, line)| entry(Ok(line), &mut take).map_err(|why| (number, why)))
}

impl Prefixes {
    /// Reads all lists into one set.
    ///
    /// # Errors
    /// [`Error::Usage`] with the first line that cannot be parsed.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let mut all = Self::default();
        each_line(paths, |prefix| all.add(prefix))?;
        all.merge();
        Ok(all)
    }

    /// Whether an address is in the set; an IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => within(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => within(&self.v6, v6.to_bits()),
        }
    }

    /// Number of ranges.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Adds a prefix, address or range; [`Prefixes::merge`] must follow.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        if let Some((first, last)) = text.split_once('-') {
            return self.add_range(text, first.trim(), last.trim());
        }
        match network(text)? {
            IpNet::V4(net) => self.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(net) => self.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
        }
        Ok(())
    }

    /// Adds a range of addresses, as in exclude lists of masscan.
    fn add_range(&mut self, text: &str, first: &str, last: &str) -> Result<(), String> {
        let address =
            |text: &str| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        match (address(first), address(last)) {
            (Some(IpAddr::V4(first)), Some(IpAddr::V4(last))) if first <= last => {
                self.v4.push((first.to_bits(), last.to_bits()));
            }
            (Some(IpAddr::V6(first)), Some(IpAddr::V6(last))) if first <= last => {
                self.v6.push((first.to_bits(), last.to_bits()));
            }
            (Some(_), Some(_)) => {
                return Err(format!(
                    "{} is not a range from an address to a later one",
                    shown(text)
                ));
            }
            _ => return Err(format!("{} is not a prefix or address", shown(text))),
        }
        Ok(())
    }

    /// Sorts and merges the ranges for lookups.
    pub(super) fn merge(&mut self) {
        merge(&mut self.v4);
        merge(&mut self.v6);
    }
}

/// Parses a prefix, or an address as a prefix of full length. An IPv4-mapped prefix becomes the IPv4 prefix.
fn network(text: &str) -> Result<IpNet, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address.trim(), Some(length.trim())),
        None => (text, None),
    };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr =
        bare.parse().map_err(|_| format!("{} is not a prefix or address", shown(text)))?;
    let whole = IpNet::from(address).prefix_len();
    let length = match length {
        None => Some(whole),
        Some(digits) => digits.parse().ok().filter(|_| !digits.starts_with('+')),
    };
    let net = length
        .and_then(|length| IpNet::new(address, length).ok())
        .map(canonical)
        .ok_or_else(|| format!("{} has a length that is not 0 to {whole}", shown(text)))?;
    match net.trunc() {
        meant if meant != net => Err(format!("{net} has host bits set; did you mean {meant}?")),
        net => Ok(net),
    }
}

fn canonical(net: IpNet) -> IpNet {
    let mapped = match net.addr() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpAddr::V4(_) => None,
    };
    mapped.and_then(|(v4, length)| IpNet::new(v4.into(), length).ok()).unwrap_or(net)
}

/// Sorts, and joins ranges that overlap.
fn merge<N: Ord + Copy>(ranges: &mut Vec<(N, N)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let overlaps = next.0 <= before.1;
        if overlaps {
            before.1 = before.1.max(next.1);
        }
        overlaps
    });
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

#[cfg(test)]
mod tests {
    use super::{Prefixes, each_entry};

    fn set(text: &str) -> Result<Prefixes, (usize, String)> {
        let mut set = Prefixes::default();
        each_entry(text, |prefix| set.add(prefix))?;
        set.merge();
        Ok(set)
    }

    #[test]
    fn membership() {
        let set = set("# networks of others\n10.0.0.0/8\n10.1.0.0/16 # inside\n192.0.2.7\n\n\
                       ::ffff:198.51.100.0/120\n203.0.113.3-203.0.113.4\n\
                       2001:dba::5 - 2001:dba::6\n2001:db8::/32\n[2001:db9::1]\n255.255.255.255/32\n");
        let set = set.unwrap();
        for (address, inside) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("203.0.113.2", false),
            ("203.0.113.3", true),
            ("203.0.113.4", true),
            ("203.0.113.5", false),
            ("2001:dba::4", false),
            ("2001:dba::6", true),
            ("2001:dba::7", false),
            ("255.255.255.255", true),
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:db8::", true),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::1", true),
            ("2001:db9::2", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn everything_and_nothing() {
        let [nothing, all4, mapped, all6] =
            ["", "0.0.0.0/0", "::ffff:0:0/96", "::/0"].map(|text| set(text).unwrap());
        let v4 = "192.0.2.1".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        assert_eq!(all4, mapped);
        let found = [nothing, all4, all6].map(|set| (set.contains(v4), set.contains(v6)));
        assert_eq!(found, [(false, false), (true, false), (false, true)]);
    }

    #[test]
    fn a_line_that_cannot_be_parsed_is_reported() {
        for (text, line, why) in [
            ("10.0.0.0/8\nexample.org\n", 2, "\"example.org\" is not a prefix or address"),
            ("10.0.0.1/8", 1, "10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?"),
            ("2001:db8::1/64", 1, "2001:db8::1/64 has host bits set; did you mean 2001:db8::/64?"),
            ("10.0.0.0/33", 1, "\"10.0.0.0/33\" has a length that is not 0 to 32"),
            ("10.0.0.0/+8", 1, "\"10.0.0.0/+8\" has a length that is not 0 to 32"),
            ("::/129", 1, "\"::/129\" has a length that is not 0 to 128"),
            ("10.0.0.0-10.0.0", 1, "\"10.0.0.0-10.0.0\" is not a prefix or address"),
            (
                "10.0.0.9-10.0.0.0",
                1,
                "\"10.0.0.9-10.0.0.0\" is not a range from an address to a later one",
            ),
            (
                "10.0.0.0-2001:db8::",
                1,
                "\"10.0.0.0-2001:db8::\" is not a range from an address to a later one",
            ),
        ] {
            assert_eq!(set(text), Err((line, why.to_owned())));
        }
    }
}
