//! Lists of prefixes.
//!
//! One prefix (`192.0.2.0/24`), address or range (`192.0.2.0-192.0.2.9`) per line; `#` begins a comment. A line that
//! cannot be parsed is an error and is not skipped: an exclude list is worthless if a part of it is ignored.

use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::lines::Lines;
use super::refusal::shown;
use crate::error::{Error, Result};
use crate::files;

/// A set of addresses; looked up in logarithmic time, kept in 32 octets a prefix.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Prefixes {
    /// First and last address, apart, in order, not touching.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// Hands on what each line of the lists says, without comments and blank ones.
///
/// # Errors
/// [`Error::Usage`] with the first line that cannot be read.
pub(super) fn each_line(
    paths: &[impl AsRef<Path>],
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<()> {
    for path in paths.iter().map(AsRef::as_ref) {
        let refuse = |why: String| Error::Usage(format!("read {}: {why}", path.display()));
        let file = files::Input::open(path)
            .map_err(|error| files::refuse(&path.display().to_string(), error))?;
        let mut lines = Lines::new(Box::new(BufReader::new(file)));
        while let Some(line) = lines.next().map_err(|error| refuse(error.to_string()))? {
            entry(line.text, &mut take)
                .map_err(|why| refuse(format!("line {}: {why}", line.number)))?;
        }
    }
    Ok(())
}

/// Hands on what one line says, if it says anything.
fn entry(
    line: Result<&str, String>,
    take: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let entry = line?.split('#').next().unwrap_or_default().trim();
    if entry.is_empty() { Ok(()) } else { take(entry) }
}

/// [`each_line`] of a text; an error has the number of its line.
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
    /// Reads the lists, all into one set.
    ///
    /// # Errors
    /// [`Error::Usage`] with the first line that cannot be read.
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

    /// How many ranges there are; of a merged set, none touches another.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Adds a prefix or an address; [`Prefixes::merge`] must follow.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        if let Some((first, last)) = text.split_once('-') {
            return self.add_range(text, first.trim(), last.trim());
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address.trim(), Some(length.trim())),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr =
            bare.parse().map_err(|_| format!("{} is not a prefix or address", shown(text)))?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => whole,
            Some(digits) => digits
                .parse::<u32>()
                .ok()
                .filter(|length| *length <= whole && !digits.starts_with('+'))
                .ok_or_else(|| format!("{} has a length that is not 0 to {whole}", shown(text)))?,
        };
        match address {
            IpAddr::V4(v4) => self.add_v4(v4, length),
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), length) {
                (Some(v4), 96..) => self.add_v4(v4, length - 96),
                _ => self.add_v6(v6, length),
            },
        }
    }

    /// Adds the addresses from one to another, as exclude lists of masscan have them.
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

    fn add_v4(&mut self, v4: Ipv4Addr, length: u32) -> Result<(), String> {
        let first = v4.to_bits();
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        if first & host != 0 {
            let meant = Ipv4Addr::from_bits(first & !host);
            return Err(format!("{v4}/{length} has bits behind its length: {meant}/{length}?"));
        }
        self.v4.push((first, first | host));
        Ok(())
    }

    fn add_v6(&mut self, v6: Ipv6Addr, length: u32) -> Result<(), String> {
        let first = v6.to_bits();
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        if first & host != 0 {
            let meant = Ipv6Addr::from_bits(first & !host);
            return Err(format!("{v6}/{length} has bits behind its length: {meant}/{length}?"));
        }
        self.v6.push((first, first | host));
        Ok(())
    }

    /// Makes it fit to be asked.
    pub(super) fn merge(&mut self) {
        merge(&mut self.v4);
        merge(&mut self.v6);
    }
}

/// Sorts, and makes one of those that overlap.
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
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
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
    fn what_is_in_and_what_is_not() {
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
    fn a_line_that_cannot_be_read_is_told() {
        for (text, line, why) in [
            ("10.0.0.0/8\nexample.org\n", 2, "\"example.org\" is not a prefix or address"),
            ("10.0.0.1/8", 1, "10.0.0.1/8 has bits behind its length: 10.0.0.0/8?"),
            ("2001:db8::1/64", 1, "2001:db8::1/64 has bits behind its length: 2001:db8::/64?"),
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
