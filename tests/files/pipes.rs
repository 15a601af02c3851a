//! Pipes whose other end nobody has opened, and files that are none.

use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::harness::Tests;
use super::support::wait::{until, until_of};
use super::{pathspider, run, stderr};

pub fn nobody_is_waited_for(tests: &mut Tests) {
    tests.run("a pipe without a reader does not block a run", status_without_reader);
    tests.run("the first signal ends the wait for a list", || {
        for (name, command) in [
            ("run", &run as &dyn Fn(&Path, &str, &[&str]) -> Command),
            ("filter", &|_, _, _| pathspider(&["targets", "filter"])),
            ("observe", &|_, _, _| pathspider(&["observe", "-o", "-"])),
        ] {
            waits_for_list(name, command);
        }
    });
    tests.run("an output is no pipe, nor is any file of a run", pipes_in_the_way);
    tests.run("no hidden name is a link", links_in_the_way);
}

fn pipe(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

/// Waits for the end, and kills what would not come to one.
fn end(mut child: Child) -> Output {
    let ends = AssertUnwindSafe(|| until("it ends", || child.try_wait().unwrap().is_some()));
    if catch_unwind(ends).is_err() {
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        panic!("it does not end: {}", stderr(&output));
    }
    child.wait_with_output().unwrap()
}

fn status_without_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (status, out) = (folder.path().join("status"), folder.path().join("out.ndjson"));
    pipe(&status);
    let mut command = run(folder.path(), "mss", &["--status", status.to_str().unwrap(), "-o"]);
    let output = end(command.arg(&out).spawn().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("no reader yet"), "{}", stderr(&output));
    assert!(out.exists());
}

/// Waits until a process has a file open.
fn has_open(child: &mut Child, path: &Path) {
    let descriptors = format!("/proc/{}/fd", child.id());
    until_of(child, "it opens the list", || {
        let entries = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == path))
    });
}

/// Without a writer, and with one that is silent.
fn waits_for_list(name: &str, command: &dyn Fn(&Path, &str, &[&str]) -> Command) {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    pipe(&list);
    for written in [false, true] {
        let mut command = command(folder.path(), "mss", &["-o", "-"]);
        match name {
            "run" => command.arg("--targets").arg(&list).arg("--order").arg("list"),
            _ => command.arg(&list),
        };
        if name == "run" {
            // clap takes an option once.
            let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let first = words.iter().position(|word| word == "--targets").unwrap();
            let words = [&words[..first], &words[first + 2..]].concat();
            let mut again = pathspider(&[]);
            again.args(words).env("PATHSPIDER_STATE", folder.path().join("state"));
            command = again;
        }
        let mut child = command.spawn().unwrap();
        has_open(&mut child, &list);
        let writer = written.then(|| fs::File::options().write(true).open(&list).unwrap());
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        let output = end(child);
        assert_eq!(output.status.code(), Some(5), "{name} {written}: {}", stderr(&output));
        drop(writer);
    }
}

fn refused(folder: &Path, output: &str, expected: &str) {
    let out = folder.join(output);
    let output = end(run(folder, "mss", &["-o", out.to_str().unwrap()]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(2), "{}: {}", out.display(), stderr(&output));
    assert!(stderr(&output).contains(expected), "{}: {}", out.display(), stderr(&output));
}

fn pipes_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pipe(&at("a.ndjson"));
    refused(folder.path(), "a.ndjson", "not a regular file");
    pipe(&at("b.parquet"));
    refused(folder.path(), "b.parquet", "not a regular file");
    pipe(&at("c.ndjson.meta.json"));
    refused(folder.path(), "c.ndjson", "not a regular file");
    fs::create_dir(at(".d.parquet.parts")).unwrap();
    pipe(&at(".d.parquet.parts/journal.ndjson"));
    refused(folder.path(), "d.parquet", "it is a pipe, not a regular file");

    fs::create_dir(at("e")).unwrap();
    pipe(&at("e/journal.ndjson"));
    refused(folder.path(), "e/", "it is a pipe, not a regular file");

    // A part of a run that was begun.
    fs::create_dir(at("f")).unwrap();
    fs::write(at("f/journal.ndjson"), "{\"run\":{}}\n").unwrap();
    pipe(&at("f/part-00000.parquet"));
    let mut command = run(folder.path(), "mss", &["--resume"]);
    let output = end(command.arg(at("f")).spawn().unwrap());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let journal = fs::read_to_string(at("f/journal.ndjson")).unwrap();
    assert_eq!(journal, "{\"run\":{}}\n", "nothing is appended");

    for command in ["judge", "merge"] {
        let mut command = pathspider(&[command, "-o", "-"]);
        let output = end(command.arg(at("b.parquet")).spawn().unwrap());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("not a regular file"), "{}", stderr(&output));
    }
}

fn links_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("victim"), "no newline").unwrap();
    symlink(at("victim"), at("a.ndjson.meta.json")).unwrap();
    refused(folder.path(), "a.ndjson", "is a link, which is not followed");
    fs::create_dir(at(".b.parquet.parts")).unwrap();
    symlink(at("victim"), at(".b.parquet.parts/journal.ndjson")).unwrap();
    refused(folder.path(), "b.parquet", "it is a link, not a regular file");
    fs::create_dir(at("c")).unwrap();
    symlink(at("nothing"), at("c/journal.ndjson")).unwrap();
    refused(folder.path(), "c/", "it is a link, not a regular file");
    assert!(!at("nothing").exists());
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "no newline");
    // The name that the user gave is another matter.
    symlink("real.parquet", at("d.parquet")).unwrap();
    let mut command = run(folder.path(), "mss", &["-o"]);
    let output = end(command.arg(at("d.parquet")).spawn().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(at("d.parquet").is_symlink() && at("real.parquet").is_file());
}
