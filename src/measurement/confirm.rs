//! `[confirm]`: the confirmation rounds of targets that look broken or transient.

use super::bounds::{DEFAULT_ROUNDS, DEFAULT_SPREAD, LONGEST, ROUNDS, read_duration};
use super::checker::Checker;
use super::file;
use super::plan::Confirm;

impl Checker<'_> {
    /// The confirmation of the file.
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
                Some(_) => ("E0207", "rounds are at most an hour apart".to_owned()),
                None => ("E0206", format!("`{text}` is not a duration")),
            };
            let help = "write a whole number and a unit, without space: 500ms, 5s or 1m";
            self.mistake(code, written.span(), message, Some(help.into()));
        }
        Confirm { rounds: rounds.unwrap_or(DEFAULT_ROUNDS), spread: spread.unwrap_or_default() }
    }
}
