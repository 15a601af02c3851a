//! Explanations of diagnostic codes: the texts of `codes.md`, one section per code.

use crate::error::CODES;

/// The texts.
static TEXTS: &str = include_str!("codes.md");

/// The explanation of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The code, `E0202`.
    pub code: &'static str,
    /// Its meaning, as a fragment.
    pub title: &'static str,
    /// Why it is a mistake, in sentences; Markdown without blocks.
    pub meaning: &'static str,
    /// A small file, or a part of one, with the mistake.
    pub wrong: &'static str,
    /// The same without it.
    pub right: &'static str,
}

/// Every code, in order.
pub fn all() -> impl Iterator<Item = Explained> {
    CODES.iter().map(|(code, title)| explain(code, title))
}

/// Finds a code, in upper or lower case; `None` if there is no such code.
pub fn find(written: &str) -> Option<Explained> {
    let known = CODES.iter().find(|(code, _)| code.eq_ignore_ascii_case(written));
    known.map(|(code, title)| explain(code, title))
}

/// Whether a word has nearly the form of a code: E (or W, of a warning) and four digits.
pub fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix(['E', 'e', 'W', 'w']).unwrap_or_default();
    (3..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The code that a word with another number of digits means: `E404` is E0404.
pub fn nearest(written: &str) -> Option<&'static str> {
    let (letter, digits) = written.split_at_checked(1)?;
    let number: u32 = digits.parse().ok()?;
    let code = format!("{}{number:04}", letter.to_uppercase());
    CODES.iter().map(|(known, _)| *known).find(|known| *known == code)
}

fn explain(code: &'static str, title: &'static str) -> Explained {
    let section = section(code);
    let meaning = section.split("```").next().unwrap_or_default().trim();
    let example = |which| between(section, which, "\n```").unwrap_or_default();
    Explained {
        code,
        title,
        meaning,
        wrong: example("```toml wrong\n"),
        right: example("```toml right\n"),
    }
}

/// The text under a code's heading; empty if it has none.
fn section(code: &str) -> &'static str {
    let parts = TEXTS.split("\n## ");
    let mut sections = parts.filter_map(|part| part.split_once('\n'));
    sections.find(|(heading, _)| heading.trim() == code).map_or("", |(_, text)| text)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::mistakes_of_lab;
    use crate::error::Report;
    use crate::measurement::Plan;
    use crate::step::ThisHost;
    use arrow_schema::Fields;

    /// The codes that a text gives, once completed with what every measurement needs.
    fn codes(example: &str) -> Vec<&'static str> {
        #[cfg(feature = "fleet")]
        if let Some(checked) = crate::cli::check::fleet_file("x", example) {
            return match checked {
                Err(crate::error::Error::File(report)) => {
                    report.diagnostics.iter().map(|d| d.code).collect()
                }
                other => other.map(|_| Vec::new()).unwrap(),
            };
        }
        let report: Option<Report> = if example.starts_with("[[host]]") {
            Some(mistakes_of_lab("x", example).unwrap())
        } else {
            let mut text = example.to_owned();
            if !text.contains("[config.") {
                text += "\n[config.zero]\n[config.one]\n";
            }
            if !text.starts_with("name = ") {
                text = format!("name = \"example\"\n{text}");
            }
            match Plan::load("x", &text, &Fields::empty()) {
                Ok(plan) => {
                    let problems = plan.inspect(&ThisHost { sockets: false }).problems;
                    let mut report = plan.report("x", problems);
                    report.diagnostics.extend(plan.warnings("x").diagnostics);
                    Some(report)
                }
                Err(report) => Some(report),
            }
        };
        report.map_or(Vec::new(), |report| report.diagnostics.iter().map(|d| d.code).collect())
    }

    #[test]
    fn every_code_has_a_text_and_examples_that_are_true() {
        let mut wrong = Vec::new();
        for Explained { code, meaning, wrong: bad, right, .. } in all() {
            if code.starts_with("E11") && cfg!(not(feature = "fleet")) {
                continue;
            }
            // Options are only tried by a run, and nft may be missing.
            let tried = code == "E0506" || (code == "E0505" && codes(bad).is_empty());
            let found = tried || codes(bad) == [code];
            if !meaning.ends_with('.') || !found || right.is_empty() {
                wrong.push(format!("{code}: {meaning:?}, wrong gives {:?}", codes(bad)));
            }
            if !codes(right).is_empty() {
                wrong.push(format!("{code}: right gives {:?}", codes(right)));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_text_has_a_code_and_texts_are_in_order() {
        let headings = TEXTS.split("\n## ").skip(1).filter_map(|part| part.lines().next());
        let codes = CODES.iter().map(|(code, _)| *code);
        assert_eq!(headings.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
    }

    #[test]
    fn codes_are_found_in_any_case() {
        assert_eq!(find("e0100").map(|found| found.code), Some("E0100"));
        assert!(find("E9999").is_none());
        assert_eq!(
            (nearest("e404"), nearest("e00404"), nearest("E999")),
            (Some("E0404"), Some("E0404"), None)
        );
        assert!(
            is_code("E9999")
                && !is_code("ecn")
                && is_code("E404")
                && !is_code("E020255")
                && !is_code("Ex010")
        );
    }
}
