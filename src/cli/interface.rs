//! The interface that the default route uses.

use std::fs;

use crate::error::{Doing as _, Error, Result};

/// The interface of the IPv4 default route with the lowest metric, else of the IPv6 one.
pub fn default() -> Result<String> {
    let v4 = fs::read_to_string("/proc/net/route").doing(|| "read /proc/net/route")?;
    // A kernel without IPv6 has no such file.
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    from_v4(&v4).or_else(|| from_v6(&v6)).ok_or_else(|| {
        Error::Usage("no default route tells which interface to watch: name it with -i".into())
    })
}

/// `/proc/net/route`: Iface Destination Gateway Flags RefCnt Use Metric Mask ..., numbers in hex.
fn from_v4(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", _, flags, _, _, metric, "00000000", ..] = words[..] else {
            return None;
        };
        let up = u32::from_str_radix(flags, 16).ok()? & 1 != 0;
        up.then_some((metric.parse::<u64>().ok()?, interface))
    });
    routes.min().map(|(_, interface)| interface.to_owned())
}

/// `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric,
/// references, use, flags, interface, all but the last in hex.
fn from_v6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", _, _, _, metric, _, _, _, interface] = words[..] else {
            return None;
        };
        let zero = destination.bytes().all(|digit| digit == b'0');
        // The unreachable route that every namespace has stands on lo.
        (zero && interface != "lo").then_some((u64::from_str_radix(metric, 16).ok()?, interface))
    });
    routes.min().map(|(_, interface)| interface.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(from_v4(table).as_deref(), Some("eth0"));
        assert_eq!(from_v4("Iface\n"), None);
    }

    #[test]
    fn ipv6_passes_over_the_unreachable_route() {
        let zero = "0".repeat(32);
        let line = |metric: &str, interface: &str| {
            format!(
                "{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 00000001 {interface:>8}\n"
            )
        };
        let table = line("00000400", "eth0") + &line("ffffffff", "lo");
        assert_eq!(from_v6(&table).as_deref(), Some("eth0"));
        assert_eq!(from_v6(&line("00000001", "lo")), None);
    }
}
