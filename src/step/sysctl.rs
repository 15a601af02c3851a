//! Kernel parameters through /proc/sys, where the names below `net.` are those of the network
//! namespace of the thread that looks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::applied::{Failure, Recovered};
use crate::error::{Doing as _, Error, Result};

/// Where the kernel shows its parameters.
const ROOT: &str = "/proc/sys";

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
    ///
    /// # Errors
    /// If the kernel refuses the value, or replaces it with another one. A value that another program writes in between
    /// is no error: it is written again.
    pub fn change(&self) -> Result<(), Failure> {
        let Self { name, before, value } = self;
        let mut file = Parameter::open(name).map_err(Failure::Unchanged)?;
        let doing = || format!("set sysctl {name} to {value}");
        let Some(now) = set(&mut file, value).doing(doing).map_err(Failure::Unchanged)? else {
            log::info!("sysctl {name} = {value}");
            return Ok(());
        };
        // Later, this value could not be told from one that another program set.
        set(&mut file, before).doing(|| format!("restore sysctl {name} to {before}"))?;
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
        match self.put_back()? {
            None => Ok(()),
            Some(now) => Err(Error::Failed(format!(
                "put sysctl {name} back to {before}: it is {now} afterwards; another program sets it"
            ))),
        }
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
        match self.put_back()? {
            None => Ok(Recovered::Done(format!("sysctl {name} is {before} again, it was {now}"))),
            Some(now) => Ok(Recovered::Kept(format!(
                "sysctl {name} is {now}: another program sets it; it was {before} before"
            ))),
        }
    }

    /// What there is to put back.
    pub fn describe(&self) -> String {
        let Self { name, before, value } = self;
        format!("put sysctl {name} back to {before}, the run set it to {value}")
    }

    /// Writes the old value; returns what the parameter is instead, if it never reads as that.
    fn put_back(&self) -> Result<Option<String>> {
        let Self { name, before, .. } = self;
        let instead = set(&mut Parameter::open(name)?, before)
            .doing(|| format!("restore sysctl {name} to {before}"))?;
        if instead.is_none() {
            log::info!("sysctl {name} = {before}");
        }
        Ok(instead)
    }
}

/// How often a value is written before what is read instead is the kernel's doing. Another program would have to write
/// between each write and the read that follows it.
const TRIES: usize = 100;

/// A value that can be written and read.
trait Knob {
    fn write(&mut self, value: &str) -> io::Result<()>;
    fn read(&mut self) -> io::Result<String>;
}

/// Writes a value until it is read back; returns what is read instead, if that never happens.
fn set(knob: &mut impl Knob, value: &str) -> io::Result<Option<String>> {
    let mut now = String::new();
    for _ in 0..TRIES {
        knob.write(value)?;
        now = knob.read()?;
        if same(&now, value) {
            return Ok(None);
        }
    }
    Ok(Some(now))
}

/// The file of a parameter, open for both: a write and the read that follows it are as close as they can be.
struct Parameter(File);

impl Parameter {
    fn open(name: &str) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path(name));
        let doing = || format!("open sysctl {name} for writing (needs CAP_NET_ADMIN)");
        file.map(Self).doing(doing)
    }
}

impl Knob for Parameter {
    fn write(&mut self, value: &str) -> io::Result<()> {
        // With a line's end, so that an empty value is written too.
        self.0.write_all_at(format!("{value}\n").as_bytes(), 0)
    }

    fn read(&mut self) -> io::Result<String> {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read_at(&mut buffer, text.len() as u64)? {
                0 => return Ok(String::from_utf8_lossy(&text).trim().to_owned()),
                more => text.extend_from_slice(&buffer[..more]),
            }
        }
    }
}

fn now(name: &str) -> Result<String> {
    read(&path(name)).doing(|| format!("read back sysctl {name}"))
}

/// The file of a parameter, as sysctl(8) finds it: the first separator of the name says whether dots or slashes
/// separate. Where dots do, slashes stand for the dots in names of interfaces: `net.ipv4.conf.eth0/100.forwarding`.
pub(super) fn path(name: &str) -> PathBuf {
    let dots = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('.'));
    let relative = if dots { exchanged(name) } else { name.to_owned() };
    Path::new(ROOT).join(relative.trim_start_matches('/'))
}

/// The name of the parameter that a file is of, with dots.
pub(super) fn name(path: &Path) -> Option<String> {
    path.strip_prefix(ROOT).ok()?.to_str().map(exchanged)
}

/// Dots become slashes and slashes dots.
fn exchanged(name: &str) -> String {
    let exchange = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(exchange).collect()
}

/// Whether two names are of the same parameter.
pub fn is_same(a: &str, b: &str) -> bool {
    path(a) == path(b)
}

/// Whether a parameter is the congestion control of new connections.
pub(super) fn is_congestion(name: &str) -> bool {
    is_same(name, "net.ipv4.tcp_congestion_control")
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
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), vlan);
        assert_eq!(name(&vlan).as_deref(), Some("net.ipv4.conf.eth0/1.forwarding"));
        assert!(is_same("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"));
        assert!(!is_same("net.ipv4.conf.eth0.1.forwarding", "net/ipv4/conf/eth0.1/forwarding"));
    }

    /// A parameter that another program overwrites after some of the writes, or whose kernel bounds the value.
    struct Fake {
        value: String,
        overwritten: usize,
        most: u32,
        writes: usize,
    }

    impl Knob for Fake {
        fn write(&mut self, value: &str) -> io::Result<()> {
            self.writes += 1;
            let number: u32 = value.parse().map_err(io::Error::other)?;
            self.value = number.min(self.most).to_string();
            Ok(())
        }

        fn read(&mut self) -> io::Result<String> {
            if self.writes <= self.overwritten {
                self.value = "0".into();
            }
            Ok(self.value.clone())
        }
    }

    #[test]
    fn a_write_of_another_program_is_not_the_kernels_refusal() {
        for (overwritten, most, expected) in [
            (0, 9, (None, 1)),
            (1, 9, (None, 2)),
            (TRIES - 1, 9, (None, TRIES)),
            (0, 3, (Some("3"), TRIES)),
            (5, 3, (Some("3"), TRIES)),
        ] {
            let mut fake = Fake { value: String::new(), overwritten, most, writes: 0 };
            let instead = set(&mut fake, "7").unwrap();
            assert_eq!((instead.as_deref(), fake.writes), expected, "{overwritten} {most}");
        }
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
