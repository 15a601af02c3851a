//! What an installation puts where, what a package of cargo has, and that manual pages are whole and well-formed.
//!
//! Has no harness, so that what needs a program that is not installed counts as skipped.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use support::golden::Goldens;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::ignorable_test("make_installs_and_removes", || with(&["make"], installs)),
        Trial::test("a_package_of_cargo_has_what_a_build_needs", package),
        Trial::test("manual_pages_have_all_sections", sections),
        Trial::ignorable_test("manual_pages_are_well_formed", || with(&["mandoc"], well_formed)),
        Trial::ignorable_test("manual_pages_are_shown_without_warnings", || with(&["man"], shown)),
        Trial::ignorable_test("scripts_of_packages_are_sound", || with(&["shellcheck"], scripts)),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a test, unless a program is missing.
fn with(programs: &[&str], test: fn() -> Result<(), Failed>) -> Result<Completion, Failed> {
    let there = |program: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    match programs.iter().find(|program| !there(program)) {
        Some(missing) => Ok(Completion::ignored_with(format!("there is no {missing} here"))),
        None => test().map(|()| Completion::Completed),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, relative to it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// `make` in the repository, with a program that is there, for a folder, under a mask that hides what it makes.
fn make(target: &str, folder: &Path) -> Output {
    let script = format!(
        "umask 077; exec make -s {target} PROGRAM='{}' DESTDIR='{}' PREFIX=/usr GROUP=",
        env!("CARGO_BIN_EXE_pathspider"),
        folder.display()
    );
    let mut command = Command::new("sh");
    // Options of a make that runs the tests are not for this one.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    command.args(["-c", &script]).current_dir(root()).stdin(Stdio::null()).output().unwrap()
}

fn installs() -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let made = make("install", folder.path());
    assert!(made.status.success(), "{made:?}");
    let mode = |path: &Path| fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
    let lines = files(folder.path()).into_iter();
    let lines = lines.map(|path| format!("{:o} /{}\n", mode(&path) & 0o7777, path.display()));
    let mut goldens = Goldens::default();
    let listing = lines.collect::<String>();
    goldens.compare(&root().join("tests/installed/files.txt"), &listing);
    goldens.end();
    // Anyone may look into the folders.
    assert_eq!(mode(Path::new("usr/share/man/man1")) & 0o777, 0o755);
    let program = Command::new(folder.path().join("usr/bin/pathspider"))
        .args(["check", "ecn"])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(program.status.success(), "{program:?}");
    // What belongs to others stays.
    let other = folder.path().join("usr/share/man/man1/other.1");
    fs::write(&other, "").unwrap();
    let made = make("uninstall", folder.path());
    assert!(made.status.success(), "{made:?}");
    let left: Vec<PathBuf> = files(folder.path()).into_iter().collect();
    assert_eq!(left, [PathBuf::from("usr/share/man/man1/other.1")]);
    Ok(())
}

fn package() -> Result<(), Failed> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    let listed = String::from_utf8(output.stdout).unwrap();
    let listed: BTreeSet<&str> = listed.lines().collect();
    let folders = ["src", "measurements", "schema"].map(|folder| {
        let below = files(&root().join(folder)).into_iter();
        below.map(|path| format!("{folder}/{}", path.display())).collect::<Vec<_>>()
    });
    for needed in folders.into_iter().flatten().chain(["build.rs".into(), "Cargo.lock".into()]) {
        assert!(listed.contains(needed.as_str()), "without {needed}");
    }
    let mut size = 0;
    for path in &listed {
        assert!(!path.starts_with("tests/") && !path.starts_with("target/"), "with {path}");
        size += fs::metadata(root().join(path)).map_or(0, |about| about.len());
    }
    assert!(size < 6 << 20, "the package has {size} octets");
    Ok(())
}

/// All manual pages, in a folder.
fn pages() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = support::pathspider();
    let made = command.arg("man").arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let pages = files(folder.path()).into_iter().map(|page| folder.path().join(page)).collect();
    (folder, pages)
}

fn sections() -> Result<(), Failed> {
    let (_folder, pages) = pages();
    let commands = pages.iter().filter(|page| page.extension().is_some_and(|end| end == "1"));
    let mut count = 0;
    for page in commands {
        let text = fs::read_to_string(page).unwrap();
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let wanted = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ];
        for heading in wanted {
            assert!(headings.contains(&heading), "{} has no {heading}", page.display());
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
    let run =
        fs::read_to_string(pages.iter().find(|page| page.ends_with("pathspider-run.1")).unwrap());
    let run = run.unwrap();
    assert!(run.contains(".SH FILES\n") && run.contains(".SH ENVIRONMENT\n"), "{run}");
    // A packager's date makes the same page on every day.
    let dated =
        support::pathspider().arg("man").env("SOURCE_DATE_EPOCH", "86400").output().unwrap();
    assert!(String::from_utf8_lossy(&dated.stdout).contains(" 1970-01-02 "), "{dated:?}");
    Ok(())
}

/// Runs a program on each manual page; it must say nothing.
fn says_nothing(command: fn(&Path) -> Command) -> Result<(), Failed> {
    let (_folder, pages) = pages();
    let mut wrong = String::new();
    for page in &pages {
        let output = command(page).stdin(Stdio::null()).output().unwrap();
        wrong += &String::from_utf8_lossy(&output.stdout);
        wrong += &support::stderr(&output);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

fn well_formed() -> Result<(), Failed> {
    says_nothing(|page| {
        let mut command = Command::new("mandoc");
        command.args(["-T", "lint", "-W", "warning"]).arg(page);
        command
    })
}

fn shown() -> Result<(), Failed> {
    says_nothing(|page| {
        let mut command = Command::new("sh");
        let script = "man --warnings -E UTF-8 -l -Tutf8 -Z \"$1\" 2>&1 >/dev/null";
        command.args(["-c", script, "sh"]).arg(page).env("LC_ALL", "C.UTF-8");
        command
    })
}

/// The maintainer scripts of the package, the scripts that make and test it, and that of bash.
fn scripts() -> Result<(), Failed> {
    let packaging = root().join(".packaging");
    let mut scripts: Vec<PathBuf> =
        files(&packaging).into_iter().map(|path| packaging.join(path)).collect();
    scripts.retain(|path| fs::read(path).unwrap().starts_with(b"#!"));
    assert!(scripts.len() >= 6, "{scripts:?}");
    let mut command = Command::new("shellcheck");
    let output = command.arg("-x").args(&scripts).current_dir(root()).output().unwrap();
    let more = Command::new("shellcheck")
        .args(["-s", "bash", "src/cli/complete/bash.sh"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = [output, more].map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if said.concat().is_empty() { Ok(()) } else { Err(said.concat().into()) }
}
