//! The account of a run: every target that was read ends as exactly one of a record, a refusal that is counted, or,
//! if the run was ended early, unfinished.

use serde_json::{Map, Value};

use crate::targets::{Positions, Reader, Reason};
use crate::words::counted;

/// What became of the targets that were read.
#[derive(Debug, Default)]
pub struct Account {
    /// Targets read.
    pub read: u64,
    /// Those refused, by [`Reason`].
    pub refused: [u64; Reason::ALL.len()],
    /// Those that have a record, on disk.
    pub records: u64,
    /// Those that the run's end came before.
    pub unfinished: u64,
    /// The list's digest, once its end was reached.
    pub digest: Option<String>,
    /// The last position that was read, and those without a target.
    pub positions: (u64, Positions),
    /// Positions of targets that must not be asked.
    pub withheld: Positions,
}

impl Account {
    /// What a reader has read.
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

    /// Counts targets that were in hand when it came out that they must not be asked, by position and reason.
    pub fn withdraw(&mut self, targets: &[(u64, Reason)]) {
        for (position, reason) in targets {
            self.refused[*reason as usize] += 1;
            self.withheld.insert(*position);
        }
    }

    /// Targets that have neither a record nor a reason: none, unless something was lost.
    pub fn missing(&self) -> u64 {
        self.read.abs_diff(self.ended())
    }

    /// The rest, where an error ended the run: what was in hand then has no record.
    pub fn close(&mut self) {
        self.unfinished += self.read.saturating_sub(self.ended());
    }

    fn ended(&self) -> u64 {
        self.records + self.unfinished + self.refused.iter().sum::<u64>()
    }

    /// Refusals by the words of their reasons, those that there were.
    pub fn refusals(&self) -> Value {
        let counts = Reason::ALL.iter().zip(self.refused);
        let counts = counts.map(|((_, word, _), count)| ((*word).to_owned(), count.into()));
        Value::Object(counts.collect::<Map<_, _>>())
    }

    /// Lines of a summary: what was read and not asked, and why.
    pub fn notes(&self) -> Vec<String> {
        let refused =
            Reason::ALL.iter().zip(self.refused).map(|((_, _, doc), count)| (count, *doc));
        let notes =
            refused.chain([(self.unfinished, "target[s] [was|were] read and not finished")]);
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
        assert_eq!(account.missing(), 2, "more records than targets are wrong, too");
        assert_eq!(account.refusals()["other_shard"], 2);
    }
}
