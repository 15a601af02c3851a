//! The source of a run's targets: a file, standard input, or the lab.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::lab::Lab;
use crate::run::source;
use crate::targets::{Reader, Target};

/// A name unknown to the lab's resolver.
const NO_SUCH_NAME: &str = "no-such-name.invalid";

/// The lab's targets. If names are looked up, the first of each kind has a name only, and an additional one has a name
/// that does not exist.
pub fn of_lab(lab: &Lab, port: u16, names: bool) -> Reader {
    let hosts = lab.hosts();
    let name = |host: usize| hosts.get(host).map(|host| host.name.clone());
    let targets = lab.targets().iter();
    let mut targets: Vec<Target> =
        targets.map(|t| Target::new(t.addr, port, name(t.host))).collect();
    if names {
        let mut seen = BTreeSet::new();
        let first = |target: &&mut Target| seen.insert(target.name.clone());
        targets.iter_mut().filter(first).for_each(|target| target.addr = None);
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        targets
            .push(Target { addr: None, ..Target::new(unknown, port, Some(NO_SUCH_NAME.into())) });
    }
    Reader::from_targets(targets)
}

/// The path of the list; without one, standard input.
///
/// # Errors
/// When standard input is a terminal.
pub fn path(list: Option<&Path>) -> Result<PathBuf> {
    match list {
        Some(path) => Ok(path.to_owned()),
        None if io::stdin().is_terminal() => Err(source::none()),
        None => Ok(PathBuf::from("-")),
    }
}
