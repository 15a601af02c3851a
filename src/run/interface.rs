//! Chooses the interface to watch, and checks that packets of targets pass through it both ways.

use std::fs;
use std::net::IpAddr;

use nix::net::if_::if_nameindex;

use super::route::{Routes, Way};
use crate::error::{Doing as _, Error, Result, Setting};

/// The named interface, or that of the default route.
///
/// # Errors
/// [`Error::Usage`] if there is no such interface, or no default route through one.
pub fn watched(named: Option<&str>) -> Result<String> {
    let Some(name) = named else { return default() };
    exists(name)?;
    Ok(name.to_owned())
}

/// Checks that an interface of this name exists.
///
/// # Errors
/// [`Error::Usage`], which lists the existing ones.
pub fn exists(name: &str) -> Result<()> {
    let all = if_nameindex().doing(|| "list the interfaces")?;
    let names: Vec<String> =
        all.iter().map(|one| one.name().to_string_lossy().into_owned()).collect();
    match names.iter().any(|known| known == name) {
        true => Ok(()),
        false => Err(Error::needs(
            Setting::Interface,
            format!("watch {name}: there is no such interface; there is {}", names.join(", ")),
        )),
    }
}

/// The interface of the IPv4 default route with the lowest metric, else of the IPv6 one.
fn default() -> Result<String> {
    let v4 = fs::read_to_string("/proc/net/route").doing(|| "read /proc/net/route")?;
    // A kernel without IPv6 has no such file.
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let defaults: Vec<Option<String>> =
        [from_v4(&v4), from_v6(&v6)].into_iter().flatten().collect();
    let leads_nowhere = !defaults.is_empty();
    defaults.into_iter().flatten().next().ok_or_else(|| {
        let why = match leads_nowhere {
            true => {
                "the default route leads nowhere (blackhole, unreachable or prohibit; see `ip route show default`), so it \
                 does not name an interface to watch"
            }
            false => "there is no default route that names an interface to watch",
        };
        Error::needs(Setting::Interface, why)
    })
}

/// The flag of routes that are up.
const UP: u32 = 0x1;
/// The flag of reject routes.
const REJECT: u32 = 0x200;

/// `/proc/net/route`: Iface Destination Gateway Flags RefCnt Use Metric Mask ..., numbers in hex. The route's interface;
/// `None` if it leads nowhere.
fn from_v4(table: &str) -> Option<Option<String>> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", _, flags, _, _, metric, "00000000", ..] = words[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        // A blackhole lacks this flag, but has no interface either.
        let rejects = flags & REJECT != 0 || interface == "*";
        let route = (metric.parse::<u64>().ok()?, (!rejects).then(|| interface.to_owned()));
        (rejects || flags & UP != 0).then_some(route)
    });
    routes.min().map(|(_, interface)| interface)
}

/// `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric,
/// references, use, flags, interface, all but the last in hex.
fn from_v6(table: &str) -> Option<Option<String>> {
    let routes = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", _, _, _, metric, _, _, flags, interface] = words[..] else {
            return None;
        };
        let zero = destination.bytes().all(|digit| digit == b'0');
        let metric = u64::from_str_radix(metric, 16).ok()?;
        // Every namespace has an unreachable route with the largest metric.
        let counts = zero && metric < u64::from(u32::MAX);
        let rejects = u32::from_str_radix(flags, 16).ok()? & REJECT != 0;
        counts.then(|| (metric, (!rejects).then(|| interface.to_owned())))
    });
    routes.min().map(|(_, interface)| interface)
}

