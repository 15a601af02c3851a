//! Files as the transport: a campaign exported to a folder, and a folder of what agents did with it.
//!
//! ```text
//! FROM/work/0-17.json            units, the same for all agents
//! FROM/inputs/SHA256             document and list
//! FROM/control/KEY               stop, and what is stored
//! TO/commits/CAMPAIGN/AGENT/0-17.json
//! TO/results/AGENT/NAME          results
//! ```
//!
//! Both may be one folder. A commit is a file that is created once.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::message::UnitId;
use super::store;
use super::transport::{AgentSide, HubSide, Lease, Settle};
use crate::error::{Error, Result};

/// The folders of an agent without a hub.
pub struct FolderAgent {
    from: PathBuf,
    to: PathBuf,
    agent: String,
    waiting: Mutex<VecDeque<String>>,
}

impl FolderAgent {
    /// Opens the folders.
    ///
    /// # Errors
    /// If there is no exported campaign, or the other cannot be written.
    pub fn open(from: &Path, to: &Path, agent: &str) -> Result<Self> {
        let mut names = store::names(&from.join("work"))?;
        if names.is_empty() {
            return Err(Error::Usage(format!(
                "read {}: it has no units of work; `pathspider fleet export` writes them",
                from.display()
            )));
        }
        names.sort_by_key(|name| {
            let number = name.trim_end_matches(".json").split_once('-').map(|(_, number)| number);
            number.and_then(|number| number.parse::<u64>().ok())
        });
        store::make(to, &["commits"])?;
        store::make(to, &["results", agent])?;
        let waiting = Mutex::new(names.into());
        Ok(Self { from: from.to_owned(), to: to.to_owned(), agent: agent.to_owned(), waiting })
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn commits(root: &Path, unit: &UnitId) -> Result<(PathBuf, String)> {
    let folder = store::make(root, &["commits", &unit.campaign, &unit.agent])?;
    Ok((folder, format!("{}.json", unit.short())))
}

impl AgentSide for FolderAgent {
    fn next(&self, _: Duration) -> Result<Option<Lease>> {
        let Some(name) = self.waiting().pop_front() else { return Ok(None) };
        let work = store::need(&self.from.join("work").join(&name))?;
        Ok(Some(Lease { work, token: 0 }))
    }

    /// Each unit is handed out once per process, so there is nothing to settle. What comes later comes with the next one.
    fn settle(&self, _: &Lease, _: Settle) -> Result<()> {
        Ok(())
    }

    fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        store::need(&self.from.join("inputs").join(sha256))
    }

    fn committed(&self, unit: &UnitId) -> Result<Option<Vec<u8>>> {
        let (folder, name) = commits(&self.to, unit)?;
        store::read(&folder.join(name))
    }

    fn offer(&self, name: &str, octets: Vec<u8>) -> Result<()> {
        let path = self.to.join("results").join(&self.agent).join(name);
        match path.exists() {
            true => Ok(()),
            false => store::write(&path, &octets),
        }
    }

    fn commit(&self, unit: &UnitId, octets: Vec<u8>) -> Result<bool> {
        let (folder, name) = commits(&self.to, unit)?;
        store::write_once(&folder, &name, &octets)
    }

    fn control(&self, key: &str) -> Result<Option<Vec<u8>>> {
        store::read(&self.from.join("control").join(key))
    }

    fn heard(&self) -> bool {
        false
    }

    /// A folder has no reader of heartbeats.
    fn report(&self, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// The coordinator's view of such folders.
pub struct FolderHub {
    root: PathBuf,
}

impl FolderHub {
    /// Opens a folder, or makes one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn make(root: &Path) -> Result<Self> {
        crate::files::Folder::make(root)?;
        for name in ["work", "inputs", "control", "commits", "results"] {
            store::make(root, &[name])?;
        }
        Ok(Self { root: root.to_owned() })
    }
}

impl HubSide for FolderHub {
    fn add_agent(&self, name: &str) -> Result<()> {
        store::make(&self.root, &["results", name]).map(drop)
    }

    fn put_input(&self, sha256: &str, octets: Vec<u8>) -> Result<()> {
        store::write(&self.root.join("inputs").join(sha256), &octets)
    }

    fn publish(&self, _: &str, short: &str, octets: Vec<u8>) -> Result<()> {
        store::write(&self.root.join("work").join(format!("{short}.json")), &octets)
    }

    fn commits(&self, campaign: &str) -> Result<Vec<(UnitId, Vec<u8>)>> {
        let folder = self.root.join("commits").join(campaign);
        let mut found = Vec::new();
        for agent in store::names(&folder)? {
            for name in store::names(&folder.join(&agent))? {
                let unit = name.strip_suffix(".json").and_then(|s| UnitId::of(campaign, &agent, s));
                let Some(unit) = unit else { continue };
                found.push((unit, store::need(&folder.join(&agent).join(&name))?));
            }
        }
        Ok(found)
    }

    fn result(&self, agent: &str, name: &str) -> Result<Option<Vec<u8>>> {
        store::read(&self.root.join("results").join(agent).join(name))
    }

    /// The folder is the user's: what is in it is removed by its owner.
    fn remove_result(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    fn set_control(&self, key: &str, octets: Vec<u8>) -> Result<()> {
        store::write(&self.root.join("control").join(key), &octets)
    }

    fn control(&self, key: &str) -> Result<Option<Vec<u8>>> {
        store::read(&self.root.join("control").join(key))
    }

    fn heartbeat(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
