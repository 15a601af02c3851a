//! Kernel parameters through /proc/sys, where the names below `net.` are those of the network
//! namespace of the thread that looks.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::applied::Failure;
use crate::error::{Doing as _, Error, Result};

/// A parameter and the value that it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    name: String,
    before: String,
}

impl Setting {
    /// Remembers what a parameter is now.
    pub fn read(name: &str) -> Result<Self> {
        let before = read(&path(name)).doing(|| format!("read sysctl {name}"))?;
        Ok(Self { name: name.to_owned(), before })
    }

    /// Sets it to something else, and reads it back.
    pub fn change(&self, value: &str) -> Result<(), Failure> {
        let Self { name, .. } = self;
        let path = path(name);
        // With a line's end, so that an empty value is written too.
        let written = fs::write(&path, format!("{value}\n"));
        written
            .doing(|| format!("set sysctl {name} to {value} (needs CAP_NET_ADMIN)"))
            .map_err(Failure::Unchanged)?;
        let now = read(&path).doing(|| format!("read back sysctl {name}"))?;
        if !same(&now, value) {
            let why = format!("set sysctl {name} to {value}: the kernel took {now}");
            return Err(Error::Failed(why).into());
        }
        log::info!("sysctl {name} = {value}");
        Ok(())
    }

    /// Puts the old value back.
    pub fn restore(&self) -> Result<()> {
        self.change(&self.before).map_err(Failure::into_error)
    }
}

/// Dots separate, unless the name is written with slashes (as sysctl(8) has it, for names of
/// interfaces that contain a dot).
fn path(name: &str) -> PathBuf {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    PathBuf::from("/proc/sys").join(relative.trim_start_matches('/'))
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// Values with several fields come back with tabs between them.
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        assert_eq!(path("net.ipv4.tcp_ecn"), PathBuf::from("/proc/sys/net/ipv4/tcp_ecn"));
        let vlan = PathBuf::from("/proc/sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), vlan);
    }

    #[test]
    fn values_are_compared_by_fields() {
        assert!(same("4096\t131072\t6291456", "4096 131072 6291456"));
        assert!(!same("1", "2"));
    }

    #[test]
    fn a_name_that_does_not_exist_is_named() {
        let error = Setting::read("net.ipv4.tcp_no_such").unwrap_err().to_string();
        assert!(error.starts_with("read sysctl net.ipv4.tcp_no_such: "), "{error}");
    }
}
