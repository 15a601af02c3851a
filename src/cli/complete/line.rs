//! What a line being typed has so far, and what its word at the cursor is.

use clap::{Arg, ArgAction, Command};

/// What the word at the cursor is.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// The name of a command below the line's.
    Command,
    /// An option's name.
    Option,
    /// The value of an argument.
    Value(&'a Arg),
    /// Nothing more fits.
    Nothing,
}

/// A line, as far as clap's description of the program understands it.
#[derive(Debug)]
pub struct Line<'a> {
    /// The command that was named last.
    pub command: &'a Command,
    /// The names of the command and of those above it: `targets resolve`.
    pub path: String,
    /// The arguments given on the rest of the line, before or after the cursor, with their values.
    pub given: Vec<(&'a str, Option<String>)>,
    /// The word at the cursor, as typed so far.
    pub word: String,
    /// What of the word precedes the value: `--set=`, `-i`, or nothing.
    pub prefix: String,
    /// What the word is.
    pub wanted: Wanted<'a>,
    pending: Option<&'a Arg>,
    positionals: usize,
    escaped: bool,
}

impl<'a> Line<'a> {
    /// Reads the words of a line, the program's name first. `root` must have been built.
    pub fn read(root: &'a Command, words: &[String], index: usize) -> Self {
        let word = words.get(index).cloned().unwrap_or_default();
        let mut line = Line {
            command: root,
            path: String::new(),
            given: Vec::new(),
            word,
            prefix: String::new(),
            wanted: Wanted::Nothing,
            pending: None,
            positionals: 0,
            escaped: false,
        };
        for (at, word) in words.iter().enumerate().skip(1) {
            if at == index {
                line.want(word);
                line.pending = None;
            } else {
                line.take(word);
            }
        }
        if index >= words.len() {
            line.want("");
        }
        line
    }

    /// The value being typed, without the option's name in the same word.
    pub fn value(&self) -> &str {
        self.word.strip_prefix(self.prefix.as_str()).unwrap_or(&self.word)
    }

    /// The last value given for an argument.
    pub fn value_of(&self, id: &str) -> Option<&str> {
        let values = self.given.iter().rev().filter(|(given, _)| *given == id);
        values.filter_map(|(_, value)| value.as_deref()).next()
    }

    /// Takes the word at the cursor.
    fn want(&mut self, word: &str) {
        if let Some(option) = self.pending {
            self.wanted = Wanted::Value(option);
        } else if !self.escaped && word.starts_with('-') && word != "-" {
            self.wanted = Wanted::Option;
            if let Some((option, prefix)) = self.attached(word) {
                self.wanted = Wanted::Value(option);
                self.prefix = prefix.to_owned();
            }
        } else if word == "-" && !self.escaped && self.positional().is_none() {
            self.wanted = Wanted::Option;
        } else if self.command.has_subcommands() {
            self.wanted = Wanted::Command;
        } else {
            self.wanted = self.positional().map_or(Wanted::Nothing, Wanted::Value);
            self.positionals += 1;
        }
    }

    /// Takes another word of the line.
    fn take(&mut self, word: &str) {
        if let Some(option) = self.pending.take() {
            self.give(option, Some(word));
        } else if self.escaped || !word.starts_with('-') || word == "-" {
            let below = self.command.find_subcommand(word).filter(|_| !self.escaped);
            if let Some(command) = below {
                self.command = command;
                let gap = if self.path.is_empty() { "" } else { " " };
                self.path += &format!("{gap}{}", command.get_name());
                self.positionals = 0;
            } else {
                if let Some(argument) = self.positional() {
                    self.give(argument, Some(word));
                }
                self.positionals += 1;
            }
        } else if word == "--" {
            self.escaped = true;
        } else if let Some((option, prefix)) = self.attached(word) {
            self.give(option, word.strip_prefix(prefix));
        } else if let Some(name) = word.strip_prefix("--") {
            let option = self.command.get_arguments().find(|arg| arg.get_long() == Some(name));
            self.name(option);
        } else {
            for letter in word.chars().skip(1) {
                let option = self.short(letter);
                self.name(option);
            }
        }
    }

    /// An option whose value is not in the same word.
    fn name(&mut self, option: Option<&'a Arg>) {
        match option {
            // A value that may be left out is not waited for.
            Some(option) if needs_value(option) => self.pending = Some(option),
            Some(option) => self.give(option, None),
            None => {}
        }
    }

    fn give(&mut self, argument: &'a Arg, value: Option<&str>) {
        self.given.push((argument.get_id().as_str(), value.map(str::to_owned)));
    }

    /// The option whose value is in the same word (`--set=x`, `-qieth0`), with what of the word precedes the value.
    fn attached<'w>(&self, word: &'w str) -> Option<(&'a Arg, &'w str)> {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=')?;
            let mut options = self.command.get_arguments();
            let option = options.find(|arg| arg.get_long() == Some(name) && takes_value(arg))?;
            return Some((option, word.strip_suffix(value)?));
        }
        let letters = word.char_indices().skip(1);
        for (at, letter) in letters {
            let (option, end) = (self.short(letter)?, at + letter.len_utf8());
            if takes_value(option) {
                // `-i` alone: the value is the next word.
                return (end < word.len()).then(|| Some((option, word.get(..end)?)))?;
            }
        }
        None
    }

    fn short(&self, letter: char) -> Option<&'a Arg> {
        self.command.get_arguments().find(|arg| arg.get_short() == Some(letter))
    }

    /// The argument that the next word without a dash is; the last one may take several.
    fn positional(&self) -> Option<&'a Arg> {
        let last = self.command.get_positionals().last();
        let several = last.filter(|arg| matches!(arg.get_action(), ArgAction::Append));
        self.command.get_positionals().nth(self.positionals).or(several)
    }
}

/// Whether an argument has a value.
pub fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

/// Whether an argument cannot be given without a value.
fn needs_value(argument: &Arg) -> bool {
    takes_value(argument) && argument.get_num_args().is_none_or(|count| count.min_values() > 0)
}
