//! Programs that change something outside this host, as a measurement describes them.

use std::time::Duration;

/// How long a program may take if the file does not say.
pub const DEFAULT_TIMEOUT: &str = "30s";

/// A program to run, and how to undo it. Words are given as they are: no shell reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// The program that undoes it, with arguments; empty if nothing does.
    pub undo: Vec<String>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Command {
    /// What it does, in plain words.
    pub fn describe(&self) -> String {
        format!("run the program {}, for at most {:?}", line(&self.run), self.timeout)
    }

    /// How it is undone, in plain words.
    pub fn describe_undo(&self) -> String {
        match self.undo.is_empty() {
            true => "nothing: the file names no program that undoes it".into(),
            false => format!("run the program {}", line(&self.undo)),
        }
    }
}

/// The words, with quotes around those that need them.
pub(super) fn line(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let words = words.iter().map(|word| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("{word:?}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_apart() {
        let run = vec!["dish".into(), "--to".into(), "far east".into()];
        let command = Command { run, undo: Vec::new(), timeout: Duration::from_secs(30) };
        assert_eq!(command.describe(), "run the program dish --to \"far east\", for at most 30s");
    }
}
