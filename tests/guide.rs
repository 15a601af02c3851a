//! The README and the guide: their tables are those of the registries, their links lead somewhere, and pages are printed
//! and become manual pages. `UPDATE_GOLDENS=1 cargo test --test guide` writes the tables into the pages.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "guide/pages.rs"]
mod pages;
mod support;
#[path = "guide/tables.rs"]
mod tables;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pathspider::guide::PAGES;
use pulldown_cmark::{Event, Options, Parser, Tag};
use support::golden::Goldens;
use tables::Table;

fn pathspider(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pathspider")).args(args).output().unwrap()
}

/// The list of pages, with links that begin from the folder of a page.
fn contents(page: &pages::Page) -> Table {
    let folder = if page.file.contains('/') { "" } else { "src/guide/" };
    let rows = PAGES.iter().map(|page| {
        let topic = page.topic;
        [format!("[{topic}]({folder}{topic}.md)"), page.about.to_owned()]
    });
    Table::new("Guide", ["page", "about"], rows.collect())
}

#[test]
fn tables_are_those_of_the_registries() {
    let reference = String::from_utf8(pathspider(&["reference"]).stdout).unwrap();
    let mut goldens = Goldens::default();
    let mut filled = 0;
    for page in pages::pages() {
        let mut tables = tables::read(&reference);
        tables.push(contents(&page));
        filled += page.text.matches("<!-- table: ").count();
        match tables::filled(&page, &tables) {
            Ok(text) => goldens.compare(&pages::root().join(&page.file), &text),
            Err(why) => goldens.wrong(why),
        }
    }
    assert!(filled >= 15, "only {filled} tables");
    goldens.end();
}

#[test]
fn a_table_is_chosen_by_its_heading_columns_and_rows() {
    let tables = tables::read(
        "## A\n\n| x | y |\n| --- | --- |\n| `-a`, `--one N` | 1 \\| 2 |\n| `--two` | 3 |\n\n| z |\n| --- |\n| 4 |\n",
    );
    let fill = |wanted: &str| {
        let text = format!("a\n<!-- table: {wanted} -->\nold\n<!-- end of table -->\nb\n");
        tables::filled(&pages::Page { file: "p".into(), text }, &tables)
    };
    let all = fill("A; columns: y; rows: --one").unwrap();
    assert!(all.contains("-->\n| y |\n| --- |\n| 1 \\| 2 |\n<!-- end"), "{all}");
    assert!(fill("A; columns: z").unwrap().contains("| 4 |\n"));
    for wrong in ["B", "A; columns: w", "A; rows: --on", "A; cells: x"] {
        assert!(fill(wrong).is_err(), "{wrong}");
    }
}

/// Where the links and pictures of a page lead.
fn links(page: &pages::Page) -> Vec<String> {
    let events = Parser::new_ext(&page.text, Options::ENABLE_TABLES);
    let links = events.filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.to_string())
        }
        _ => None,
    });
    links.collect()
}

#[test]
fn links_lead_somewhere() {
    let (mut inside, mut wrong) = (0, Vec::new());
    for page in pages::pages() {
        let folder = pages::root().join(&page.file);
        let folder = folder.parent().unwrap();
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            inside += 1;
            if !folder.join(file).is_file() {
                wrong.push(format!("{}: {link}", page.file));
            }
        }
    }
    assert!(wrong.is_empty() && inside > 40, "{inside} links, wrong: {wrong:?}");
}

#[test]
fn the_readme_fits_on_a_page_and_every_file_is_a_page() {
    let pages = pages::pages();
    let lines = pages[0].text.lines().count();
    assert!(lines <= 200, "README.md has {lines} lines");
    let files: Vec<&str> = pages[1..].iter().map(|page| page.file.as_str()).collect();
    let mut rows: Vec<String> =
        PAGES.iter().map(|page| format!("src/guide/{}.md", page.topic)).collect();
    rows.sort();
    assert_eq!(files, rows);
}

/// Tests that a page names, as `[tests/FILE.rs: NAME]`.
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

/// Every line that says what cannot be done has a test.
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
    for page in PAGES {
        assert!(list.contains(page.topic) && page.text.starts_with("# "), "{list}");
        let printed = pathspider(&["guide", page.topic]).stdout;
        assert_eq!(String::from_utf8(printed).unwrap(), page.plain());
        let man = fs::read_to_string(pages.join(format!("pathspider-{}.7", page.topic))).unwrap();
        assert!(man.contains(&format!(".TH pathspider-{} 7", page.topic)), "{man}");
        // groff prints nothing if all is well. Without groff this is not checked.
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
