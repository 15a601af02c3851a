//! The facts about this host that inspection asks for.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};
use socket2::{Domain, Socket, Type};

use super::facts::{Checked, Facts, Parameter};
use super::family::Family;
use super::kinds::sockopt::{CONGESTION, SOCKOPTS, Sockopt, Value};
use super::kinds::sysctl;
use super::tool::{NFT, Outcome, UNSHARE};

/// This host.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost {
    /// Whether an option may be tried on a socket that never connects. The kernel then loads a congestion control that it has
    /// as a module, if this process is allowed to do that.
    pub sockets: bool,
}

/// Lists the loaded congestion controls.
const LOADED: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

impl Facts for ThisHost {
    fn parameter(&self, name: &str) -> Parameter {
        let path = sysctl::path(name);
        let Ok(about) = path.metadata() else {
            return match Path::new("/proc/sys/net/ipv4").is_dir() {
                true => Parameter::Missing(nearby(&path)),
                false => Parameter::Unknown,
            };
        };
        if about.is_dir() {
            return Parameter::Missing(within(&path));
        }
        match fs::read_to_string(&path) {
            _ if about.permissions().mode() & 0o222 == 0 => Parameter::ReadOnly,
            Ok(text) => Parameter::Is(text.trim().to_owned()),
            Err(_) => Parameter::Unknown,
        }
    }

    fn has_program(&self, program: &str) -> bool {
        let runs = |path: &Path| path.is_file() && eaccess(path, AccessFlags::X_OK).is_ok();
        if program.contains('/') {
            return runs(Path::new(program));
        }
        crate::program::folders().iter().any(|folder| runs(&folder.join(program)))
    }

    fn has_congestion(&self, name: &str) -> bool {
        self.congestion().split_whitespace().any(|loaded| loaded == name)
            || (self.sockets && socket_takes(name))
            || (!self.sockets && is_module(name))
    }

    fn congestion(&self) -> String {
        fs::read_to_string(LOADED).unwrap_or_default().trim().to_owned()
    }

    fn nft(&self, script: &str) -> Checked {
        if NFT.find().is_err() {
            return Checked::Unchecked("nft is not installed".into());
        }
        let check = ["-c", "-f", "-"];
        let outcome = match NFT.run(&check, script) {
            Ok(outcome) if outcome.error.contains("not permitted") => {
                // Any user may check in new namespaces; they have nothing that a rule could refer to.
                match UNSHARE.run(&["-Urn", "nft", "-c", "-f", "-"], script) {
                    Ok(outcome) if outcome.error.starts_with("unshare: ") => {
                        Err(outcome.complaint())
                    }
                    other => other.map_err(|why| why.to_string()),
                }
            }
            other => other.map_err(|why| why.to_string()),
        };
        match outcome {
            Err(why) => Checked::Unchecked(format!("nft needs CAP_NET_ADMIN ({why})")),
            Ok(outcome) if outcome.ok => Checked::Complaints(Vec::new()),
            Ok(outcome) => match outcome.complaints() {
                lines if lines.is_empty() => Checked::Unchecked(Outcome::complaint(&outcome)),
                lines => Checked::Complaints(lines),
            },
        }
    }
}

/// Whether a socket takes it. The kernel also has those that this user may not choose.
fn socket_takes(name: &str) -> bool {
    let row = SOCKOPTS.iter().find(|row| row.name == CONGESTION);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    let (Some(row), Ok(socket)) = (row, socket) else { return false };
    let option = Sockopt::Named(row, Value::Text(name.to_owned()));
    match option.set(socket.as_fd(), Family::V4) {
        Ok(()) => true,
        Err(why) => why.raw_os_error() == Some(nix::libc::EPERM),
    }
}

/// Whether a module provides it.
fn is_module(name: &str) -> bool {
    let Ok(system) = nix::sys::utsname::uname() else { return false };
    let list = Path::new("/lib/modules").join(system.release()).join("modules.dep");
    let file = format!("/tcp_{name}.ko");
    fs::read_to_string(list).is_ok_and(|text| text.contains(&file))
}

/// The names of parameters next to a path that does not exist: in its deepest folder that does.
fn nearby(path: &Path) -> Vec<String> {
    let there = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let Some(folder) = there else { return Vec::new() };
    let Ok(rest) = path.strip_prefix(folder) else { return Vec::new() };
    // The part of the path after the wrong component.
    let tail: PathBuf = rest.components().skip(1).collect();
    let mut names = within(folder);
    if !tail.as_os_str().is_empty() {
        let exists = |name: &String| sysctl::path(name).join(&tail).exists();
        names.retain(exists);
        let whole = |name: String| sysctl::name(&sysctl::path(&name).join(&tail));
        names = names.into_iter().filter_map(whole).collect();
    }
    names
}

fn within(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| sysctl::name(&entry.path())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: ThisHost = ThisHost { sockets: false };

    #[test]
    fn parameters_of_this_kernel() {
        assert!(matches!(HOST.parameter("net.ipv4.tcp_window_scaling"), Parameter::Is(_)));
        assert!(matches!(HOST.parameter("net/ipv4/tcp_window_scaling"), Parameter::Is(_)));
        let read_only = HOST.parameter("net.ipv4.tcp_available_congestion_control");
        assert_eq!(read_only, Parameter::ReadOnly);
        let Parameter::Missing(near) = HOST.parameter("net.ipv4.tcp_no_such") else { panic!() };
        assert!(near.contains(&"net.ipv4.tcp_ecn".to_owned()));
        let Parameter::Missing(near) = HOST.parameter("net.ipv4.conf.no-such0.forwarding") else {
            panic!()
        };
        assert!(near.contains(&"net.ipv4.conf.lo.forwarding".to_owned()), "{near:?}");
        assert!(matches!(HOST.parameter("net.ipv4.conf"), Parameter::Missing(_)));
    }

    #[test]
    fn programs_are_executable_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dish");
        fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap();
        assert!(!HOST.has_program(path), "it is not executable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(HOST.has_program(path) && HOST.has_program("sh"));
        assert!(!HOST.has_program(folder.path().to_str().unwrap()), "it is a folder");
        assert!(!HOST.has_program("pathspider-no-such") && !HOST.has_program("sh -c"));
    }

    #[test]
    fn congestion_controls_of_this_kernel() {
        for host in [HOST, ThisHost { sockets: true }] {
            for name in host.congestion().split_whitespace() {
                assert!(host.has_congestion(name), "{name}");
            }
            assert!(!host.has_congestion("no_such"));
        }
    }
}
