//! `pathspider report` as its users call it, over results that this test makes.
//!
//! `PATHSPIDER_REPORT_PAGES=FOLDER cargo test --test report` keeps the pages, to look at.
//!
//! Has no harness, so that what needs Python or Chromium counts as skipped where there is none.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;
#[path = "support/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use support::golden::Goldens;
use support::{pathspider, stderr};
use synthetic::Synthetic;

/// What a page may have in octets.
const MOST: u64 = 200_000;
/// Numbers of the networks with a fault.
const FAULTY: [usize; 3] = [11, 61, 104];

fn main() -> ExitCode {
    let trials = vec![
        plain("a_small_result_gives_the_agreed_page", agreed),
        plain("what_strangers_wrote_is_text", hostile),
        plain("a_page_is_small_for_any_list", small),
        plain("wrong_requests_are_explained", wrong),
        python("faulty_networks_are_named_and_numbers_are_those_of_duckdb", networks),
        python("a_comparison_has_the_numbers_of_duckdb", comparison),
        python("vantage_points_have_the_numbers_of_duckdb", vantages),
        chromium("a_page_is_quiet_readable_and_printable", browser),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn plain(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python")
}

fn python(name: &str, test: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        if !venv().exists() {
            return Ok(Completion::ignored_with("there is no target/venv (make test-setup)"));
        }
        test();
        Ok(Completion::Completed)
    })
}

fn chromium(name: &str, test: fn() -> Result<(), Failed>) -> Trial {
    Trial::ignorable_test(name, move || {
        let there = Command::new("chromium").arg("--version").stderr(Stdio::null()).output();
        if !there.is_ok_and(|output| output.status.success()) || !venv().exists() {
            return Ok(Completion::ignored_with(
                "there is no chromium, or no target/venv (make test-setup)",
            ));
        }
        test().map(|()| Completion::Completed)
    })
}

