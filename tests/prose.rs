//! Keeps words out of sources, pages and help that read as translated from another language, or for which the field has
//! a word of its own.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::pathspider;

/// The words, with what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("whom", "name the thing: target, peer, caller"),
    ("nobody", "name the thing: no client, no consumer"),
    ("somebody", "name the thing: another process, a user"),
    ("anybody", "name the thing: any host, any process"),
    ("so many", "N, this many, at most N"),
    ("goes before", "takes precedence over"),
    ("told", "reported, printed, named"),
    ("tells", "says, reports, distinguishes"),
    ("beside", "besides, next to"),
    ("once more", "again"),
    ("asked again", "re-probed, retried"),
    ("put off", "deferred"),
    ("passed over", "skipped"),
    ("passes over", "skips"),
    ("in hand", "in flight, open"),
    ("under way", "in flight, running"),
    ("put back", "restored"),
];

/// Every place of a text with one of the words, which may be broken by a line's end.
fn found(name: &str, text: &str) -> Vec<String> {
    // Punctuation between two words separates them; `_` is a word of its own then.
    let lower =
        text.to_lowercase().replace(['.', ',', ':', ';', '(', ')', '{', '}', '[', ']', '='], " _ ");
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '\n');
    // Each word with the number of its line.
    let mut line = 1;
    let mut numbered: Vec<(usize, &str)> = Vec::new();
    for word in words {
        for (index, part) in word.split('\n').enumerate() {
            line += usize::from(index > 0);
            numbered.extend((!part.is_empty()).then_some((line, part)));
        }
    }
    let mut found = Vec::new();
    for (unwanted, instead) in WORDS {
        let unwanted: Vec<&str> = unwanted.split(' ').collect();
        for at in numbered.windows(unwanted.len()) {
            if at.iter().map(|(_, word)| *word).eq(unwanted.iter().copied()) {
                let word = unwanted.join(" ");
                found.push(format!("{name}:{}: {word:?}; write instead: {instead}", at[0].0));
            }
        }
    }
    found
}

fn files(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder can be read");
        entries.for_each(|entry| files(&entry.expect("an entry can be read").path(), into));
    } else if path.extension().is_some_and(|end| ["rs", "md", "toml"].iter().any(|e| end == *e)) {
        into.push(path.to_owned());
    }
}

/// The help of all commands, as their manual pages have it.
fn help() -> Vec<(String, String)> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let made = pathspider().arg("man").arg(folder.path()).output().expect("pathspider runs");
    assert!(made.status.success(), "{made:?}");
    let pages = fs::read_dir(folder.path()).expect("a folder can be read");
    let pages = pages.map(|page| page.expect("an entry can be read").path());
    let name = |page: &Path| page.file_name().map_or("", |n| n.to_str().unwrap_or("")).to_owned();
    pages
        .filter(|page| name(page).ends_with(".1"))
        .map(|page| {
            let text = fs::read_to_string(&page).expect("a page is text");
            (format!("help {}", name(&page)), text.replace("\\-", "-"))
        })
        .collect()
}

#[test]
fn sources_pages_and_help_use_the_words_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for place in ["src", "measurements", "README.md", "ARCHITECTURE.md", "Cargo.toml"] {
        files(&root.join(place), &mut paths);
    }
    let mut texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
            (name, fs::read_to_string(path).expect("a source is text"))
        })
        .collect();
    texts.extend(help());
    assert!(texts.len() > 100, "the sources are not where they should be");
    texts.sort();
    let found: Vec<String> = texts.iter().flat_map(|(name, text)| found(name, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn whole_words_are_found_also_across_lines() {
    let lines = |text: &str| found("x", text).len();
    assert_eq!(lines("Nobody knows; it was told\n/// once\n/// more. so many"), 4);
    assert_eq!(lines("asked, again; run.asked(again)"), 0);
    assert_eq!(lines("besides, untold, retold, whomever, some body, fn told_sql()"), 0);
    assert_eq!(found("x", "a\nb\nso\nmany")[0].split("; ").next(), Some("x:3: \"so many\""));
}
