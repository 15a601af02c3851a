//! Files that others put in the way of a run, pipes without a peer, programs of a user's PATH, and what is printed of
//! the texts of strangers.
//!
//! What needs several users needs root, and counts as skipped otherwise. Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
#[path = "files/hostile_text.rs"]
mod hostile_text;
#[path = "files/pipes.rs"]
mod pipes;
#[path = "files/raised.rs"]
mod raised;
#[path = "files/shared.rs"]
mod shared;

use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use harness::Tests;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pathspider");

fn main() -> ExitCode {
    harness::main(outside, inside)
}

fn outside(tests: &mut Tests, _: bool) {
    hostile_text::printed(tests);
    if !nix::unistd::geteuid().is_root() {
        return tests.skip("folders of several users, and installing", "this is not root");
    }
    shared::planted(tests);
    raised::programs(tests);
    raised::installed(tests);
}

/// In a network namespace whose loopback interface is up.
fn inside(tests: &mut Tests) {
    pipes::nobody_is_waited_for(tests);
    hostile_text::shown_by_a_run(tests);
}

/// The program with some words, about to be started.
fn pathspider(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A run over one target of this host's own, where nobody listens.
fn run(folder: &Path, measurement: &str, more: &[&str]) -> Command {
    let list = folder.join("targets.csv");
    std::fs::write(&list, "127.0.0.1,81\n").unwrap();
    let mut command = pathspider(&["run", measurement, "-i", "lo", "--allow-reserved"]);
    command.args(["--confirm", "0", "--targets"]).arg(list).args(more);
    command.env("PATHSPIDER_STATE", folder.join("state"));
    command
}

/// What a process said on standard error.
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
