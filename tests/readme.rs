//! Every command, measurement and query that the README and the guide show works.
//!
//! The blocks of a page are run in order, in a folder of its own, so a later block finds what an earlier one wrote.
//! What a block is, its first word says:
//!
//! * `sh`: run by bash; with `lab` in a lab of two addresses of each version of IP, in which the addresses of the
//!   documentation stand for the lab's; with `exit=0,3` it may end with these codes; with `check` it is not run (it takes
//!   long, needs the Internet or changes the host), but its options, targets of make, tests and benches exist
//! * `toml`: a measurement without mistakes, or with `part` a part of one, with `lab` a lab, with `campaign` a campaign
//! * `json`: JSON; `sql`: run by DuckDB; `python`: run by Python
//! * `file=NAME`: the block is the file of this name
//!
//! Other blocks (`csv`, `text`) are shown only, or are files.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "guide/blocks.rs"]
mod blocks;
#[expect(dead_code, unused_imports, reason = "one capture of many")]
mod captures;
#[path = "guide/pages.rs"]
mod pages;
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrow_schema::Fields;
use blocks::{Block, blocks};
use pages::Page;
use pathspider::lab::{self, Spec};
use pathspider::measurement::Plan;
use serde_json::Value;
use support::namespaces;
use support::parallel::at_once;

/// Pages at the same time.
const AT_ONCE: usize = 4;
/// Addresses of each version of IP in the lab in which commands run.
const SIZE: usize = 2;

/// Files that pages take for granted: a list of targets and an opt-out list.
const FILES: [(&str, &str); 2] = [
    (
        "targets.ndjson",
        "{\"dip\": \"192.0.2.7\", \"dp\": 80}\n{\"dip\": \"192.0.2.8\", \"dp\": 80}\n",
    ),
    ("optouts", "192.0.2.128/25\n"),
];

/// `pathspider` in the lab, whose addresses are reserved ones.
const IN_LAB: &str = r#"case "$PATHSPIDER_TEST_LAB $1 $*" in
"yes run "*--allow-reserved*) ;;
"yes run "*) shift; set -- run --allow-reserved "$@" ;;
esac
"#;

/// `sudo`, which in the lab has nothing to add. The lab's namespace knows one user.
const SUDO: &str = r#"#!/bin/sh
n=$#
while [ $n -gt 0 ]; do
    word=$1; shift; n=$((n - 1))
    if [ "$word" = --user ]; then shift; n=$((n - 1)); else set -- "$@" "$word"; fi
done
exec "$@"
"#;

/// A folder in which a page's blocks are run.
struct Site {
    folder: tempfile::TempDir,
    /// What stands on pages, and what it is in the lab.
    stands_for: Vec<(&'static str, String)>,
    namespaces: bool,
    python: PathBuf,
}

impl Site {
    fn new(namespaces: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let program = env!("CARGO_BIN_EXE_pathspider");
        let wrapper = format!("#!/bin/sh\n{IN_LAB}exec {program} \"$@\"\n");
        for (name, text) in [("pathspider", wrapper.as_str()), ("sudo", SUDO)] {
            let path = bin.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let spec = Spec::plain(SIZE, 0).unwrap();
        let mut targets = lab::targets(&spec).into_iter().filter(|target| target.addr.is_ipv4());
        let mut address = || targets.next().unwrap().addr.to_string();
        let stands_for = vec![
            ("192.0.2.7", address()),
            ("192.0.2.8", address()),
            // The resolver of the lab.
            ("192.0.2.53", "127.0.0.1".to_owned()),
            ("-i eth0", "-i lab0".to_owned()),
        ];
        let python = pages::root().join("target/venv/bin/python");
        let site = Self { folder, stands_for, namespaces, python };
        FILES.iter().for_each(|(name, text)| site.write(name, text));
        let capture = &captures::all()[0];
        let bytes = captures::pcap(capture.link, &capture.frames, false, true);
        let file = fs::File::create(site.folder.path().join("trace.pcap.gz")).unwrap();
        let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        file.write_all(&bytes).unwrap();
        file.finish().unwrap();
        site
    }

    fn translated(&self, text: &str) -> String {
        self.stands_for.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), self.translated(text)).unwrap();
    }

