//! The account of a run. Every target read ends in exactly one way: recorded, skipped with a reason, or, if the run
//! ended early, unfinished.

use serde_json::{Map, Value};

use crate::targets::{Positions, Reader, Reason};
use crate::words::counted;

/// The outcome of every target read.
#[derive(Debug, Default)]
pub struct Account {
    /// Targets read.
    pub read: u64,
    /// Targets skipped, by [`Reason`].
    pub refused: [u64; Reason::ALL.len()],
    /// Targets with a record on disk.
    pub records: u64,
    /// Targets that the run ended before it finished them.
    pub unfinished: u64,
    /// The digest of the list, if it was read to its end.
    pub digest: Option<String>,
    /// The last position read, and the positions without a target.
    pub positions: (u64, Positions),
    /// Positions of excluded targets.
    pub withheld: Positions,
}

impl Account {
    /// The account of a reader so far.
    pub fn of(reader: &Reader) -> Self {
        Self {
            read: reader.targets_read(),
            refused: reader.refusals().counts(),
            digest: reader.digest(),
            positions: reader.positions(),
            withheld: reader.withheld().clone(),
            ..Self::default()
        }
    }

    /// Counts targets that were excluded while in flight, by position and reason.
    pub fn withdraw(&mut self, targets: &[(u64, Reason)]) {
        for (position, reason) in targets {
            self.refused[*reason as usize] += 1;
            self.withheld.insert(*position);
        }
    }

    /// Targets with neither a record nor a reason: 0 unless something was lost.
    pub fn missing(&self) -> u64 {
        self.read.abs_diff(self.ended())
    }

    /// On an aborted run, counts targets in flight as unfinished.
    pub fn close(&mut self) {
        self.unfinished += self.read.saturating_sub(self.ended());
    }

    fn ended(&self) -> u64 {
        self.records + self.unfinished + self.refused.iter().sum::<u64>()
    }

    /// Skipped targets by the word of each reason; reasons that did not occur are left out.
    pub fn refusals(&self) -> Value {
        let counts = Reason::ALL.iter().zip(self.refused);
        let counts = counts.map(|((_, word, _), count)| ((*word).to_owned(), count.into()));
        Value::Object(counts.collect::<Map<_, _>>())
    }

    /// Lines of a summary: targets that were read but not probed, and why.
    pub fn notes(&self) -> Vec<String> {
        let refused =
            Reason::ALL.iter().zip(self.refused).map(|((_, _, doc), count)| (count, *doc));
        let notes =
            refused.chain([(self.unfinished, "target[s] [was|were] read but not finished")]);
        let notes = notes.filter(|(count, _)| *count > 0);
        notes.map(|(count, what)| counted(count, what)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_an_end_is_missing() {
        let mut account =
            Account { read: 10, refused: [1, 2, 0, 0, 0], records: 6, ..Account::default() };
        assert_eq!(account.missing(), 1);
        account.close();
        assert_eq!((account.unfinished, account.missing()), (1, 0));
        account.records += 2;
        assert_eq!(account.missing(), 2, "more records than targets is an error too");
        assert_eq!(account.refusals()["other_shard"], 2);
    }
}
