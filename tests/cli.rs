//! What the commands that run nothing print: `tests/cli/cases.toml` has the command lines, each
//! with its exit code, `tests/cli/NAME.txt` what is printed. `UPDATE_GOLDENS=1 cargo test --test cli`
//! accepts what is printed now.

mod support;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::golden::Goldens;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What is shown, and the name of the golden file.
    name: String,
    /// The command line, in the folder `tests/cli`.
    run: String,
    #[serde(default)]
    exit: i32,
    /// Instead of a golden file, words that must be there: for pages that grow with the program.
    #[serde(default)]
    contains: Vec<String>,
    /// Whether each line must be JSON.
    #[serde(default)]
    json: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}

/// The program as it runs on anybody's machine: no settings of this one.
fn pathspider(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.args(line.split_whitespace()).current_dir(folder()).stdin(Stdio::null());
    for name in ["HOME", "XDG_CONFIG_HOME", "RUST_LOG", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("PATHSPIDER_MEASUREMENTS", "dropped-in");
    command
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !error.is_empty() {
        text += &format!("--- standard error\n{error}");
    }
    text
}

#[test]
fn every_command_line_prints_what_was_agreed() {
    let cases = std::fs::read_to_string(folder().join("cases.toml")).unwrap();
    let cases: Cases = toml::from_str(&cases).unwrap();
    let mut goldens = Goldens::default();
    for Case { name, run, exit, contains, json } in &cases.case {
        let output = pathspider(run).output().unwrap();
        let said = text(&output);
        if output.status.code() != Some(*exit) {
            goldens.wrong(format!("{name}: {} instead of {exit}: {said}", output.status));
        }
        for line in said.lines().filter(|_| *json) {
            if let Err(why) = serde_json::from_str::<Value>(line) {
                goldens.wrong(format!("{name}: {why}: {line}"));
            }
        }
        let missing: Vec<_> = contains.iter().filter(|words| !said.contains(*words)).collect();
        if !missing.is_empty() {
            goldens.wrong(format!("{name}: without {missing:?}: {said}"));
        }
        if !contains.is_empty() {
            continue;
        }
        goldens.compare(&folder().join(format!("{name}.txt")), &said);
    }
    goldens.end_all_of(&folder());
}

#[test]
fn a_new_measurement_is_right_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let new = |arguments: &str| {
        let mut command = pathspider(arguments);
        command.current_dir(folder.path()).output().unwrap()
    };
    let output = new("new My-First");
    assert!(output.status.success(), "{}", text(&output));
    let path = folder.path().join("My-First.toml");
    let written = std::fs::read_to_string(&path).unwrap();
    let check = new("check My-First.toml");
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));

    std::fs::write(&path, "mine").unwrap();
    let again = new("new My-First");
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert!(text(&again).contains("already exists"), "{}", text(&again));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");

    let elsewhere = new("new My-First -o sub.toml");
    assert!(elsewhere.status.success(), "{}", text(&elsewhere));
    assert_eq!(std::fs::read_to_string(folder.path().join("sub.toml")).unwrap(), written);
    assert_eq!(text(&new("new My-First -o -")), written);
    // In a tree like ours, the schema is where its other measurements find it.
    std::fs::create_dir_all(folder.path().join("measurements")).unwrap();
    std::fs::create_dir_all(folder.path().join("schema")).unwrap();
    std::fs::write(folder.path().join("schema/measurement.schema.json"), "{}").unwrap();
    assert!(new("new x -o measurements/x.toml").status.success());
    let inside = std::fs::read_to_string(folder.path().join("measurements/x.toml")).unwrap();
    assert!(inside.starts_with("#:schema ../schema/measurement.schema.json\n"), "{inside}");
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    let output = pathspider("man").arg(&pages).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output));
    for page in ["pathspider.1", "pathspider-run.1", "pathspider-check.1", "pathspider-lab-list.1"]
    {
        assert!(pages.join(page).is_file(), "no {page}");
    }
}

#[test]
fn the_lab_is_listed_with_what_is_on_each_path_and_true_of_each_family() {
    let output = pathspider("lab list --format json").output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let host = |name: &str| {
        let hosts = list["hosts"].as_array().unwrap();
        hosts.iter().find(|host| host["name"] == name).unwrap().clone()
    };
    let evil = host("evil-only");
    let (count, v4) = (evil["count"].as_u64().unwrap(), evil["addresses_v4"].as_array().unwrap());
    assert!(v4.len() as u64 == count && v4[0].as_str().unwrap().starts_with("198.18."), "{evil}");
    assert!(evil["path"][0].as_str().unwrap().ends_with("drop"), "{evil}");
    assert_eq!(evil["truth_v4"]["ecn"][0], "ecn.connectivity.offline");
    assert_eq!(evil["truth_v6"]["ecn"], host("plain")["truth_v6"]["ecn"]);
    let text = text(&pathspider("lab list").output().unwrap());
    assert!(text.contains("  out: ip frag-off & 0x8000 == 0 drop\n"), "{text}");
    assert!(text.contains("\n  ecn (IPv4): ecn.connectivity.offline\n"), "{text}");
}