/// Writes a page, and returns its text.
fn report(folder: &Path, arguments: &[&str]) -> String {
    let page = folder.join("page.html");
    let output = failed(folder, &[arguments, &["-o", "page.html"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fs::metadata(&page).unwrap().len() <= MOST);
    if let Some(kept) = std::env::var_os("PATHSPIDER_REPORT_PAGES") {
        let name: String =
            arguments.join(" ").chars().filter(char::is_ascii_alphanumeric).collect();
        fs::copy(&page, Path::new(&kept).join(name + ".html")).unwrap();
    }
    fs::read_to_string(page).unwrap()
}

fn failed(folder: &Path, arguments: &[&str]) -> Output {
    pathspider().current_dir(folder).arg("report").args(arguments).output().unwrap()
}

/// Runs a script of `tests/python` on the page.
fn script(folder: &Path, name: &str, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
    let mut command = Command::new(venv());
    command.current_dir(folder).arg(script).arg("page.html").args(arguments).output().unwrap()
}

fn agrees_with_duckdb(folder: &Path, tables: usize) -> String {
    let output = script(folder, "check_report.py", &[&tables.to_string()]);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn faulty() -> Synthetic {
    Synthetic { faulty: FAULTY.to_vec(), ..Synthetic::new(40_000, 157) }
}

fn agreed() {
    let folder = tempfile::tempdir().unwrap();
    let result = Synthetic { faulty: vec![1], ..Synthetic::new(600, 12) };
    result.write(&folder.path().join("small.parquet"));
    let page = report(folder.path(), &["small.parquet"]);
    assert_eq!(report(folder.path(), &["small.parquet"]), page, "the second page is another one");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/small.html");
    let mut goldens = Goldens::default();
    goldens.compare(&golden, &page);
    goldens.end();
}

/// Everything before the second section: about what a first screen shows.
fn first_screen(page: &str) -> &str {
    let (_, body) = page.split_once("<main").unwrap();
    body.split_once("<section id=\"account\"").unwrap().0
}

fn networks() {
    let folder = tempfile::tempdir().unwrap();
    let result = faulty();
    result.write(&folder.path().join("week1.parquet"));
    let page = report(folder.path(), &["week1.parquet"]);
    let first = first_screen(&page);
    for number in FAULTY {
        let network = result.network(number);
        assert!(first.contains(&network), "{network} is not named: {first}");
    }
    assert!(first.contains("in 3 networks that stand out"), "{first}");
    let said = agrees_with_duckdb(folder.path(), 18);
    assert!(said.contains("a bootstrap"), "{said}");
    // By AS: a table that knows the faulty networks, one of them with two origins.
    let origins = ["64496", "64497_64499", "64498"];
    let lines = FAULTY.iter().zip(origins).map(|(number, origin)| {
        let (address, length) = result
            .network(*number)
            .split_once('/')
            .map(|(a, l)| (a.to_owned(), l.to_owned()))
            .unwrap();
        format!("{address}\t{length}\t{origin}\n")
    });
    fs::write(folder.path().join("pfx2as"), lines.collect::<String>()).unwrap();
    let page = report(folder.path(), &["week1.parquet", "--as-table", "pfx2as"]);
    assert!(first_screen(&page).contains("AS64497_64499 ("), "{}", first_screen(&page));
    // Another label, with the same numbers as DuckDB.
    let page = report(folder.path(), &["week1.parquet", "--label", "ecn.negotiation.failed"]);
    assert!(page.contains("id=\"t-networks-ecn-negotiation-failed\""));
    agrees_with_duckdb(folder.path(), 18);
}

fn hostile() {
    let folder = tempfile::tempdir().unwrap();
    let words = vec![
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'; DROP TABLE records; --",
        "\u{202e}evil\u{1b}[2J",
        "</pre></code><style>*{display:none}",
        "{{ page.title }}",
        "=1+1",
    ];
    let name = "a'<b>&.parquet";
    let metadata = vec![
        ("contact", "<script>alert(2)</script>\u{9b}".to_owned()),
        ("vantage", "<b>\u{202e}x".to_owned()),
    ];
    let result =
        Synthetic { words, metadata, faulty: vec![1], sporadic: 30, ..Synthetic::new(4000, 12) };
    result.write(&folder.path().join(name));
    let page = report(folder.path(), &[name]);
    for forbidden in
        ["<script", "<img", "onerror=alert(1)>", "<b>", "\u{202e}", "\u{1b}", "\u{9b}", "<style>*"]
    {
        assert!(!page.contains(forbidden), "{forbidden:?}");
    }
    assert!(page.contains("&#60;script&#62;alert(1)") && page.contains("\\u{202e}evil\\u{1b}[2J"));
    if venv().exists() {
        agrees_with_duckdb(folder.path(), 12);
    }
}

fn small() {
    let folder = tempfile::tempdir().unwrap();
    let result = Synthetic { faulty: (0..300).collect(), ..Synthetic::new(40_000, 40_000) };
    result.write(&folder.path().join("wide.parquet"));
    let page = report(folder.path(), &["wide.parquet"]);
    assert!(page.contains("more: the SQL below gives all"));
    let rows =
        page.split("<table id=\"t-networks-").nth(1).unwrap().split("</table>").next().unwrap();
    assert_eq!(rows.matches("<tr>").count(), 51);
}

fn comparison() {
    let folder = tempfile::tempdir().unwrap();
    let before = Synthetic { faulty: vec![11], ..Synthetic::new(6000, 157) };
    let after =
        Synthetic { faulty: FAULTY.to_vec(), seed: 2, later: 86_400, ..Synthetic::new(6200, 157) };
    before.write(&folder.path().join("before.parquet"));
    after.write(&folder.path().join("after.parquet"));
    let page = report(folder.path(), &["before.parquet", "after.parquet", "--compare"]);
    assert!(page.contains("p &#60; 0.0001"), "the change is not seen");
    assert!(page.contains(&after.network(61)));
    agrees_with_duckdb(folder.path(), 8);
}

fn vantages() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..7).map(|at| format!("v{at}.parquet")).collect();
    for (at, name) in names.iter().enumerate() {
        // From two of seven, a network is broken; the last one has a fault at home.
        let faulty = match at {
            1 | 4 => vec![3],
            6 => (0..40).collect(),
            _ => Vec::new(),
        };
        let metadata = vec![("vantage", format!("place {at}"))];
        let result = Synthetic { faulty, metadata, seed: at as u64, ..Synthetic::new(2000, 40) };
        result.write(&folder.path().join(name));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let page = report(folder.path(), &[&names[..], &["--vantage"]].concat());
    assert!(page.contains("From 1 vantage point (place 6)"), "{}", first_screen_of(&page));
    assert!(page.contains("place 1, place 4"), "{}", first_screen_of(&page));
    agrees_with_duckdb(folder.path(), 3);
    // With fewer than six, only a split concludes anything.
    let page = report(folder.path(), &[&names[..3], &["--vantage"]].concat());
    assert!(page.contains("targets without a split are insufficient"));
    agrees_with_duckdb(folder.path(), 3);
}

fn first_screen_of(page: &str) -> &str {
    page.split_once("<main").unwrap().1.split_once("<table").unwrap().0
}

fn wrong() {
    let folder = tempfile::tempdir().unwrap();
    let small = Synthetic::new(50, 5);
    small.write(&folder.path().join("a.parquet"));
    let metadata = vec![("measurement_sha256", "0".repeat(64))];
    Synthetic { metadata, ..small }.write(&folder.path().join("b.parquet"));
    fs::write(folder.path().join("c.parquet"), "no Parquet").unwrap();
    for (arguments, said) in [
        (&["a.parquet", "b.parquet"][..], "they differ in their measurement; compare them"),
        (&["a.parquet", "b.parquet", "--compare"], "cannot be compared"),
        (&["a.parquet", "--compare"], "--compare takes two results, not 1"),
        (&["a.parquet", "--vantage"], "--vantage takes 2 to 64 results"),
        (&["a.parquet", "--label", "ecn.nothing.broken"], "the conditions are ecn.connectivity, "),
        (&["c.parquet"], "not a Parquet file"),
        (&["a.ndjson"], "a report is made of Parquet"),
        (&["a.parquet", "-o", "nowhere/page.html"], "nowhere"),
    ] {
        let output = failed(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
    // Without -o the page is next to the result; with - it is printed.
    let output = failed(folder.path(), &["a.parquet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs::read(folder.path().join("a.report.html")).unwrap();
    assert_eq!(failed(folder.path(), &["a.parquet", "-o", "-"]).stdout, page);
}

fn browser() -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let words = vec!["CH", "DE", "<script>alert(1)</script>", "\u{202e}evil"];
    let result = Synthetic { words, faulty: vec![1, 5], ..Synthetic::new(4000, 40) };
    result.write(&folder.path().join("week1.parquet"));
    report(folder.path(), &["week1.parquet"]);
    let output = script(folder.path(), "check_page.py", &[]);
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output)).into())
        }
    }
}
