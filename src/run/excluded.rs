//! Targets that a run must not probe.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::engine::driver::Address;
use crate::error::{Error, Result};
use crate::targets::{OptOuts, Reader, Reason, Target, special};
use crate::words::counted;

/// The exclusion policy: listed targets and special-purpose networks are not probed.
#[derive(Debug)]
pub struct Excluded {
    paths: Vec<PathBuf>,
    list: RefCell<OptOuts>,
    allow_reserved: bool,
    /// Whether targets in flight are checked again: the list may have changed since they were read, or their addresses
    /// were not known then.
    look_again: Cell<bool>,
    /// How often the lists were read again.
    rereads: Cell<u64>,
}

impl Excluded {
    /// Reads the lists. If the targets' `names` are looked up later, each target is checked again then.
    ///
    /// # Errors
    /// If a list cannot be read.
    pub fn read(paths: &[PathBuf], allow_reserved: bool, names: bool) -> Result<Self> {
        let list = OptOuts::read(paths)?.into();
        let look_again = Cell::new(names);
        let rereads = Cell::default();
        Ok(Self { paths: paths.to_vec(), list, allow_reserved, look_again, rereads })
    }

    /// Makes a reader skip these targets.
    pub fn withhold(self: &Rc<Self>, reader: &mut Reader) {
        let policy = self.clone();
        reader.withhold(Box::new(move |target| policy.why(target.addr, target.name.as_deref())));
    }

    /// Why a target must not be probed, if it must not.
    fn why(&self, address: Option<IpAddr>, name: Option<&str>) -> Option<Reason> {
        if !self.allow_reserved
            && let Some((address, special)) = address.and_then(|a| Some((a, special(a)?)))
        {
            log::debug!("{address} is skipped: {}, {}", special.name, special.source);
            return Some(Reason::Reserved);
        }
        self.list.borrow().has(address, name).then_some(Reason::Excluded)
    }

    /// Whether an address is on a list.
    pub fn has(&self, address: IpAddr) -> bool {
        self.list.borrow().has(Some(address), None)
    }

    /// Why a target was withdrawn: it was excluded, even if the list has changed again since.
    pub fn reason(&self, target: &Target) -> Reason {
        self.why(target.addr, target.name.as_deref()).unwrap_or(Reason::Excluded)
    }

    /// The lists as they were read last, for the metadata.
    pub fn json(&self) -> Value {
        let list = self.list.borrow();
        let lists = self.paths.iter().zip(list.digests()).map(|(path, of)| {
            json!({ "path": path, "bytes": of.bytes, "sha256": of.sha256, "entries": of.entries })
        });
        Value::Array(lists.collect())
    }

    /// How often the lists were read again.
    pub fn rereads(&self) -> u64 {
        self.rereads.get()
    }

    /// Reads the lists again; keeps what it has if they cannot be read.
    pub fn reread(&self) {
        match self.read_again() {
            Ok(list) => {
                let (prefixes, names) = list.len();
                log::warn!(
                    "the exclusion lists were read again: {}, {}",
                    counted(prefixes as u64, "prefix[es]"),
                    counted(names as u64, "name[s]")
                );
                self.list.replace(list);
                self.rereads.set(self.rereads.get() + 1);
                self.look_again.set(true);
            }
            Err(error) => log::error!(
                "the exclusion lists could NOT be read again; the run continues with the previous ones: {error}"
            ),
        }
    }

    /// A pipe can be read only once: it would be empty now, or block.
    fn read_again(&self) -> Result<OptOuts> {
        match self.paths.iter().find(|path| !path.is_file()) {
            Some(path) => Err(Error::Usage(format!(
                "read {}: it is not a regular file, and can be read only once",
                path.display()
            ))),
            None => OptOuts::read(&self.paths),
        }
    }

    /// Whether a target that was read has been excluded since.
    pub fn withdrawn(&self, target: &Address) -> bool {
        self.look_again.get() && self.why(Some(target.at.ip()), target.name.as_deref()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_list_leaves_the_previous_one_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exclude");
        std::fs::write(&path, "192.0.2.0/24\n").unwrap();
        let excluded = Excluded::read(std::slice::from_ref(&path), true, false).unwrap();
        let has = |text: &str| excluded.why(text.parse().ok(), None).is_some();
        std::fs::write(&path, "198.51.100.0/24\n192.0.2.1/24\n").unwrap();
        excluded.reread();
        assert!(has("192.0.2.1") && !has("198.51.100.1"));
        // A pipe cannot be read again from its beginning.
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        excluded.reread();
        assert!(has("192.0.2.1"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "198.51.100.0/24\n").unwrap();
        excluded.reread();
        assert!(!has("192.0.2.1") && has("198.51.100.1"));
    }
}
