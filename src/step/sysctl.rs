//! Kernel parameters through /proc/sys, where the names below `net.` are those of the network
//! namespace of the thread that looks.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::applied::{Failure, Recovered};
use crate::error::{Doing as _, Error, Result};

/// A parameter, the value that it had, and the one that it is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    name: String,
    before: String,
    value: String,
}

impl Setting {
    /// Remembers what a parameter is now, and what it is to be.
    pub fn read(name: &str, value: &str) -> Result<Self> {
        let before = read(&path(name)).doing(|| format!("read sysctl {name}"))?;
        Ok(Self { name: name.to_owned(), before, value: value.to_owned() })
    }

    /// Sets it, and reads it back.
    pub fn change(&self) -> Result<(), Failure> {
        let Self { name, before, value } = self;
        put(name, value).map_err(Failure::Unchanged)?;
        let now = now(name)?;
        if same(&now, value) {
            log::info!("sysctl {name} = {value}");
            return Ok(());
        }
        // Afterwards nobody could tell this value from one that another program set.
        put(name, before)?;
        let why = format!("set sysctl {name} to {value}: the kernel took {now}");
        Err(Failure::Unchanged(Error::Failed(why)))
    }

    /// Puts the old value back.
    ///
    /// # Errors
    /// If it cannot be, or if the value is not the one that was set: another program changed it, so
    /// it was not in force all the time. What that program chose is left.
    pub fn restore(&self) -> Result<()> {
        let Self { name, before, value } = self;
        let now = now(name)?;
        if !same(&now, value) {
            return Err(Error::Failed(format!(
                "put back sysctl {name}: it is {now}, not {value}, which should have been in force; another \
                 program changed it, so it is left (it was {before} before)"
            )));
        }
        self.put_back()
    }

    /// Whether it is not what was set, in words.
    pub fn altered(&self) -> Result<Option<String>> {
        let Self { name, value, .. } = self;
        let now = now(name)?;
        Ok((!same(&now, value)).then(|| {
            format!("sysctl {name}: another program set it to {now} while {value} was in force; that is left")
        }))
    }

    /// Puts back what a run that was killed set, or meant to set.
    pub fn recover(&self, force: bool) -> Result<Recovered> {
        let Self { name, before, value } = self;
        if !path(name).exists() {
            return Ok(Recovered::Nothing(format!("sysctl {name} is gone, and its value with it")));
        }
        let now = now(name)?;
        if same(&now, before) {
            return Ok(Recovered::Nothing(format!("sysctl {name} is {before}, as before the run")));
        }
        if !same(&now, value) && !force {
            return Ok(Recovered::Kept(format!(
                "sysctl {name} is {now}: another program changed it after the run set it to {value}; it was \
                 {before} before"
            )));
        }
        self.put_back()?;
        Ok(Recovered::Done(format!("sysctl {name} is {before} again, it was {now}")))
    }

    /// What there is to put back.
    pub fn describe(&self) -> String {
        let Self { name, before, value } = self;
        format!("put sysctl {name} back to {before}, the run set it to {value}")
    }

    fn put_back(&self) -> Result<()> {
        let Self { name, before, .. } = self;
        put(name, before)?;
        let now = now(name)?;
        if !same(&now, before) {
            return Err(Error::Failed(format!(
                "put sysctl {name} back to {before}: the kernel took {now}"
            )));
        }
        log::info!("sysctl {name} = {before}");
        Ok(())
    }
}

fn put(name: &str, value: &str) -> Result<()> {
    // With a line's end, so that an empty value is written too.
    fs::write(path(name), format!("{value}\n"))
        .doing(|| format!("set sysctl {name} to {value} (needs CAP_NET_ADMIN)"))
}

fn now(name: &str) -> Result<String> {
    read(&path(name)).doing(|| format!("read back sysctl {name}"))
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
        let error = Setting::read("net.ipv4.tcp_no_such", "1").unwrap_err().to_string();
        assert!(error.starts_with("read sysctl net.ipv4.tcp_no_such: "), "{error}");
    }
}