#[test]
fn a_command_runs_inside_the_lab() {
    let namespaces = Command::new("unshare").args(["-Urn", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespace can be entered here");
        return;
    }
    let output = pathspider("lab shell cat /proc/net/dev").output().unwrap();
    assert!(output.status.success() && text(&output).contains("lab0:"), "{}", text(&output));
    let output = pathspider("lab shell --").arg("false").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("run false in the lab: "), "{}", text(&output));
    let output = pathspider("lab shell").env("SHELL", "/bin/sh").output().unwrap();
    assert!(output.status.success() && text(&output).contains("lab0 leads"), "{}", text(&output));
}

/// A reader that goes away early is no error, and least of all a panic.
#[test]
fn a_closed_pipe_ends_quietly() {
    for line in ["reference", "list fields", "schema record", "completions zsh", "man", "lab list"]
    {
        let mut child =
            pathspider(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success() && error.is_empty(), "{line}: {status}: {error}");
    }
}

#[test]
fn printed_schemas_are_the_stored_ones() {
    let campaign = cfg!(feature = "fleet").then_some("campaign");
    for of in ["measurement", "record", "lab"].into_iter().chain(campaign) {
        let output = pathspider(&format!("schema {of}")).output().unwrap();
        let path = folder().join(format!("../../schema/{of}.schema.json"));
        let stored = std::fs::read_to_string(&path).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(stored == printed, "{} is stale: UPDATE_GOLDENS=1 cargo test", path.display());
    }
}

/// Reading a file that somebody sent must be harmless: what tells of measurements has no door to
/// programs, sockets, settings or namespaces.
#[test]
fn commands_that_only_print_cannot_act() {
    let source = folder().join("../../src");
    let doors = ["process::", "net::", "socket2", "engine::", "observer::", "lab::", "Applied"];
    // The text of a lab may be read where no lab can be built.
    let texts =
        ["options::lab::", "lab::is_lab(", "lab::Spec::parse(", "lab::measured(", "lab::schema("];
    let files = ["cli/check", "cli/explain", "cli/list", "cli/new", "cli/schema", "cli/reference"];
    for file in files.into_iter().chain([
        "cost",
        "run/catalogue",
        "run/dictionary",
        "report/page",
        "report/plan",
    ]) {
        let text = std::fs::read_to_string(source.join(file).with_extension("rs")).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let used: Vec<&str> = code
            .filter(|code| doors.iter().any(|door| code.contains(door)))
            .filter(|code| !texts.iter().any(|text| code.contains(text)))
            .collect();
        assert_eq!(used, Vec::<&str>::new(), "{file}.rs");
    }
}

/// `--version` says what the program was made from, `-V` only its version.
#[test]
fn the_version_tells_how_the_program_was_built() {
    let lines = |line: &str| -> Vec<String> {
        let output = pathspider(line).output().unwrap();
        assert!(output.status.success());
        text(&output).lines().map(str::to_owned).collect()
    };
    let first = format!("pathspider {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines("-V"), [first.as_str()]);
    let long = lines("--version");
    let [version, commit, build, libpcap] = long.as_slice() else { panic!("{long:?}") };
    assert_eq!(version, &first);
    let fact = |line: &str, name: &str| {
        let value = line.strip_prefix(name).unwrap_or_else(|| panic!("{line} instead of {name}"));
        value.trim_start().to_owned()
    };
    let commit = fact(commit, "commit:");
    let is_commit = commit.len() >= 40 && commit.bytes().take(40).all(|b| b.is_ascii_hexdigit());
    // A packager may name something else, and sources without git have none.
    let other = option_env!("PATHSPIDER_COMMIT").is_some() || commit.starts_with("unknown");
    assert!(is_commit != cfg!(debug_assertions) || other, "{commit}");
    let build = fact(build, "build:");
    let words: Vec<&str> = build.split(", ").collect();
    let [profile, rustc, target] = words.as_slice() else { panic!("{build}") };
    let folder = Path::new(env!("CARGO_BIN_EXE_pathspider")).parent().unwrap().file_name().unwrap();
    assert_eq!(Some(*profile), folder.to_str());
    assert!(rustc.starts_with("rustc 1."), "{build}");
    assert!(target.starts_with(std::env::consts::ARCH), "{build}");
    let libpcap = fact(libpcap, "libpcap:");
    assert!(libpcap.starts_with(|first: char| first.is_ascii_digit()), "{libpcap}");
}
