//! Network namespaces that only this process keeps alive: a user namespace that the process enters once, and separate
//! namespaces for router and servers, each kept alive by an open file. When the process ends, even by `kill -9`, they
//! disappear.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

use crate::error::{Doing, Error, Result};
use crate::lab::net;

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Moves this process into a new user namespace and a new network namespace, which is the prober's. Must be called
/// first, while the process has one thread: later the kernel rejects it. Afterwards every sysctl, rule, route and
/// packet of this process belongs to the lab, and the process is root in there, whichever user it is outside.
///
/// Calling it again does nothing.
pub fn enter() -> Result<()> {
    if ENTERED.load(Ordering::Acquire) {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|e| forbidden(io::Error::from(e)))?;
    // Without CAP_SETGID outside, a group map is accepted only after setgroups is denied.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|e| forbidden(io::Error::new(e.kind(), format!("write {file}: {e}"))))?;
    }
    net::ip_batch("link set lo up\n")?;
    ENTERED.store(true, Ordering::Release);
    Ok(())
}

/// Whether [`enter`] has succeeded in this process.
pub fn entered() -> bool {
    ENTERED.load(Ordering::Acquire)
}

/// Explains why a user namespace was denied: the usual settings, with their values.
fn forbidden(why: io::Error) -> Error {
    if why.raw_os_error() == Some(nix::libc::EINVAL) {
        return Error::failed(
            "enter a user namespace for the lab",
            "this process has several threads already; it must be entered before any is started",
        );
    }
    let mut text = format!(
        "{why}; the lab needs a user namespace, and this system does not let you create one"
    );
    for (knob, wanted) in [
        ("kernel.unprivileged_userns_clone", "1"),
        ("user.max_user_namespaces", "more than 0"),
        ("user.max_net_namespaces", "more than 0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "0"),
    ] {
        if let Ok(value) = fs::read_to_string(sysctl_path(knob)) {
            text.push_str(&format!("; {knob} is {} (needs {wanted})", value.trim()));
        }
    }
    text.push_str("; in a container, its seccomp profile may forbid it too");
    Error::failed("enter a user namespace for the lab", text)
}

/// The path of a kernel parameter with a dotted name.
pub(crate) fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/{}", name.replace('.', "/")))
}

/// Sets a kernel parameter of the calling thread's network namespace.
pub(crate) fn set_sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(sysctl_path(name), value).doing(|| format!("set sysctl {name} to {value} in the lab"))
}

/// A network namespace; it exists as long as this value, or a thread or socket in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// The namespace of the calling thread.
    pub(crate) fn current(name: &str) -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net")
            .doing(|| format!("open the network namespace of the {name}"))?;
        Ok(Namespace { name: name.to_owned(), file })
    }

    /// Creates a namespace that has only a loopback device, which is up.
    pub(crate) fn create(name: &str) -> Result<Self> {
        scoped(name, || {
            unshare(CloneFlags::CLONE_NEWNET)
                .doing(|| format!("make a network namespace for the {name}"))?;
            net::ip_batch("link set lo up\n")?;
            Namespace::current(name)
        })
    }

    /// What it is for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path by which a child process (`ip link .. netns PATH`) can refer to it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs a function inside, on a new thread, and waits for it.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        scoped(&self.name, || {
            self.join()?;
            work()
        })
    }

    /// Starts a thread inside.
    pub(crate) fn spawn(
        &self,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        let name = self.name.clone();
        let inside = Namespace {
            name: name.clone(),
            file: self.file.try_clone().doing(|| format!("copy the handle of the {name}"))?,
        };
        thread::Builder::new()
            .name(format!("lab {name}"))
            .spawn(move || {
                if let Err(error) = inside.join().and_then(|()| work()) {
                    log::error!("lab: {}: {error}", inside.name);
                }
            })
            .doing(|| format!("start the thread of the {}", self.name))
    }

    fn join(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .doing(|| format!("enter the network namespace of the {}", self.name))
    }
}

/// Runs a function on a new thread, so that the change of namespace ends with it.
fn scoped<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name(format!("lab {name}"))
            .spawn_scoped(scope, work)
            .doing(|| format!("start a thread for the {name}"))?
            .join()
            .unwrap_or_else(|_| Err(Error::failed(format!("set up the {name}"), "panicked")))
    })
}
