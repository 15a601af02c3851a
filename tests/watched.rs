//! How a run is watched: on a terminal, by `--status`, by `--metrics`, in a lab of its own.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use harness::Tests;
use serde_json::Value;

fn main() -> ExitCode {
    harness::main(outside, |_| {})
}

fn outside(tests: &mut Tests, namespaces: bool) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let script = Command::new("script").arg("--version").output().is_ok();
    for (name, can, test) in [
        ("what cannot be opened is told before anything is done", true, refused as fn(&Path)),
        ("a terminal has a bar", namespaces && script, terminal),
        ("the status has a line each second, and a last one", namespaces, status),
        ("the status of a run that never began has its last line", true, never_began),
        ("metrics are served while clients are hostile", namespaces, metrics),
    ] {
        match can {
            true => tests.run(name, || test(folder)),
            false => tests.skip(name, "no user namespace, or no program `script`"),
        }
    }
}

fn pathspider(more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command.args(["run", "ecn"]).args(more);
    command
}

fn refused(folder: &Path) {
    let missing = folder.join("no/such/folder/status");
    let missing = missing.to_str().unwrap();
    for (more, expected) in [
        (&["--lab", "--status", missing][..], "open --status"),
        (&["--lab", "--status", "-", "-o", "-"], "the records go to standard output"),
        (&["--lab", "--metrics", "0.0.0.0:0"], "--metrics-exposed"),
        (&["--lab", "--metrics", "localhost"], "--metrics"),
        (&["--lab", "--metrics-exposed"], "--metrics"),
    ] {
        let output = pathspider(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.contains(expected), "{more:?}: {said}");
    }
}

fn terminal(folder: &Path) {
    let output = folder.join("terminal.ndjson");
    let line = format!(
        "stty rows 40 cols 80; exec {} run ecn --lab -o {}",
        env!("CARGO_BIN_EXE_pathspider"),
        output.display()
    );
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{seen}");
    for expected in [
        "\u{2588}",
        " targets, ",
        " ok, ",
        " broken, ",
        " insufficient",
        "/s, 0 dropped, ",
        "configuration one",
    ] {
        assert!(seen.contains(expected), "no {expected:?} in {seen}");
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn status(folder: &Path) {
    let status = folder.join("status.ndjson");
    fs::write(&status, "{\"event\":\"of an earlier run\"}\n").unwrap();
    let records = folder.join("status.parquet");
    let output = pathspider(&["--lab", "--format", "json", "-q", "-o", records.to_str().unwrap()])
        .arg("--status")
        .arg(&status)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "-q: {}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = lines(&status);
    assert_eq!(lines[0]["event"], "of an earlier run", "it is appended to");
    let [progress @ .., last] = &lines[1..] else { panic!("{lines:?}") };
    assert!(!progress.is_empty(), "timeouts take longer than a second: {lines:?}");
    let number = |line: &Value, field: &str| line.pointer(field).unwrap().as_f64().unwrap();
    for pair in lines[1..].windows(2) {
        for field in ["/seconds", "/targets/asked", "/records", "/attempts/ended", "/packets/seen"]
        {
            assert!(number(&pair[0], field) <= number(&pair[1], field), "{field}: {pair:?}");
        }
    }
    for line in progress {
        assert_eq!(line["event"], "progress");
        assert!(line["configurations"].as_array().unwrap().len() <= 1, "they take turns: {line}");
    }
    assert_eq!((&last["event"], &last["exit"]), (&"end".into(), &0.into()));
    assert_eq!((&last["complete"], &last["error"]), (&true.into(), &Value::Null));
    assert_eq!(last["records"], summary["records"]);
    assert_eq!(last["labels"], summary["conditions"]);
    assert_eq!(last["unfinished"], 0);
    let classes = last["verdicts"].as_object().unwrap();
    assert_eq!(classes.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), last["records"]);
    for class in ["ok", "broken", "offline"] {
        assert!(classes[class].as_u64() > Some(0), "{class}: {last}");
    }
}

fn never_began(folder: &Path) {
    let output = pathspider(&["--targets", "/no/such/list", "--status", "-"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&line["event"], &line["exit"]), (&"end".into(), &2.into()));
    assert!(line["error"].as_str().unwrap().contains("/no/such/list"), "{line}");
    assert!(folder.is_dir());
}

fn metrics(folder: &Path) {
    let records = folder.join("metrics.parquet");
    let mut child =
        pathspider(&["--lab", "--metrics", "127.0.0.1:0", "-o", records.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let at = line.trim().strip_prefix("metrics: http://").unwrap();
    let at = at.strip_suffix("/metrics").unwrap().to_owned();
    // They connect and say nothing, or not all of it.
    let hostile: Vec<TcpStream> = (0..20)
        .map(|number| {
            let mut stream = TcpStream::connect(&at).unwrap();
            stream.write_all(&b"GET /metr"[..number % 10]).unwrap();
            stream
        })
        .collect();
    let page = scraped(&mut child, &at);
    let value = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name) && line.contains(' '));
        line.unwrap_or_else(|| panic!("no {name}: {page}")).rsplit(' ').next().unwrap().to_owned()
    };
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
        "{page}"
    );
    assert!(value("pathspider_attempts_total{state=\"ok\"}").parse::<u64>().unwrap() > 0, "{page}");
    assert!(value("pathspider_targets_expected").parse::<u64>().unwrap() > 100);
    assert_eq!(value("pathspider_packets_dropped_total{by=\"kernel\"}"), "0");
    assert!(page.contains("pathspider_run_info{measurement=\"ecn\","), "{page}");
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
    drop(hostile);
    assert!(TcpStream::connect(&at).is_err(), "it ends with the run");
}

/// The first page on which an attempt has ended.
fn scraped(child: &mut Child, at: &str) -> String {
    loop {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was scraped");
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let ended =
            page.lines().find(|line| line.starts_with("pathspider_attempts_total{state=\"ok\"}"));
        if ended.is_some_and(|line| !line.ends_with(" 0")) {
            return page;
        }
    }
}
