//! The pages of the guide are true of the program, as far as a test can tell, and come out as manual pages.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pathspider::guide::PAGES;

fn pathspider(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pathspider")).args(args).output().unwrap()
}

/// The tests that a page names, as `[tests/FILE.rs: NAME]`.
fn named(text: &str) -> Vec<(&str, &str)> {
    let starts = text.match_indices('[').map(|(at, _)| &text[at + 1..]);
    let inside = starts.filter_map(|rest| Some(rest.split_once(']')?.0));
    inside
        .filter_map(|words| words.split_once(": "))
        .filter(|(file, _)| file.ends_with(".rs"))
        .collect()
}

/// Whether a file has a test of this name: a function that is one, or a line of a program without a harness.
fn has_test(source: &str, name: &str) -> bool {
    let function = source.find(&format!("fn {name}(")).is_some_and(|at| {
        let before = source[..at].trim_end();
        before.ends_with("#[test]") || before.ends_with(']') && before.contains("#[test]")
    });
    function
        || source.contains(&format!("tests.run(\"{name}\""))
        || source.contains(&format!("(\"{name}\","))
        // Named by a row of a table, which follows.
        || source.contains(&format!("format!(\"{name} {{"))
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let page = pathspider::guide::find("threat-model").unwrap();
    let tests = named(page.text);
    assert!(tests.len() > 20, "{tests:?}");
    for (file, name) in tests {
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
            .unwrap_or_else(|why| panic!("{file}: {why}"));
        assert!(has_test(&source, name), "{file} has no test `{name}`");
    }
    assert!(!has_test("fn no_test(", "no_test") && has_test("#[test]\nfn one(", "one"));
}

/// Every line that says what somebody cannot do has a test.
#[test]
fn every_promise_of_the_threat_model_has_a_test() {
    let page = pathspider::guide::find("threat-model").unwrap();
    let lines: Vec<&str> = page.text.split("\n* ").skip(1).collect();
    assert!(lines.len() > 15);
    for line in lines {
        let line = line.split("\n\n").next().unwrap();
        assert!(!line.contains("**cannot**") || !named(line).is_empty(), "no test: {line}");
    }
}

#[test]
fn pages_are_listed_printed_and_made_into_manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    let output =
        Command::new(env!("CARGO_BIN_EXE_pathspider")).arg("man").arg(&pages).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let list = String::from_utf8(pathspider(&["guide"]).stdout).unwrap();
    for page in &PAGES {
        assert!(list.contains(page.topic) && page.text.starts_with("# "), "{list}");
        let printed = pathspider(&["guide", page.topic]).stdout;
        assert_eq!(String::from_utf8(printed).unwrap(), page.text);
        let man = fs::read_to_string(pages.join(format!("pathspider-{}.7", page.topic))).unwrap();
        assert!(man.contains(&format!(".TH pathspider-{} 7", page.topic)), "{man}");
        // groff says nothing if all is well; where there is none, nothing is lost.
        if let Ok(groff) = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww"])
            .arg(pages.join(format!("pathspider-{}.7", page.topic)))
            .output()
        {
            assert!(groff.stderr.is_empty(), "{}", String::from_utf8_lossy(&groff.stderr));
        }
    }
    assert_eq!(pathspider(&["guide", "nothing"]).status.code(), Some(2));
}
