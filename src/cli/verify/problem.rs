//! What is checked, and what can be wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Check {
    Digest,
    Journal,
    Pages,
    Metadata,
    Records,
    Targets,
    Labels,
}

/// All of it, in the order in which it is told.
pub(in crate::cli) const CHECKS: [Check; 7] = [
    Check::Digest,
    Check::Journal,
    Check::Pages,
    Check::Metadata,
    Check::Records,
    Check::Targets,
    Check::Labels,
];

impl Check {
    pub(in crate::cli) fn name(self) -> &'static str {
        self.row().0
    }

    pub(in crate::cli) fn doc(self) -> &'static str {
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
pub(super) enum Weight {
    /// It cannot be told whether it is right.
    Unchecked,
    /// It is right, and something is missing.
    Incomplete,
    /// It is not as it was written.
    Spoiled,
}

impl Weight {
    pub(super) fn word(self) -> &'static str {
        match self {
            Weight::Unchecked => "unchecked",
            Weight::Incomplete => "incomplete",
            Weight::Spoiled => "spoiled",
        }
    }
}

/// Something that was found.
#[derive(Debug)]
pub(super) struct Problem {
    pub weight: Weight,
    check: Check,
    path: PathBuf,
    message: String,
}

impl Problem {
    fn new(weight: Weight, check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self { weight, check, path: path.to_owned(), message: message.into() }
    }

    pub(super) fn spoiled(check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self::new(Weight::Spoiled, check, path, message)
    }

    pub(super) fn incomplete(check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self::new(Weight::Incomplete, check, path, message)
    }

    pub(super) fn unchecked(check: Check, path: &Path, message: impl Into<String>) -> Self {
        Self::new(Weight::Unchecked, check, path, message)
    }

    pub(super) fn json(&self) -> Value {
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
