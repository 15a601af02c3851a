//! The targets of a run: a list, or the lab's hosts.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::courtesy::Courtesy;
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::targets::{self, Options, Reader, Target};

/// A name that the lab's resolver does not know.
const NO_SUCH_NAME: &str = "no-such-name.invalid";

/// The lab's targets. If names are looked up, the first of each kind is known by name only, and one more has a
/// name that does not exist.
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
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        targets.push(Target { addr: None, ..Target::new(nobody, port, Some(NO_SUCH_NAME.into())) });
    }
    Reader::from_targets(targets)
}

/// Opens a list; without one, standard input.
///
/// # Errors
/// When there is no list, or it cannot be read.
pub fn open(list: Option<&Path>, courtesy: &Courtesy, options: Options) -> Result<Reader> {
    let path = match list {
        Some(path) => path.to_owned(),
        None if io::stdin().is_terminal() => return Err(none()),
        None => PathBuf::from("-"),
    };
    courtesy.open(&path, options)
}

/// What the list is known by, if it can be read more than once.
pub fn digest(list: Option<&Path>, is_lab: bool, reader: &Reader) -> Result<Option<String>> {
    match list {
        _ if is_lab => Ok(reader.digest()),
        Some(path) if path.as_os_str() != "-" => targets::file_digest(path),
        _ => Ok(None),
    }
}

/// There is nothing to probe.
pub fn none() -> Error {
    Error::Usage(
        "no targets: name a file with --targets FILE (or pipe one in), or try --lab, which brings its own".into(),
    )
}
