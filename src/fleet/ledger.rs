//! What an agent has done: a line per step of a unit, on disk before the step counts.
//!
//! A unit that was begun is resumed, one that was measured is offered again, one that was committed is committed again
//! with the same octets. So a crash between two steps repeats what is harmless to repeat, and sends nothing twice.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::message::{Signed, UnitId, VERSION, Work, to_text};
use crate::error::{Doing as _, Error, Result};
use crate::files::Folder;

/// The name of the file.
pub const NAME: &str = "ledger.ndjson";

/// A step of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Probing begins: a line for each attempt.
    Begun {
        /// From 1.
        attempt: u32,
        /// The message, so that it can be resumed before its lease comes again.
        work: Work,
    },
    /// The attempt ended in order, and the unit did not.
    Paused,
    /// It ended, and this is what will be committed. If it is done, the result is on disk.
    Measured {
        /// The signed commit.
        commit: Signed,
    },
    /// The hub has the commit.
    Committed,
    /// The result is in the dataset.
    Stored {
        /// When the agent heard so, in seconds since 1970.
        at: u64,
    },
    /// The agent's own copy is removed.
    Removed,
}

#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    unit: String,
    #[serde(flatten)]
    step: Step,
}

/// What is known of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// How often it was begun.
    pub attempts: u32,
    /// How many of these attempts ended in order.
    pub paused: u32,
    /// The message that it came with.
    pub work: Option<Work>,
    /// What is committed, from the moment that it is measured.
    pub commit: Option<Signed>,
    /// Whether the hub has the commit.
    pub committed: bool,
    /// When it was stored.
    pub stored: Option<u64>,
    /// Whether the copy is removed.
    pub removed: bool,
}

impl Entry {
    fn take(&mut self, step: Step) {
        match step {
            Step::Begun { attempt, work } => {
                self.attempts = self.attempts.max(attempt);
                self.work = Some(work);
            }
            Step::Paused => self.paused += 1,
            Step::Measured { commit } => self.commit = Some(commit),
            Step::Committed => self.committed = true,
            Step::Stored { at } => self.stored = Some(at),
            Step::Removed => self.removed = true,
        }
    }
}

impl Entry {
    /// Whether the agent ended in the middle of it.
    pub fn is_cut_off(&self) -> bool {
        self.attempts > self.paused && self.commit.is_none()
    }
}

/// The ledger of an agent.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    units: BTreeMap<UnitId, Entry>,
}

impl Ledger {
    /// Opens the ledger of a folder, or begins one. A line that a crash cut off is removed.
    ///
    /// # Errors
    /// If it cannot be read, if another process has it open, or if a line before the last is damaged.
    pub fn open(folder: &Folder) -> Result<Self> {
        let name = OsStr::new(NAME);
        let path = folder.join(name);
        let doing = || format!("read {}", path.display());
        let (mut file, _) = folder.append(name)?;
        if file.try_lock().is_err() {
            return Err(Error::Usage(format!("{}: another agent has it open", doing())));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).doing(doing)?;
        let whole = text.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).doing(doing)?;
            text.truncate(whole);
        }
        let mut units: BTreeMap<UnitId, Entry> = BTreeMap::new();
        for (number, line) in text.split(|octet| *octet == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let damaged = || {
                Error::Usage(format!(
                    "{}: line {} is damaged; without it, targets could be probed again. Restore the file from a backup, or \
                     give the agent a new name",
                    doing(),
                    number + 1
                ))
            };
            let line: Line = serde_json::from_slice(line).map_err(|_| damaged())?;
            let unit = UnitId::parse(&line.unit).ok_or_else(damaged)?;
            units.entry(unit).or_default().take(line.step);
        }
        Ok(Self { file, units })
    }

    /// What is known of a unit; empty if it is new.
    pub fn entry(&self, unit: &UnitId) -> Entry {
        self.units.get(unit).cloned().unwrap_or_default()
    }

    /// All units.
    pub fn units(&self) -> impl Iterator<Item = (&UnitId, &Entry)> {
        self.units.iter()
    }

    /// Notes a step; it is on disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written. Then the step must not be taken.
    pub fn note(&mut self, unit: &UnitId, step: Step) -> Result<()> {
        let line = Line { v: VERSION, unit: unit.to_string(), step };
        let text = to_text(&line)? + "\n";
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.doing(|| "write the ledger")?;
        self.units.entry(unit.clone()).or_default().take(line.step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::key::{Key, Kind};

    fn begun(attempt: u32) -> Step {
        let shard = crate::targets::Shard::parse("1/3").unwrap();
        let (campaign, document) = ("c".to_owned(), String::new());
        Step::Begun { attempt, work: Work { v: 1, campaign, document, round: 0, shard, number: 1 } }
    }

    fn unit(shard: u64) -> UnitId {
        UnitId { campaign: "c".into(), agent: "a".into(), round: 0, shard }
    }

    #[test]
    fn a_ledger_survives_and_loses_only_a_line_cut_off() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let commit = Signed::new(&7, &Key::new(Kind::User)).unwrap();
        {
            let mut ledger = Ledger::open(&folder).unwrap();
            assert_eq!(ledger.entry(&unit(1)), Entry::default());
            ledger.note(&unit(1), begun(1)).unwrap();
            ledger.note(&unit(1), begun(2)).unwrap();
            ledger.note(&unit(1), Step::Measured { commit: commit.clone() }).unwrap();
            ledger.note(&unit(2), begun(1)).unwrap();
            assert!(Ledger::open(&folder).is_err(), "two agents in one folder");
        }
        let path = home.path().join(NAME);
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"v\":1,\"unit\":\"c/a/0-3\",\"st");
        std::fs::write(&path, &text).unwrap();
        let mut ledger = Ledger::open(&folder).unwrap();
        let entry = ledger.entry(&unit(1));
        assert_eq!((entry.attempts, entry.commit.as_ref()), (2, Some(&commit)));
        assert!(!entry.is_cut_off() && ledger.entry(&unit(2)).is_cut_off());
        assert_eq!((ledger.entry(&unit(2)).attempts, ledger.units().count()), (1, 2));
        ledger.note(&unit(3), Step::Committed).unwrap();
        drop(ledger);
        assert!(Ledger::open(&folder).unwrap().entry(&unit(3)).committed, "after the torn line");
    }

    #[test]
    fn a_damaged_line_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let mut ledger = Ledger::open(&folder).unwrap();
        ledger.note(&unit(1), begun(1)).unwrap();
        ledger.note(&unit(1), Step::Committed).unwrap();
        drop(ledger);
        let path = home.path().join(NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("begun", "bogun", 1)).unwrap();
        let why = Ledger::open(&folder).unwrap_err().to_string();
        assert!(why.contains("line 1 is damaged"), "{why}");
    }
}
