//! Checks, and the problems that they find.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The SHA-256 of each file.
    Digest,
    /// The lines of the journal.
    Journal,
    /// The CRC of each page.
    Pages,
    /// The measurement and the columns.
    Metadata,
    /// The number of records.
    Records,
    /// Which targets have records.
    Targets,
    /// The labels, computed again.
    Labels,
}

/// Every check, in the order of reports.
pub const CHECKS: [Check; 7] = [
    Check::Digest,
    Check::Journal,
    Check::Pages,
    Check::Metadata,
    Check::Records,
    Check::Targets,
    Check::Labels,
];

impl Check {
    /// The name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What the check verifies.
    pub fn doc(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Check::Digest => (
                "digest",
                "each file has the SHA-256 stated by the journal, the file itself or (NDJSON) the metadata next to it",
            ),
            Check::Journal => (
                "journal",
                "each line of the journal has its checksum, the parts are those of its run, and the run has ended",
            ),
            Check::Pages => (
                "pages",
                "each page has its CRC and can be decoded, each line of NDJSON is an object",
            ),
            Check::Metadata => {
                ("metadata", "the measurement has its SHA-256, and the columns match it")
            }
            Check::Records => ("records", "their number is that of the journal and the metadata"),
            Check::Targets => {
                ("targets", "each target of the list (or shard) has one record, none has two")
            }
            Check::Labels => {
                ("labels", "labels and verdicts equal those that `judge` computes from the facts")
            }
        }
    }
}

/// The weight of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It cannot be checked.
    Unchecked,
    /// It is intact, but something is missing.
    Incomplete,
    /// It is not as it was written.
    Spoiled,
}

impl Weight {
    /// The word of a report.
    pub fn word(self) -> &'static str {
        match self {
            Weight::Unchecked => "unchecked",
            Weight::Incomplete => "incomplete",
            Weight::Spoiled => "spoiled",
        }
    }
}

/// A problem.
#[derive(Debug)]
pub struct Problem {
    /// How much it weighs.
    pub weight: Weight,
    check: Check,
    path: PathBuf,
    message: String,
}

impl Problem {
    fn new(weight: Weight, check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self { weight, check, path: path.to_owned(), message: message.into() }
    }

    /// Something is not as it was written.
    pub fn spoiled(check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self::new(Weight::Spoiled, check, path, message)
    }

    /// Something is missing.
    pub fn incomplete(check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self::new(Weight::Incomplete, check, path, message)
    }

    /// Something cannot be checked.
    pub fn unchecked(check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self::new(Weight::Unchecked, check, path, message)
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        json!({
            "outcome": self.weight.word(),
            "check": self.check.name(),
            "file": self.path.display().to_string(),
            "message": self.message,
        })
    }
}

/// `results/part-00003.parquet: spoiled (digest): its SHA-256 is not the one in the journal`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (weight, check) = (self.weight.word(), self.check.name());
        write!(f, "{}: {weight} ({check}): {}", self.path.display(), self.message)
    }
}
