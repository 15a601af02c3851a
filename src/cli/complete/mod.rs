//! Completions that know the measurements, params, kinds, interfaces and codes: the hidden command that a shell's script
//! calls at each Tab, and those scripts.
//!
//! `line` finds out what is being typed, `quoting` splits a line as bash does, `offers` is the table of what can stand where.
//! Nothing here sends, writes, waits for a pipe or prints an error: a line being typed is not the place for it.

mod line;
mod offers;
mod quoting;

use std::fmt::Write as _;

use clap::CommandFactory as _;

use self::line::Line;
use crate::cli::Cli;
use crate::error::{Exit, Result};
use crate::report::page;

/// Print what a command line may continue with, for the scripts of `completions`
///
/// The first line says which files the shell may add: `none`, `any`, `folders`, or those with this extension. Each
/// further line is a word, a tab, and what it means.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The line of bash before and after the cursor, and the text that bash replaces (a word may be several to it)
    #[arg(long, value_names = ["BEFORE", "AFTER", "TEXT"], num_args = 3, allow_hyphen_values = true)]
    bash: Option<Vec<String>>,

    /// Index of the word at the cursor
    #[arg(default_value_t = 0)]
    index: usize,

    /// The words of the line, the program's name first
    #[arg(last = true)]
    words: Vec<String>,
}

/// A word that fits, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    word: String,
    about: String,
}

impl Candidate {
    fn new(word: impl Into<String>, about: impl Into<String>) -> Self {
        Self { word: word.into(), about: about.into() }
    }
}

/// Which files fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    None,
    Any,
    Folders,
    /// Those with this extension, and folders, in which there may be some.
    Ending(&'static str),
}

impl Files {
    fn as_str(self) -> &'static str {
        match self {
            Files::None => "none",
            Files::Any => "any",
            Files::Folders => "folders",
            Files::Ending(extension) => extension,
        }
    }
}

/// What fits at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    candidates: Vec<Candidate>,
    files: Files,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let (words, index, text) = match args.bash.as_deref() {
        Some([before, after, text]) => {
            let mut words = quoting::words(before);
            let index = words.len().saturating_sub(1);
            // What of the word stands after the cursor is not the answer's concern.
            let (_, after) = after.split_once(char::is_whitespace).unwrap_or_default();
            words.extend(quoting::words(after).into_iter().filter(|word| !word.is_empty()));
            (words, index, Some(text.as_str()))
        }
        _ => (args.words.clone(), args.index, None),
    };
    page::print_own(&answer(&words, index, text))?;
    Ok(Exit::Done)
}

/// The answer for the word at an index, of which the shell replaces `text` (all of it, without one).
fn answer(words: &[String], index: usize, text: Option<&str>) -> String {
    let mut root = Cli::command();
    root.build();
    let line = Line::read(&root, words, index);
    let offer = offers::at(&line);
    let kept = text.and_then(|text| line.word.strip_suffix(text)).unwrap_or_default();
    let mut answer = format!("{}\n", offer.files.as_str());
    for Candidate { word, about } in offer.candidates {
        let whole = format!("{}{word}", line.prefix);
        let Some(shown) = whole.strip_prefix(kept) else { continue };
        if whole.starts_with(&line.word) && is_safe(&whole) {
            let about = about.lines().next().unwrap_or_default().replace(char::is_control, " ");
            // Writing to a String cannot fail.
            let _ = writeln!(answer, "{shown}\t{about}");
        }
    }
    answer
}

/// Whether a word means itself in every shell. Names of files in folders may hold anything; such a word is not offered,
/// because bash inserts it as it is.
fn is_safe(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=+./:,@%".contains(c))
}

/// The script for a shell.
pub fn script(shell: clap_complete::Shell) -> Option<&'static str> {
    match shell {
        clap_complete::Shell::Bash => Some(include_str!("bash.sh")),
        clap_complete::Shell::Zsh => Some(include_str!("zsh.zsh")),
        clap_complete::Shell::Fish => Some(include_str!("fish.fish")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words offered at the end of a line, and the files.
    fn offered(line: &str) -> (Vec<String>, String) {
        let words = quoting::words(line);
        let answer = answer(&words, words.len() - 1, None);
        let mut lines = answer.lines();
        let files = lines.next().unwrap().to_owned();
        let words = lines.map(|line| line.split('\t').next().unwrap().to_owned());
        (words.collect(), files)
    }

    fn words(line: &str) -> Vec<String> {
        offered(line).0
    }

    #[test]
    fn commands_and_options() {
        assert_eq!(words("pathspider ru"), ["run"]);
        assert_eq!(words("pathspider -q targets fi"), ["filter"]);
        assert_eq!(words("pathspider run ecn --rate-per-a"), ["--rate-per-address"]);
        assert!(!words("pathspider ").iter().any(|word| word.starts_with("__")));
        // Given already, or in conflict with what is given.
        assert_eq!(words("pathspider run ecn --rate 5 --rat").len(), 2);
        assert!(words("pathspider run ecn --lab --targ").is_empty());
        // It may be repeated.
        assert_eq!(words("pathspider run ecn --set a=1 --se"), ["--set", "--seed"]);
        assert!(words("pathspider run -- --l").is_empty());
    }

    #[test]
    fn values_of_options_in_all_their_forms() {
        assert_eq!(words("pathspider list k"), ["kinds"]);
        assert_eq!(words("pathspider run ecn --order r"), ["random"]);
        assert_eq!(words("pathspider run ecn --order=r"), ["--order=random"]);
        assert_eq!(words("pathspider observe -il"), ["-ilo"]);
        assert_eq!(words("pathspider observe -qil"), ["-qilo"]);
        assert_eq!(words("pathspider observe --use basic,ec"), ["basic,ecn"]);
        assert_eq!(words("pathspider guide moni"), ["monitoring"]);
    }

    #[test]
    fn measurements_and_what_they_have() {
        assert!(words("pathspider run ec").contains(&"ecn".to_owned()));
        assert_eq!(offered("pathspider run ").1, "toml");
        assert_eq!(words("pathspider run mss --set "), ["mtu="]);
        assert_eq!(words("pathspider run mss --set=mtu=1"), ["--set=mtu=1500"]);
        assert_eq!(words("pathspider run dscp --connect d"), ["dns_udp", "dns_tcp"]);
        assert!(words("pathspider run ecn --connect ").is_empty());
        assert_eq!(words("pathspider explain E0101"), ["E0101"]);
        assert_eq!(words("pathspider explain tcp_handshake_r"), ["tcp_handshake_rtt"]);
    }

    #[test]
    fn files_where_files_belong() {
        assert_eq!(offered("pathspider judge ").1, "parquet");
        assert_eq!(offered("pathspider run ecn --targets=").1, "any");
        assert_eq!(offered("pathspider run ecn --state ").1, "folders");
        assert_eq!(offered("pathspider run ecn --rate ").1, "none");
    }

    #[test]
    fn a_word_that_a_shell_would_read_as_more_is_not_offered() {
        assert!(is_safe("ecn") && is_safe("--set=a=é"));
        for word in
            ["", "a b", "$(reboot)", "a;b", "`x`", "a'b", "a\tb", "~root", "a*", "\u{1b}[2J"]
        {
            assert!(!is_safe(word), "{word:?}");
        }
    }

    #[test]
    fn bash_replaces_a_part_of_the_word() {
        let words = quoting::words("pathspider run ecn --order=r");
        let answer = answer(&words, words.len() - 1, Some("r"));
        assert!(answer.contains("\nrandom\t"), "{answer}");
    }
}
