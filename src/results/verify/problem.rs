//! What is checked, and what can be wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What is checked.
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
    /// How many records there are.
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

    /// What is checked, in a sentence.
    pub fn doc(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Check::Digest => (
                "digest",
                "each file has the SHA-256 that the journal, the file itself or (NDJSON) the metadata beside it states",
            ),
            Check::Journal => (
                "journal",
                "each line of the journal has its checksum, the parts are those of its run, and the run has ended",
            ),
            Check::Pages => (
                "pages",
                "each page has its CRC and can be decoded, each line of NDJSON is an object",
            ),
            Check::Metadata => (
                "metadata",
                "the measurement has its SHA-256, and the columns are those that it leads to",
            ),
            Check::Records => ("records", "there are as many as the journal and the metadata say"),
            Check::Targets => {
                ("targets", "each target of the list (or shard) has one record, none has two")
            }
            Check::Labels => (
                "labels",
                "labels and verdicts are those that the facts lead to, as `judge` has them",
            ),
        }
    }
}

/// How much a problem weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It cannot be told whether it is right.
    Unchecked,
    /// It is right, and something is missing.
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

/// Something that was found.
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

    /// For programs.
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
