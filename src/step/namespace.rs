//! Identifies the network namespace, so that nothing is ever undone in another one. An inode is reused after its namespace
//! ends, so the boot and the kernel's own cookie count too.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};

use super::setsockopt;
use crate::error::{Doing as _, Result};

/// The network namespace that the calling thread is in.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// A network namespace, distinguished from all others, also of other hosts and times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The name of the host.
    host: String,
    /// The kernel's id of this boot.
    boot: String,
    /// Device and inode of the namespace.
    device: u64,
    inode: u64,
    /// A number that the kernel gives to no other namespace of the same boot, since Linux 5.14.
    cookie: Option<u64>,
    /// The inode of the process id namespace, in which it can be searched for.
    pids: u64,
}

/// How a network namespace relates to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// It is this one.
    Same,
    /// It is another one, and may still exist.
    Other,
    /// It is gone; the text says how that is known.
    Gone(&'static str),
}

impl Namespace {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        let doing = || "identify this network namespace";
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").doing(doing)?;
        let here = fs::metadata(CURRENT).doing(doing)?;
        let host = nix::sys::utsname::uname().doing(doing)?;
        Ok(Self {
            host: host.nodename().to_string_lossy().into_owned(),
            boot: boot.trim().to_owned(),
            device: here.dev(),
            inode: here.ino(),
            cookie: cookie(),
            pids: File::open("/proc/self/ns/pid").and_then(|f| f.metadata()).doing(doing)?.ino(),
        })
    }

    /// The beginning of the names of its files: differs by namespace and boot.
    pub(super) fn file_name(&self) -> String {
        let boot: String = self.boot.chars().filter(char::is_ascii_hexdigit).take(8).collect();
        format!("net-{}-{boot}", self.inode)
    }

    /// How another one relates to this one.
    pub(super) fn kinship(&self, other: &Namespace) -> Kinship {
        if self.boot != other.boot {
            // A state folder may be on a disk that hosts share.
            return match self.host == other.host {
                true => Kinship::Gone("it was of an earlier boot"),
                false => Kinship::Other,
            };
        }
        if (self.device, self.inode) == (other.device, other.inode) {
            return match (self.cookie, other.cookie) {
                (Some(mine), Some(its)) if mine != its => {
                    Kinship::Gone("its network namespace is gone")
                }
                _ => Kinship::Same,
            };
        }
        match self.pids == other.pids && other.is_seen_nowhere() {
            true => Kinship::Gone("its network namespace is gone"),
            false => Kinship::Other,
        }
    }

    /// Whether no process and no mount refers to it, as far as this process can see them all.
    fn is_seen_nowhere(&self) -> bool {
        let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return false };
        let Ok(processes) = fs::read_dir("/proc") else { return false };
        if mounts.contains(&format!("net:[{}]", self.inode)) {
            return false;
        }
        for process in processes.flatten() {
            if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            match fs::metadata(process.path().join("ns/net")) {
                Ok(its) if its.ino() == self.inode => return false,
                Ok(_) => {}
                // It ended in the meantime.
                Err(why) if why.kind() == ErrorKind::NotFound => {}
                Err(why) if why.raw_os_error() == Some(libc::ESRCH) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// The kernel's cookie of the namespace (SO_NETNS_COOKIE), if it has one.
fn cookie() -> Option<u64> {
    let (level, name) = (libc::SOL_SOCKET, 71);
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let bytes = setsockopt::get(socket.as_fd(), level, name, 8).ok()?;
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
impl Namespace {
    /// A copy with another cookie, boot, or inode.
    pub fn altered(&self, what: &str) -> Self {
        let mut other = self.clone();
        match what {
            "cookie" => other.cookie = other.cookie.map(|cookie| cookie + 1_000_000),
            "boot" => other.boot = "another".into(),
            "host" => (other.boot, other.host) = ("another".into(), "another".into()),
            // No namespace has a number this high.
            _ => other.inode = u64::from(u32::MAX),
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_namespaces_are_distinguished() {
        let here = Namespace::current().unwrap();
        assert_eq!(here.kinship(&here), Kinship::Same);
        assert_eq!(here.kinship(&here.altered("boot")), Kinship::Gone("it was of an earlier boot"));
        assert_eq!(here.kinship(&here.altered("host")), Kinship::Other);
        let gone = here.kinship(&here.altered("cookie"));
        match here.cookie {
            Some(_) => assert_eq!(gone, Kinship::Gone("its network namespace is gone")),
            None => assert_eq!(gone, Kinship::Same),
        }
        // Whether it is known to be empty depends on the right to see all processes.
        assert_ne!(here.kinship(&here.altered("inode")), Kinship::Same);
        let text = serde_json::to_string(&here).unwrap();
        assert_eq!(serde_json::from_str::<Namespace>(&text).unwrap(), here);
        assert_ne!(here.file_name(), here.altered("boot").file_name());
    }
}
