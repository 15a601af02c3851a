//! Completions, as the shells show them: each case of `completions/cases.toml` is typed into bash, zsh and fish.
//!
//! Has no harness, so that shells which are not installed count as skipped (`make test-setup` installs them).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde::Deserialize;
use serde_json::{Value, json};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    line: String,
    #[serde(default)]
    rest: String,
    all: Option<Vec<String>>,
    some: Option<Vec<String>>,
    #[serde(default)]
    none: Vec<String>,
    tab: Option<String>,
    shells: Option<Vec<String>>,
}

/// A measurement with params and kinds.
const OWN: &str = r#"
name = "own"
[params]
codepoint = { default = 46, help = "The mark" }
size = { default = 100, help = "Octets" }
[connect]
kinds = ["tcp", "http"]
[config.zero]
[config.one]
steps = [{ sockopt = { ip_tos = "${codepoint}" } }]
"#;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = SHELLS
        .iter()
        .map(|shell| {
            Trial::ignorable_test(format!("in_{shell}"), move || {
                if !(there(shell) && there("python3")) {
                    return Ok(Completion::ignored_with(format!("no {shell} or no python3 here")));
                }
                in_shell(shell).map(|()| Completion::Completed)
            })
        })
        .collect();
    trials.push(Trial::test("a_line_is_not_the_place_for_errors", quiet));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The folder in which lines are typed, with the program in its `bin`.
fn site(shell: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for below in ["bin", "measurements", "runs"] {
        fs::create_dir(at(below)).unwrap();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pathspider"), at("bin/pathspider")).unwrap();
    fs::write(at("measurements/own.toml"), OWN).unwrap();
    fs::write(at("measurements/$(touch pwned).toml"), OWN).unwrap();
    for name in ["odd.toml", "my list.txt", "results.parquet"] {
        fs::write(at(name), "").unwrap();
    }
    let script = support::pathspider().args(["completions", shell]).output().unwrap();
    assert!(script.status.success(), "{script:?}");
    fs::write(at("script"), script.stdout).unwrap();
    folder
}

/// What a shell makes of each case.
fn in_shell(shell: &str) -> Result<(), Failed> {
    let text = fs::read_to_string("tests/completions/cases.toml").unwrap();
    let file: File = toml::from_str(&text).unwrap();
    let fits = |case: &&Case| {
        let shells = case.shells.as_ref();
        shells.is_none_or(|shells| shells.iter().any(|name| name == shell))
    };
    let cases: Vec<&Case> = file.case.iter().filter(fits).collect();
    // A case with both is typed twice.
    let mut typed = Vec::new();
    for case in cases {
        if case.all.is_some() || case.some.is_some() || (shell == "fish" && case.tab.is_some()) {
            typed.push((case, "all"));
        }
        if case.tab.is_some() && shell != "fish" {
            typed.push((case, "tab"));
        }
    }
    let folder = site(shell);
    let lines = typed.iter().map(|(case, want)| {
        let rest = &case.rest;
        json!({ "line": case.line, "rest": rest, "want": want })
    });
    let answers = drive(shell, folder.path(), &lines.collect());
    let wrong: Vec<String> = typed
        .iter()
        .zip(&answers)
        .filter_map(|((case, want), answer)| {
            let why = differs(case, want, answer)?;
            Some(format!("{} ({}): {why}", case.name, case.line))
        })
        .collect();
    assert_eq!(typed.len(), answers.len());
    let touched = folder.path().join("pwned").exists();
    match (wrong.is_empty(), touched) {
        (true, false) => Ok(()),
        (_, true) => Err("a file's name was run as a command".into()),
        (false, false) => Err(wrong.join("\n").into()),
    }
}

/// The driver's answers to lines.
fn drive(shell: &str, folder: &Path, lines: &Value) -> Vec<Value> {
    let path = std::env::var("PATH").unwrap_or_default();
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/completions/drive.py");
    let mut command = Command::new("python3");
    command.arg(driver).arg(shell).arg(folder.join("script"));
    command.current_dir(folder).env("HOME", folder).env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
    command.env("PATH", format!("{}:{path}", folder.join("bin").display()));
    command.env_remove("PATHSPIDER_MEASUREMENTS").env_remove("XDG_CONFIG_HOME");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How an answer differs from what a case says.
fn differs(case: &Case, want: &str, answer: &Value) -> Option<String> {
    let line = answer["line"].as_str();
    let mut words: Vec<String> = match line {
        // What was typed before the word, and then the words that were offered.
        Some(line) => {
            let before = case.line.rfind(' ').map_or(0, |at| at + 1);
            let offered = line.get(before..).unwrap_or_default().split_whitespace();
            let typed = &case.line[before..];
            // Without an offer, what was typed stays.
            offered.map(str::to_owned).filter(|word| word != typed).collect()
        }
        None => serde_json::from_value(answer["words"].clone()).unwrap(),
    };
    // Some shells show a folder with a slash.
    words.iter_mut().for_each(|word| word.truncate(word.trim_end_matches('/').len()));
    words.sort();
    words.dedup();
    let printed = answer["printed"].as_str().unwrap();
    if ["rror", "usage", "Usage", "not found"].iter().any(|word| printed.contains(word)) {
        return Some(format!("printed {printed:?}"));
    }
    if want == "tab" {
        let expected = case.tab.as_deref();
        return (line != expected).then(|| format!("after Tab {line:?}, not {expected:?}"));
    }
    if let Some(all) = &case.all {
        let mut all = all.clone();
        all.sort();
        if words != all {
            return Some(format!("offers {words:?}, not {all:?}"));
        }
    }
    if case.all.is_none() && case.some.is_none() && words.len() != 1 {
        return Some(format!("offers {words:?}, not one"));
    }
    let missing = case.some.iter().flatten().find(|word| !words.contains(word));
    let more = case.none.iter().find(|word| words.contains(word));
    let why = missing.map(|word| format!("does not offer {word}"));
    let why = why.or_else(|| more.map(|word| format!("offers {word}")));
    why.map(|why| format!("{why}: {words:?}"))
}

/// Neither a pipe in place of a measurement, nor a file with mistakes, nor a line that cannot be says anything.
fn quiet() -> Result<(), Failed> {
    let folder = site("bash");
    let pipe = folder.path().join("pipe.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(folder.path().join("measurements/wrong.toml"), "name = 7\n[params]\n").unwrap();
    let before = listing(folder.path());
    let lines: [&[&str]; 6] = [
        &["run", "pipe.toml", "--set", ""],
        &["run", "wrong", "--set", ""],
        &["run", "odd.toml", "--connect", ""],
        &["no-such-command", "--what", ""],
        &["run", "--set"],
        &[],
    ];
    for words in lines {
        let mut command = support::pathspider();
        let index = words.len().to_string();
        command.current_dir(folder.path()).args(["__complete", &index, "--", "pathspider"]);
        let output = command.args(words).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.starts_with("none\n") || words.is_empty(), "{words:?}: {answer}");
    }
    assert_eq!(listing(folder.path()), before);
    Ok(())
}

/// Everything in a folder, with its size and time of change.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut found: Vec<String> = entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            format!("{:?} {} {:?}", entry.path(), about.len(), about.modified().unwrap())
        })
        .collect();
    found.sort();
    found
}
