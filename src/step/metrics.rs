//! What the kernel remembers of hosts from one connection to the next, and an experiment may depend on.
//!
//! Per address it keeps round-trip times, windows and the TCP Fast Open cookie (tcp_metrics); [`forget`]
//! deletes that of some addresses and leaves that of others. Such an entry is of the network
//! namespace.
//!
//! Besides, the kernel gives TCP Fast Open up for a while, for every host, once connections with it
//! looked like a black hole. A `sysctl` step that writes
//! `net.ipv4.tcp_fastopen_blackhole_timeout_sec` ends that at once, whatever the value, and with
//! 0 keeps it from happening.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::tool::{IP, Said};
use crate::error::{Error, Result};

/// What ip(8) says of an address that the kernel remembers nothing of.
const ABSENT: &str = "No such process";

/// Whether the program is there that does it.
///
/// # Errors
/// If not; the text names the package.
pub fn check() -> Result<()> {
    IP.find().map(drop)
}

/// Makes the kernel forget what it remembers of these addresses: round-trip times, windows, TCP
/// Fast Open cookies. Needs CAP_NET_ADMIN, and that of the host: in a user namespace, such as
/// the lab's, the kernel lets nobody; but a network namespace that was just made remembers nothing.
///
/// # Errors
/// If `ip` is missing or refused. That nothing is remembered of an address is no error.
pub fn forget(addresses: &[IpAddr]) -> Result<()> {
    let unique: BTreeSet<&IpAddr> = addresses.iter().collect();
    if unique.is_empty() {
        return Ok(());
    }
    let lines: String =
        unique.iter().map(|address| format!("tcp_metrics delete {address}\n")).collect();
    let said = IP.run(&["-force", "-batch", "-"], &lines)?;
    let others: Vec<&str> = said.error.lines().filter(|line| !is_absent(line)).collect();
    if said.ok || others.is_empty() {
        return Ok(());
    }
    let said = Said { error: others.join("\n"), ..said };
    let hint = match said.error.contains("not permitted") {
        true => ", and not in a user namespace",
        false => "",
    };
    let why = format!("{}{hint}", said.complaint());
    Err(Error::failed("make the kernel forget what it knows of targets", why))
}

fn is_absent(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.ends_with(ABSENT) || line.starts_with("Command failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remembered_is_told_from_a_refusal() {
        assert!(is_absent("RTNETLINK answers: No such process"));
        assert!(is_absent("Command failed -:2"));
        assert!(!is_absent("RTNETLINK answers: Operation not permitted"));
    }
}
