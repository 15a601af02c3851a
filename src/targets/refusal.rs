//! Targets of a list that were not asked, each for a reason that is counted, and lines that could not be used.

use crate::words::counted;

/// How many refusals are kept and logged one by one.
const KEPT: usize = 20;

/// Why a target of the list was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The line cannot be used.
    BadLine,
    /// Another shard has it.
    OtherShard,
    /// It has its record from before the run was resumed.
    Resumed,
    /// It is in a special-purpose network.
    Reserved,
    /// It is in a list of those who must not be asked.
    Excluded,
}

impl Reason {
    /// Every reason, its word, and what it says of the targets counted under it, in the forms of
    /// [`counted`].
    pub const ALL: [(Reason, &'static str, &'static str); 5] = [
        (Reason::BadLine, "bad_line", "line[s] of the target list [was|were] refused"),
        (Reason::OtherShard, "other_shard", "target[s] belong[s|] to other shards"),
        (Reason::Resumed, "resumed", "target[s] had [its record|their records] from before"),
        (
            Reason::Reserved,
            "reserved",
            "target[s] [is|are] in special-purpose networks and [was|were] not asked (--allow-reserved lets [it|them] be)",
        ),
        (Reason::Excluded, "excluded", "target[s] [is|are] excluded and [was|were] not asked"),
    ];
}

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, from 1.
    pub line: u64,
    /// Why, as a lowercase fragment.
    pub reason: String,
}

/// All targets that were not asked; of lines that could not be used the first 20 in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// Lines that could not be used.
    pub count: u64,
    /// Targets by every other reason.
    others: [u64; Reason::ALL.len()],
    /// The first lines that could not be used.
    pub first: Vec<Refusal>,
    origin: String,
    /// Whether lines are only counted: they are told when they are read once more.
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

    /// For lines that are read once more later.
    pub(super) fn quiet() -> Self {
        Self { quiet: true, ..Self::new("") }
    }

    /// How many were refused for a reason.
    pub fn of(&self, reason: Reason) -> u64 {
        match reason {
            Reason::BadLine => self.count,
            other => self.others[other as usize],
        }
    }

    /// How many were refused for each reason.
    pub fn counts(&self) -> [u64; Reason::ALL.len()] {
        Reason::ALL.map(|(reason, ..)| self.of(reason))
    }

    /// How many were refused in all.
    pub fn total(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// All of them in words; `None` if there are none.
    pub fn told(&self) -> Option<String> {
        let counts = Reason::ALL.iter().zip(self.counts()).filter(|(_, count)| *count > 0);
        let told: Vec<String> = counts.map(|((_, _, doc), count)| counted(count, doc)).collect();
        let first = self.why().map(|why| format!(" ({why})")).unwrap_or_default();
        (!told.is_empty()).then(|| told.join("; ") + &first)
    }

    /// The first line that could not be used, and why.
    pub fn why(&self) -> Option<String> {
        self.first.first().map(|Refusal { line, reason }| format!("line {line}: {reason}"))
    }

    /// What to say of a list of which not one line could be used.
    pub fn of_nothing(&self, what: &str) -> String {
        match (self.count, self.why()) {
            (0, _) | (_, None) => format!("no {what}: the list is empty"),
            (1, Some(why)) => format!("no {what}: the only line was refused ({why})"),
            (count, Some(why)) => {
                format!(
                    "no {what}: all {} were refused (the first, {why})",
                    counted(count, "lines")
                )
            }
        }
    }

    /// Counts a target that is not asked.
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
            log::warn!("{}: further bad lines are only counted", self.origin);
        }
    }
}

/// A piece of a line for a message: short, and without anything that moves a cursor.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
