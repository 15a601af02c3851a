//! Targets of a list that were not probed, counted by reason, and lines that could not be used.

use crate::words::counted;

/// How many rejected lines are kept and logged individually.
const KEPT: usize = 20;

/// Why a target of the list was not probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The line cannot be used.
    BadLine,
    /// It belongs to another shard.
    OtherShard,
    /// It has a record from before the run was resumed.
    Resumed,
    /// It is in a special-purpose network.
    Reserved,
    /// It is in an exclude list.
    Excluded,
}

impl Reason {
    /// Every reason with its word, and the sentence about the targets counted under it, in the forms of [`counted`].
    pub const ALL: [(Reason, &'static str, &'static str); 5] = [
        (Reason::BadLine, "bad_line", "line[s] of the target list [was|were] rejected"),
        (Reason::OtherShard, "other_shard", "target[s] belong[s|] to other shards"),
        (Reason::Resumed, "resumed", "target[s] already had [its record|their records]"),
        (
            Reason::Reserved,
            "reserved",
            "target[s] in special-purpose networks [was|were] skipped (use --allow-reserved to probe [it|them])",
        ),
        (Reason::Excluded, "excluded", "excluded target[s] [was|were] skipped"),
    ];
}

/// A rejected line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, from 1.
    pub line: u64,
    /// The reason, as a lowercase fragment.
    pub reason: String,
}

/// All targets that were not probed; the first 20 rejected lines are kept in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// Number of rejected lines.
    pub count: u64,
    /// Number of targets for every other reason.
    others: [u64; Reason::ALL.len()],
    /// The first rejected lines.
    pub first: Vec<Refusal>,
    origin: String,
    /// Whether lines are only counted, because they are reported when they are read again.
    quiet: bool,
}

impl Refusals {
    pub(super) fn new(origin: &str) -> Self {
        let origin = if origin.is_empty() { "target list" } else { origin };
        Self {
            count: 0,
            others: Default::default(),
            first: Vec::new(),
            origin: origin.to_owned(),
            quiet: false,
        }
    }

    /// For lines that are read again later.
    pub(super) fn quiet() -> Self {
        Self { quiet: true, ..Self::new("") }
    }

    /// Number of targets skipped for a reason.
    pub fn of(&self, reason: Reason) -> u64 {
        match reason {
            Reason::BadLine => self.count,
            other => self.others[other as usize],
        }
    }

    /// Number of targets skipped for each reason.
    pub fn counts(&self) -> [u64; Reason::ALL.len()] {
        Reason::ALL.map(|(reason, ..)| self.of(reason))
    }

    /// Number of targets skipped in all.
    pub fn total(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// The counts as a sentence; `None` if there is nothing to report.
    pub fn in_words(&self) -> Option<String> {
        let counts = Reason::ALL.iter().zip(self.counts()).filter(|(_, count)| *count > 0);
        let reasons: Vec<String> = counts.map(|((_, _, doc), count)| counted(count, doc)).collect();
        let first = self.why().map(|why| format!(" ({why})")).unwrap_or_default();
        (!reasons.is_empty()).then(|| reasons.join("; ") + &first)
    }

    /// The first rejected line and its reason.
    pub fn why(&self) -> Option<String> {
        self.first.first().map(|Refusal { line, reason }| format!("line {line}: {reason}"))
    }

    /// The message for a list that has no usable line.
    pub fn of_nothing(&self, what: &str) -> String {
        match (self.count, self.why()) {
            (0, _) | (_, None) => format!("no {what}: the list is empty"),
            (1, Some(why)) => format!("no {what}: the only line was rejected ({why})"),
            (count, Some(why)) => {
                format!(
                    "no {what}: all {} were rejected (the first, {why})",
                    counted(count, "lines")
                )
            }
        }
    }

    /// Counts a target that is not probed.
    pub(super) fn pass(&mut self, reason: Reason) {
        self.others[reason as usize] += 1;
    }

    pub(super) fn add(&mut self, line: u64, reason: String) {
        self.count += 1;
        if self.quiet {
            return;
        }
        if self.first.len() < KEPT {
            log::warn!("{}: line {line}: {reason}", self.origin);
            self.first.push(Refusal { line, reason });
        } else if self.first.len() as u64 + 1 == self.count {
            log::warn!("{}: further rejected lines are only counted", self.origin);
        }
    }
}

/// A piece of a line for a message: short, and without control characters.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
