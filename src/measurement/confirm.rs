//! How often a target that looks broken or transient is asked again.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::file;
use super::plan::{Checker, LONGEST, read_duration};

/// How often a target may be asked again; 0 is never.
pub const ROUNDS: RangeInclusive<i64> = 0..=20;
/// How often it is if the file does not say.
pub const DEFAULT_ROUNDS: u16 = 2;
/// The least time in between if the file does not say.
pub const DEFAULT_SPREAD: &str = "2s";

/// What is done about a target that looks broken or transient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// How often it is asked again under every configuration; 0 if nothing compares.
    pub rounds: u16,
    /// The least time from the end of one asking to the next.
    pub spread: Duration,
}

impl Checker<'_> {
    /// What is done about such targets, as the file has it.
    pub(super) fn confirm(&mut self, written: &file::Confirm) -> Confirm {
        let rounds = written.rounds.as_ref();
        if let Some(rounds) = rounds {
            self.range("rounds", rounds.span(), *rounds.get_ref(), &ROUNDS);
        }
        let rounds = rounds.and_then(|rounds| u16::try_from(*rounds.get_ref()).ok());
        let text = written.spread.as_ref().map_or(DEFAULT_SPREAD, |text| text.get_ref());
        let spread = read_duration(text);
        if let Some(written) = &written.spread
            && spread.is_none_or(|spread| spread > LONGEST)
        {
            let (code, message) = match spread {
                Some(_) => ("E0207", "rounds are an hour apart at most".to_owned()),
                None => ("E0206", format!("`{text}` is not a duration")),
            };
            let help = "write a whole number and a unit, without space: 500ms, 5s or 1m";
            self.mistake(code, written.span(), message, Some(help.into()));
        }
        Confirm { rounds: rounds.unwrap_or(DEFAULT_ROUNDS), spread: spread.unwrap_or_default() }
    }
}
