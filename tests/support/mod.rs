//! What several test programs and benches need: `pathspider` as a command, what it printed, waiting for a condition,
//! goldens, and several runs at the same time.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

pub mod golden;
pub mod listed;
mod no_strangers;
pub mod parallel;
pub mod wait;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub use no_strangers::NO_STRANGERS;
use serde_json::Value;

/// `pathspider`, in the repository's folder.
pub fn pathspider() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// What was printed to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a run printed to standard output with `--format json`.
pub fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no summary: {output:?}"))
}

/// The lines of a file of JSON lines.
pub fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether a user namespace can be entered; it says so if not.
pub fn namespaces() -> bool {
    let status = Command::new("unshare").args(["-Urn", "true"]).status();
    let possible = status.is_ok_and(|status| status.success());
    if !possible {
        eprintln!("skipped: no user namespace can be entered here");
    }
    possible
}

/// The measurements that are shipped, by name.
pub fn measurements() -> Vec<String> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

// No program needs all of it.
const _: fn() = || {
    let _ = (NO_STRANGERS, pathspider, stderr, summary, records, namespaces, measurements);
    let _ = (
        wait::until::<fn() -> bool>,
        wait::until_of::<fn() -> bool>,
        listed::Listed::new,
        listed::Listed::path,
    );
    let _ = (golden::Goldens::default, golden::Goldens::compare, golden::Goldens::wrong);
    let _ = (
        golden::Goldens::end,
        golden::Goldens::end_all_of,
        parallel::at_once::<Vec<()>, (), fn(())>,
    );
    let _ = |listed: listed::Listed| (listed.folder, listed.list, listed.interface);
};