    /// A command in the folder, with the tools of the pages first in its PATH.
    fn command(&self, program: &Path) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.folder.path().join("bin").display());
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", path).env("HOME", self.folder.path()).env("USER", "root");
        command.env("PATHSPIDER_STATE", self.folder.path().join("state"));
        command.env_remove("PATHSPIDER_MEASUREMENTS").env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Runs a block.
    ///
    /// # Errors
    /// What is wrong with it.
    fn run(&self, block: &Block) -> Result<(), String> {
        if let Some(name) = block.value("file") {
            self.write(name, &block.text);
        }
        match block.language.as_str() {
            "sh" if block.has("check") => check(&block.text),
            "sh" => self.shell(block),
            "toml" if block.has("campaign") => campaign(block),
            "toml" if block.has("lab") => {
                Spec::parse("lab.toml", &block.text).map(drop).map_err(|why| why.to_string())
            }
            "toml" => measurement(block),
            "json" => json(&block.text),
            "sql" | "python" => self.query(block),
            "csv" | "text" => Ok(()),
            other => Err(format!("what is a block of `{other}`?")),
        }
    }

    fn shell(&self, block: &Block) -> Result<(), String> {
        let script = format!("set -euo pipefail\n{}", self.translated(&block.text));
        if !self.namespaces && (block.has("lab") || script.contains("lab")) {
            return Ok(());
        }
        let mut command = if block.has("lab") {
            let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_pathspider")));
            command.args(["lab", "shell", "--size", &SIZE.to_string(), "--", "bash"]);
            command.env("PATHSPIDER_TEST_LAB", "yes");
            command
        } else {
            self.command(Path::new("bash"))
        };
        let output = command.args(["-c", &script]).output().unwrap();
        let allowed = block.value("exit").unwrap_or("0").split(',').map(|code| code.parse::<i32>());
        match output.status.code() {
            Some(code) if allowed.flatten().any(|allowed| allowed == code) => Ok(()),
            _ => Err(said(&output)),
        }
    }

    fn query(&self, block: &Block) -> Result<(), String> {
        if !self.python.exists() || !self.namespaces {
            return Ok(());
        }
        let program = match block.language.as_str() {
            "sql" => {
                format!("import duckdb\nduckdb.sql({:?}).show()\n", self.translated(&block.text))
            }
            _ => block.text.clone(),
        };
        let output = self.command(&self.python).args(["-c", &program]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }
}

fn said(output: &Output) -> String {
    let [out, error] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    format!("{}\n{out}\n{error}", output.status)
}

/// A campaign file.
#[cfg(feature = "fleet")]
fn campaign(block: &Block) -> Result<(), String> {
    let parsed = pathspider::fleet::campaign::Campaign::parse("campaign.toml", &block.text);
    parsed.map(drop).map_err(|why| why.to_string())
}

/// A campaign file, which this build does not know.
#[cfg(not(feature = "fleet"))]
fn campaign(_: &Block) -> Result<(), String> {
    Ok(())
}

/// A measurement, or what a measurement may have besides its name and its configurations.
fn measurement(block: &Block) -> Result<(), String> {
    let text = match block.has("part") {
        true => format!("name = \"part\"\n{}\n[config.zero]\n[config.one]\n", block.text),
        false => block.text.clone(),
    };
    let plan = Plan::load("page", &text, &Fields::empty()).map_err(|report| report.to_string())?;
    match plan.warnings.is_empty() {
        true => Ok(()),
        false => Err(plan.warnings("page").to_string()),
    }
}

/// One JSON value, or one on each line.
fn json(text: &str) -> Result<(), String> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|why| why.to_string());
    parse(text).map(drop).or_else(|_| text.lines().try_for_each(|line| parse(line).map(drop)))
}

