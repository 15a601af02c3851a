//! Counts in sentences: `1 target is excluded`, `2 targets are excluded`.
//!
//! Imports nothing from this crate.

use indicatif::HumanCount;

/// A count with separated thousands.
pub fn thousands(count: u64) -> String {
    HumanCount(count).to_string()
}

/// A count and what is counted. In `what`, `[one|several]` are the singular and plural forms of a word, and `[s]` is
/// a plural ending: `counted(n, "target[s] [is|are] excluded")`. Thousands are separated.
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {}", HumanCount(count), inflected(count, what))
}

/// The words without the count, in the form for the count.
pub fn inflected(count: u64, what: &str) -> String {
    let mut text = String::with_capacity(what.len());
    let mut rest = what;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((forms, after)) = after.split_once(']') else { break };
        let (one, several) = forms.split_once('|').unwrap_or(("", forms));
        text += before;
        text += if count == 1 { one } else { several };
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_nothing_else_is() {
        let what = "target[s] [is|are] excluded and [was|were] left out (--x lets [it|them] be)";
        assert_eq!(counted(1, what), "1 target is excluded and was left out (--x lets it be)");
        for count in [0, 2, 1_000_001] {
            let several = "targets are excluded and were left out (--x lets them be)";
            assert_eq!(counted(count, what), format!("{} {several}", HumanCount(count)));
        }
        assert_eq!(counted(1, "quer[y|ies] of [an|] open [bracket"), "1 query of an open [bracket");
        assert_eq!(inflected(2, "plain"), "plain");
    }
}
