//! The memory that this process may still take: what the machine has left, its control groups allow, and its limits allow.

use std::fs;

use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit};

/// Where a version of control groups keeps the limit of memory, its use, and the part of it that can be reclaimed.
struct Version {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The key in `memory.stat`.
    reclaimable: &'static str,
}

const V1: Version = Version {
    folder: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

const V2: Version = Version {
    folder: "/sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file",
};

/// Octets of memory that are available; `None` if the kernel does not say.
pub fn octets() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let limits = [(Resource::RLIMIT_AS, "VmSize"), (Resource::RLIMIT_DATA, "VmData")];
    let limits = limits.into_iter().filter_map(|(limit, taken)| {
        let (soft, _) = getrlimit(limit).ok()?;
        (soft != RLIM_INFINITY).then_some((soft, taken))
    });
    least(read, limits)
}

/// The least of all; `limits` are those of the process, each with the line of its status that says what it has taken.
fn least(
    read: impl Fn(&str) -> Option<String>,
    limits: impl Iterator<Item = (u64, &'static str)>,
) -> Option<u64> {
    let machine = read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemAvailable"));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let groups = groups.lines().filter_map(|line| in_group(line, &read));
    let status = read("/proc/self/status").unwrap_or_default();
    let left =
        limits.map(|(limit, taken)| limit.saturating_sub(kilobytes(&status, taken).unwrap_or(0)));
    machine.into_iter().chain(groups).chain(left).min()
}

/// The octets in a line `KEY:  NUMBER kB`.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The octets that are left in a control group and all above it; `line` is one of `/proc/self/cgroup`.
fn in_group(line: &str, read: &impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let version = match controllers {
        "" => V2,
        list if list.split(',').any(|name| name == "memory") => V1,
        _ => return None,
    };
    // A path outside of this namespace's root cannot be seen from here.
    let path = if path.contains("..") { "" } else { path.trim_end_matches('/') };
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.filter_map(|end| left(&version, path.get(..end)?, read)).min()
}

/// The octets that are left in one control group; `None` if it has no limit.
fn left(version: &Version, path: &str, read: &impl Fn(&str) -> Option<String>) -> Option<u64> {
    let file = |name: &str| read(&format!("{}{path}/{name}", version.folder));
    let number = |name: &str| file(name)?.trim().parse::<u64>().ok();
    let limit = number(version.limit)?;
    let stat = file("memory.stat").unwrap_or_default();
    let reclaimable = stat.lines().find_map(|line| {
        line.strip_prefix(version.reclaimable)?.strip_prefix(' ')?.parse::<u64>().ok()
    });
    let used = number(version.used).unwrap_or(0).saturating_sub(reclaimable.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) =
        ("/proc/meminfo", "MemTotal:  500000 kB\nMemAvailable:  400000 kB\n");

    fn of(files: &[(&str, &str)], limits: &[(u64, &'static str)]) -> Option<u64> {
        let read = |path: &str| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        };
        least(read, limits.iter().copied())
    }

    #[test]
    fn the_least_is_available() {
        assert_eq!(of(&[], &[]), None);
        assert_eq!(of(&[MEMINFO], &[]), Some(409_600_000));
        let status = ("/proc/self/status", "VmSize:\t  1000 kB\nVmData:\t  500 kB\n");
        assert_eq!(of(&[MEMINFO, status], &[(2_000_000, "VmSize")]), Some(976_000));
        assert_eq!(of(&[MEMINFO, status], &[(5, "VmData")]), Some(0));
    }

    #[test]
    fn a_control_group_and_those_above_it_have_limits() {
        let v2 = [
            MEMINFO,
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "300000\n"),
            ("/sys/fs/cgroup/a/memory.current", "100000\n"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 50000\nfile 9\n"),
        ];
        assert_eq!(of(&v2, &[]), Some(250_000));
        let v1 = [
            MEMINFO,
            ("/proc/self/cgroup", "3:cpuset:/\n4:memory:/x\n0::/\n"),
            ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "900\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(of(&v1, &[]), Some(100));
        // A container sees its own group as the root.
        let outside = [("/proc/self/cgroup", "0::/../../x\n"), ("/sys/fs/cgroup/memory.max", "77")];
        assert_eq!(of(&outside, &[]), Some(77));
    }
}
