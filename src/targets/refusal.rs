//! Lines that could not be used.

/// How many refusals are kept and logged one by one.
const KEPT: usize = 20;

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, from 1.
    pub line: u64,
    /// Why, as a lowercase fragment.
    pub reason: String,
}

/// All lines that could not be used: how many, and the first 20 in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// How many there were.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Refusal>,
    origin: String,
}

impl Refusals {
    pub(super) fn new(origin: &str) -> Self {
        let origin = if origin.is_empty() { "target list" } else { origin };
        Self { count: 0, first: Vec::new(), origin: origin.to_owned() }
    }

    pub(super) fn add(&mut self, line: u64, reason: String) {
        self.count += 1;
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
