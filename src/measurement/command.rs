//! `command` steps: their checks, and where the files of their programs are.

use std::path::Path;

use toml::Spanned;

use super::checker::Checker;
use super::steps::{Command, Step};
use crate::step::{self, command};

impl Checker<'_> {
    pub(super) fn command(
        &mut self,
        step: &Spanned<Step>,
        written: &Command,
    ) -> Option<step::Step> {
        let timeout = self.duration(written.timeout.as_ref(), command::DEFAULT_TIMEOUT);
        let Some(run) = &written.run else {
            if !self.was_removed(&["config".into()]) {
                let help = "write { command = { run = [\"dish\", \"east\"] } }";
                let message = "this step has no `run`";
                self.mistake("E0103", step.span(), message, Some(help.into()));
            }
            return None;
        };
        for words in [Some(run), written.undo.as_ref()].into_iter().flatten() {
            let program = words.get_ref().first().map_or("", String::as_str);
            if program.trim().is_empty() || words.get_ref().iter().any(|word| word.contains('\0')) {
                let help = "write the program and its arguments: [\"dish\", \"east\"]";
                self.mistake("E0216", words.span(), "this is not a program", Some(help.into()));
            } else if let Some((message, help)) = shell_line(words.get_ref()) {
                self.mistake("E0216", words.span(), message, Some(help));
            }
        }
        let undo = written.undo.as_ref().map(|undo| self.located(undo)).unwrap_or_default();
        let run = self.located(run);
        Some(step::Step::Command(step::Command { run, undo, timeout: timeout? }))
    }

    /// The words of a command. A program that is a file, not a name, is relative to the file in which it is written.
    fn located(&self, words: &Spanned<Vec<String>>) -> Vec<String> {
        let mut located = words.get_ref().clone();
        let folder = self.sources.folder(words.span().start);
        if let (Some(program), Some(folder)) = (located.first_mut(), folder)
            && program.contains('/')
            && Path::new(program.as_str()).is_relative()
            // Absolute, so that `restore` finds it from anywhere.
            && let Ok(path) = std::path::absolute(folder.join(&program))
        {
            *program = path.display().to_string();
        }
        located
    }
}

/// What is wrong with words that are meant for a shell, and what to write.
fn shell_line(words: &[String]) -> Option<(String, String)> {
    const SIGNS: [&str; 10] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1", "2>"];
    let program = words.first()?;
    let joined = words.join(" ");
    let quoted = |word: &str| toml::Value::from(word).to_string();
    let has_signs = joined.contains(['|', ';', '&', '>', '<', '`', '*', '~']);
    let through_shell = format!("[\"sh\", \"-c\", {}]", quoted(&joined));
    let sign = words.iter().find(|word| SIGNS.contains(&word.as_str()));
    if program.contains(char::is_whitespace) {
        let split: Vec<String> = program
            .split_whitespace()
            .chain(words.iter().skip(1).map(String::as_str))
            .map(quoted)
            .collect();
        let help = match has_signs {
            true => format!("no shell reads it; write {through_shell} if one should"),
            false => format!("write each word on its own: [{}]", split.join(", ")),
        };
        return Some((format!("`{program}` is a command line, not a program"), help));
    }
    let is_shell = program.rsplit('/').next().is_some_and(|name| name.ends_with("sh"));
    let sign = sign.filter(|_| !is_shell)?;
    let message = format!("`{sign}` is for a shell, and no shell reads these words");
    Some((message, format!("write {through_shell} if one should")))
}