/// Checks that packets to these targets leave through the watched interface, and that the kernel accepts the answers.
/// Sockets are `bound` to it or follow the routes. Returns warnings if only some of the targets fail.
///
/// # Errors
/// [`Error::Usage`] if that cannot work for any target of a version of IP, or if no target has a route.
pub fn reaches(
    watched: &str,
    bound: bool,
    targets: &[IpAddr],
    routes: &dyn Routes,
) -> Result<Vec<String>> {
    let (mut warnings, mut lost, mut fine) = (Vec::new(), None, false);
    for (version, is_v4) in [("IPv4", true), ("IPv6", false)] {
        let of_version: Vec<IpAddr> =
            targets.iter().copied().filter(|target| target.is_ipv4() == is_v4).collect();
        let (mut through, mut others, mut refused) = (0usize, Vec::new(), Vec::new());
        let mut nowhere = None;
        for target in &of_version {
            match routes.way(*target, bound.then_some(watched)) {
                Way::Nowhere(why) => {
                    nowhere.get_or_insert_with(|| format!("{target}: {why}"));
                    continue;
                }
                Way::Through(other) if other != watched => {
                    others.push((*target, other));
                    continue;
                }
                Way::Through(_) => through += 1,
            }
            // Only IPv4 has such a filter.
            if is_v4
                && bound
                && routes.is_strict(watched)
                && let Way::Through(back) = routes.way_back(*target, watched)
                && back != watched
            {
                refused.push((*target, back));
            }
        }
        fine |= through > refused.len();
        if through == 0
            && others.is_empty()
            && let Some(why) = &nowhere
            && !of_version.is_empty()
        {
            warnings.push(format!("no route to any of the first {version} targets, such as {why}"));
        }
        lost = lost.or(nowhere);
        if let Some((target, other)) = others.first() {
            let what = format!(
                "packets to {target} leave through {other}, but {watched} is watched, so they would not be observed"
            );
            match through {
                0 => {
                    return Err(Error::needs(
                        Setting::Interface,
                        format!("{what}; give the {version} targets a run of their own on {other}"),
                    ));
                }
                _ => warnings.push(format!("{what}; watch {other} to see them")),
            }
        }
        if let Some((target, back)) = refused.first() {
            let what = format!(
                "{watched} filters by reverse path strictly (rp_filter is 1), and the route to {target} leaves through \
                 {back}: the kernel would drop every answer"
            );
            let remedy = format!(
                "sysctl -w net.ipv4.conf.{}.rp_filter=2, or watch {back}",
                watched.replace('.', "/")
            );
            match refused.len() == through {
                true => {
                    return Err(Error::needs(Setting::Interface, format!("{what}; use {remedy}")));
                }
                false => warnings.push(format!("{what}; use {remedy}")),
            }
        }
    }
    match lost {
        Some(why) if !fine => Err(Error::needs(
            Setting::Interface,
            format!(
                "no route to any of the first {} targets, such as {why}; see `ip route`",
                targets.len()
            ),
        )),
        _ => Ok(warnings),
    }
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
        assert_eq!(from_v4(table), Some(Some("eth0".into())));
        assert_eq!(from_v4("Iface\n"), None);
        let blackhole = |metric| {
            format!("{table}*\t00000000\t00000000\t0001\t0\t0\t{metric}\t00000000\t0\t0\t0\n")
        };
        assert_eq!(from_v4(&blackhole(6)), Some(None));
        assert_eq!(from_v4(&blackhole(200)), Some(Some("eth0".into())));
        assert_eq!(from_v4(&blackhole(6).replace("\t0001\t", "\t0201\t")), Some(None));
    }

    #[test]
    fn ipv6_skips_the_unreachable_route() {
        let zero = "0".repeat(32);
        let line = |metric: &str, flags: &str, interface: &str| {
            format!(
                "{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 {flags} {interface:>8}\n"
            )
        };
        let null = line("ffffffff", "00200200", "lo");
        let table = line("00000400", "00000003", "eth0") + &null;
        assert_eq!(from_v6(&table), Some(Some("eth0".into())));
        assert_eq!(from_v6(&null), None);
        assert_eq!(from_v6(&(table + &line("00000006", "00200200", "lo"))), Some(None));
    }

    /// Routes by prefix of the address's text, and the interface with a strict filter.
    struct Table {
        ways: &'static [(&'static str, &'static str)],
        strict: &'static str,
    }

    impl Routes for Table {
        fn way(&self, to: IpAddr, through: Option<&str>) -> Way {
            let to = to.to_string();
            match (self.ways.iter().find(|(prefix, _)| to.starts_with(prefix)), through) {
                (Some((_, "blackhole")), _) => Way::Nowhere("a blackhole".into()),
                (_, Some(through)) => Way::Through(through.into()),
                (Some((_, interface)), None) => Way::Through((*interface).into()),
                (None, None) => Way::Nowhere("no route".into()),
            }
        }

        fn way_back(&self, to: IpAddr, _: &str) -> Way {
            self.way(to, None)
        }

        fn is_strict(&self, interface: &str) -> bool {
            interface == self.strict
        }
    }

    #[test]
    fn a_run_that_cannot_receive_answers_is_rejected() {
        let table = Table {
            ways: &[
                ("10.9.", "p0"),
                ("10.8.", "q0"),
                ("fd00:9:", "p0"),
                ("fd00:8:", "q0"),
                ("10.7.", "blackhole"),
            ],
            strict: "q0",
        };
        for (watched, bound, targets, expected) in [
            ("p0", false, "10.9.0.1 fd00:9::1", Ok("")),
            (
                "p0",
                false,
                "10.9.0.1 fd00:8::1",
                Err("packets to fd00:8::1 leave through q0, but p0 is watched"),
            ),
            (
                "p0",
                false,
                "10.8.0.1 fd00:9::1",
                Err("give the IPv4 targets a run of their own on q0"),
            ),
            ("p0", false, "10.8.0.1 10.9.0.1", Ok("packets to 10.8.0.1 leave through q0")),
            ("p0", true, "10.8.0.1 fd00:8::1", Ok("")),
            ("q0", true, "10.9.0.1 fd00:9::1", Err("the kernel would drop every answer")),
            ("q0", true, "10.9.0.1", Err("net.ipv4.conf.q0.rp_filter=2, or watch p0")),
            ("q0", true, "10.9.0.1 10.8.0.1", Ok("the route to 10.9.0.1 leaves through p0")),
            ("q0", true, "fd00:9::1 10.8.0.1", Ok("")),
            ("p0", false, "10.7.0.1", Err("10.7.0.1: a blackhole")),
            ("p0", true, "10.7.0.1", Err("10.7.0.1: a blackhole")),
            ("p0", false, "192.0.2.1", Err("192.0.2.1: no route")),
            ("p0", false, "10.7.0.1 10.9.0.1", Ok("")),
            (
                "p0",
                false,
                "10.7.0.1 fd00:9::1",
                Ok("the first IPv4 targets, such as 10.7.0.1: a blackhole"),
            ),
            ("p0", false, "", Ok("")),
        ] {
            let list: Vec<IpAddr> =
                targets.split_whitespace().map(|t| t.parse().unwrap()).collect();
            let found = reaches(watched, bound, &list, &table);
            match (&found, expected) {
                (Ok(warnings), Ok("")) => assert!(warnings.is_empty(), "{targets}: {warnings:?}"),
                (Ok(warnings), Ok(words)) => {
                    assert!(
                        warnings.len() == 1 && warnings[0].contains(words),
                        "{targets}: {warnings:?}"
                    );
                }
                (Err(Error::NeedsSetting { operation: why, .. }), Err(words)) => {
                    assert!(why.contains(words), "{targets}: {why}")
                }
                _ => panic!("-i {watched} ({bound}) {targets}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_error_of_an_unknown_interface_lists_the_existing_ones() {
        exists("lo").unwrap();
        let error = exists("no-such0").unwrap_err();
        assert!(matches!(error, Error::NeedsSetting { setting: Setting::Interface, .. }));
        assert!(
            error.to_string().contains("there is") && error.to_string().contains("lo"),
            "{error}"
        );
    }
}
