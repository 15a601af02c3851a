//! Options about the confidence in the labels of a run.

use std::ffi::OsString;

use crate::measurement::ROUNDS;
use crate::run::controls::Share;
use crate::run::spec::Spec;

/// How a run distinguishes lasting from transient faults, and labels from false alarms.
#[derive(Debug, clap::Args)]
pub struct Confidence {
    /// Re-probe a target that looks broken or transient N times, overriding the measurement; 0 is never
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(ROUNDS))]
    confirm: Option<u16>,

    /// Search for the hops between which the path changes or drops what leads to a label: those that the measurement lists in
    /// [locate], and LABEL; repeatable
    #[arg(long, value_name = "LABEL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    locate: Option<Vec<String>>,

    /// Probe this share of the targets, such as 5%, under the baseline alone, as often as the others under all
    /// configurations: any label that they get is a false alarm
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    control: Option<Share>,
}

impl Confidence {
    /// Writes the options into a run's spec.
    pub fn fill(&self, spec: &mut Spec) {
        spec.confirm = self.confirm;
        spec.control = self.control;
        let labels = self.locate.as_ref();
        spec.locate =
            labels.map(|labels| labels.iter().filter(|l| !l.is_empty()).cloned().collect());
    }
}

/// The words of a command line with `--locate LABEL` as one word. clap takes the next word for the value of an option that
/// may have none, so `--locate ecn` would have no measurement: only a word with dots that is no file is a label.
pub fn join_labels(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if last == "--locate" && is_label(&word) => {
                last.push("=");
                last.push(&word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

fn is_label(word: &OsString) -> bool {
    let Some(word) = word.to_str() else { return false };
    word.contains('.') && !word.contains('/') && !word.ends_with(".toml") && !word.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_a_word_of_its_own() {
        for (line, joined) in [
            ("run ecn --locate x.y.broken --lab", "run ecn --locate=x.y.broken --lab"),
            (
                "run --locate *.y.broken --locate a.b ecn",
                "run --locate=*.y.broken --locate=a.b ecn",
            ),
            ("run --locate=a.b.c x.toml", "run --locate=a.b.c x.toml"),
            ("run --locate ecn", "run --locate ecn"),
            ("run --locate own.toml", "run --locate own.toml"),
            ("run --locate ./own.x", "run --locate ./own.x"),
            ("run ecn --locate", "run ecn --locate"),
        ] {
            let words = join_labels(line.split(' ').map(OsString::from));
            let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(words.join(" "), joined);
        }
    }
}
