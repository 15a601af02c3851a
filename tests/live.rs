//! `pathspider observe -i`: what crosses an interface is watched until Ctrl-C, and everything is written then.
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, ExitCode, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::{Lab, Spec};
use serde_json::Value;

fn main() -> ExitCode {
    harness::main(|_, _| {}, |tests| tests.run("ctrl-c ends it with all written", ctrl_c))
}

/// The flow is neither over nor idle when the signal comes.
fn ctrl_c() {
    let lab = Lab::build(&Spec::plain(1, 0).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.ndjson");
    let mut observe = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    observe.args(["observe", "-i", lab.interface(), "--use", "basic,tcp", "--filter", "tcp", "-o"]);
    let mut child = observe.arg(&out).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("watching"), "{line}");
    let target = &lab.targets()[0];
    let connection = TcpStream::connect((target.addr, target.port)).unwrap();
    let port = connection.local_addr().unwrap().port();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    said.read_to_string(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{line}");
    let written = std::fs::read_to_string(&out).unwrap();
    let records = written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut own = records.filter(|record| record["sp"] == port);
    let record = own.next().unwrap_or_else(|| panic!("{written}\n{line}"));
    assert_eq!((&record["tcp_connected"], &record["dp"]), (&true.into(), &target.port.into()));
    assert_eq!(own.next(), None);
}