/// Whether everything that a block names exists, without running it.
fn check(text: &str) -> Result<(), String> {
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let commands = lines.flat_map(|line| line.split(" && "));
    commands.filter(|command| !command.trim().is_empty()).try_for_each(check_command)
}

fn check_command(command: &str) -> Result<(), String> {
    let words = command.split_whitespace();
    let mut words = words.skip_while(|word| *word == "sudo" || word.contains('='));
    let program = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let after = |option: &str| {
        let at = rest.iter().position(|word| *word == option)?;
        rest.get(at + 1).copied()
    };
    let fail = |what: String| Err(format!("{command}: {what}"));
    match program {
        "make" => {
            let makefile = fs::read_to_string(pages::root().join("Makefile")).unwrap();
            let targets = rest.iter().filter(|word| !word.contains('='));
            let missing = |target: &&&str| !makefile.contains(&format!("\n{target}:"));
            let missing: Vec<_> = targets.filter(missing).collect();
            if missing.is_empty() { Ok(()) } else { fail(format!("no target {missing:?}")) }
        }
        "cargo" => {
            let manifest = fs::read_to_string(pages::root().join("Cargo.toml")).unwrap();
            let is_bench = |name| manifest.contains(&format!("path = \"tests/bench/{name}.rs\""));
            let is_test = |name| pages::root().join(format!("tests/{name}.rs")).is_file();
            match (after("--bench"), after("--test")) {
                (Some(bench), _) if !is_bench(bench) => fail("no such bench".into()),
                (_, Some(test)) if !is_test(test) => fail("no such test".into()),
                _ => Ok(()),
            }
        }
        "git" | "cd" | "groupadd" | "usermod" | "apt" | "dpkg-reconfigure" => Ok(()),
        "minisign" | "sha256sum" | "gh" | "tshark" | "cp" | "install" | "chown" => Ok(()),
        "systemctl" | "systemd-sysusers" => Ok(()),
        // The options before this one are read before it is.
        "pathspider" => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
            let output = command.args(&rest).arg("--help").output().unwrap();
            match output.status.success() {
                true => Ok(()),
                false => fail(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        }
        _ => fail("a block that is not run has no other programs".into()),
    }
}

fn run(page: &Page, namespaces: bool) -> Vec<String> {
    let site = Site::new(namespaces);
    let outcomes = blocks(page).into_iter().map(|block| (site.run(&block), block.text));
    let wrong = outcomes.filter_map(|(outcome, text)| Some((outcome.err()?, text)));
    wrong.map(|(why, text)| format!("{}: {text}{why}", page.file)).collect()
}

#[test]
fn everything_that_the_pages_show_works() {
    let pages = pages::pages();
    let namespaces = namespaces();
    let all: Vec<Block> = pages.iter().flat_map(blocks).collect();
    let of = |language: &str| all.iter().filter(|block| block.language == language).count();
    assert!(of("toml") >= 5 && of("sh") >= 30 && of("sql") >= 5, "blocks are not found");
    let wrong = at_once(AT_ONCE, &pages, |page| run(page, namespaces)).concat();
    assert!(wrong.is_empty(), "{} blocks:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// What this program must find.
#[test]
fn wrong_blocks_are_found() {
    let fence = "```";
    for (info, text) in [
        ("toml", "name = \"x\"\n"),
        ("toml part", "[confirm]\nrounds = -1\n"),
        ("json", "{\n"),
        ("sh", "pathspider lst kinds\n"),
        ("sh", "false | true\n"),
        ("sh check", "make nothing\n"),
        ("sh check", "cargo bench --bench nothing\n"),
        ("sh check", "UPDATE_GOLDENS=1 cargo test --test nothing\n"),
        ("sh check", "pathspider run ecn --rates 2\n"),
        ("", "pathspider list kinds\n"),
    ] {
        let page = Page { file: "p".into(), text: format!("{fence}{info}\n{text}{fence}\n") };
        assert_eq!(run(&page, false).len(), 1, "{info}: {text}");
    }
    let indented = Page { file: "p".into(), text: "Run\n\n    pathspider list\n".into() };
    assert_eq!(run(&indented, false).len(), 1);
}
