//! Bounds and defaults of the values in a file.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The kind of connection if the file names none.
pub(super) const DEFAULT_KIND: &str = "tcp";
/// The timeout of a connection if the file has none.
pub(super) const DEFAULT_TIMEOUT: &str = "5s";
/// Upper bound of every timeout.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// The number of confirmation rounds that a file may ask for; 0 means none.
pub const ROUNDS: RangeInclusive<i64> = 0..=20;
/// The number of confirmation rounds if the file has none.
pub(super) const DEFAULT_ROUNDS: u16 = 2;
/// The least time between rounds if the file has none.
pub(super) const DEFAULT_SPREAD: &str = "2s";

/// The largest TTL of a copy.
pub(super) const LOCATE_HOPS: RangeInclusive<i64> = 1..=32;
/// Copies to each hop at the border.
pub(super) const LOCATE_ROUNDS: RangeInclusive<i64> = 1..=5;
/// Packets of a search.
pub(super) const LOCATE_PACKETS: RangeInclusive<i64> = 10..=200;

/// The route metrics that are numbers, with their bounds.
pub(super) const METRICS: &[(&str, RangeInclusive<i64>)] = &[
    ("advmss", 1..=65_535),
    ("initcwnd", 1..=65_535),
    ("mtu", 68..=65_535),
    ("hoplimit", 1..=255),
];

/// TTL of a crafted packet.
pub(super) const TTL: RangeInclusive<i64> = 1..=255;
/// DSCP: six bits.
pub(super) const DSCP: RangeInclusive<i64> = 0..=63;
/// Octets of a crafted packet: from an empty datagram over IPv6 to what the length field of IPv4 can say.
pub(super) const LENGTH: RangeInclusive<i64> = 48..=65_535;
/// TCP window and MSS: 16 bits.
pub(super) const SIXTEEN: RangeInclusive<i64> = 0..=65_535;
/// Shift counts of window scaling, including those that RFC 7323 forbids.
pub(super) const SCALE: RangeInclusive<i64> = 0..=255;
/// Kinds of TCP options that experiments share (RFC 6994).
pub(super) const EXPERIMENTS: RangeInclusive<i64> = 253..=254;
/// Kinds of TCP options that have a length.
pub(super) const KIND: RangeInclusive<i64> = 2..=255;

/// Parses a duration in the format of measurements and of the command line: 500ms, 5s, 1m.
///
/// # Errors
///
/// What to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| "write a whole number and a unit: 500ms, 5s or 1m".to_owned())
}

/// The units of octets.
const UNITS: [(&str, i64); 5] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("kB", 1000), ("MB", 1_000_000), ("B", 1)];

/// Octets with their unit: 1MiB.
pub(super) fn read_size(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, octets) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<i64>().ok()?.checked_mul(*octets)
}

/// Octets with the largest unit of which they are a whole number.
pub(super) fn size(octets: i64) -> String {
    let unit = |(_, unit): &&(&str, i64)| octets % unit == 0;
    let binary = [UNITS[1], UNITS[0], UNITS[4]];
    let (name, unit) = binary.iter().find(unit).copied().unwrap_or(("B", 1));
    format!("{}{name}", octets / unit)
}

pub(super) fn read_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// The duration that a text probably means: `3 sec`, `2.5s`, `1 minute`.
pub(super) fn duration_meant(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let length = match unit.trim() {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" | "" => 1000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hour" | "hours" => 3_600_000.0,
        _ => return None,
    };
    let milliseconds = number.parse::<f64>().ok()? * length;
    if milliseconds.fract() != 0.0 || !(1.0..=3.6e6).contains(&milliseconds) {
        return None;
    }
    Some(match milliseconds {
        m if m % 60_000.0 == 0.0 => format!("{}m", m / 60_000.0),
        m if m % 1000.0 == 0.0 => format!("{}s", m / 1000.0),
        m => format!("{m}ms"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, octets) in [
            ("1MiB", Some(1 << 20)),
            ("64KiB", Some(65_536)),
            ("10kB", Some(10_000)),
            ("1500B", Some(1500)),
            ("1500", None),
            ("1 MiB", None),
            ("1mib", None),
            ("-1B", None),
            ("99999999999999MiB", None),
        ] {
            assert_eq!(read_size(text), octets, "{text}");
        }
        assert_eq!([1 << 20, 3 << 10, 1000].map(size), ["1MiB", "3KiB", "1000B"]);
    }

    #[test]
    fn durations_are_parsed_completely() {
        assert_eq!(read_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read_duration("1m"), Some(Duration::from_secs(60)));
        for bad in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5h",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert_eq!(read_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_a_duration_has_a_likely_one() {
        for (text, likely) in
            [("3 sec", "3s"), ("2.5s", "2500ms"), ("1 minute", "1m"), ("120s ", "2m"), ("5", "5s")]
        {
            assert_eq!(duration_meant(text).as_deref(), Some(likely), "{text}");
        }
        for text in ["", "soon", "5 parsecs", "0s", "2h", "1.5ms", "..s"] {
            assert_eq!(duration_meant(text), None, "{text}");
        }
    }
}
