//! `pathspider upload`, against an observatory on the loopback interface.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "upload/observatory.rs"]
mod observatory;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use observatory::{Observatory, Request, Way};
use serde_json::{Value, json};
use support::{pathspider, stderr};

const KEY: &str = "abadc0de-not-to-be-shown";

/// A result in upstream's format, and its metadata.
fn result() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("2026-11.ndjson");
    fs::write(&file, "{\"dip\": \"192.0.2.1\"}\n".repeat(5000)).unwrap();
    let metadata = json!({
        "pathspider.started": "2026-11-22T18:30:00Z",
        "pathspider.ended": "2026-11-22T19:30:00Z",
        "pathspider.version": "0.1.0",
        "pathspider.command_line": "pathspider run ecn --targets /home/jo/secret.csv",
        "pathspider.contact": "mailto:jo@example.org",
        "pathspider.records": "5000",
        "pathspider.packets_dropped": "0",
    });
    fs::write(folder.path().join("2026-11.ndjson.meta.json"), metadata.to_string()).unwrap();
    (folder, file)
}

fn upload(url: &str, file: &Path) -> Command {
    let mut command = pathspider();
    command.args(["-vvv", "upload", "--campaign", "ecn", "--url", url]).arg(file);
    command.env("PATHSPIDER_PTO_TOKEN", KEY).env_remove("SSL_CERT_FILE");
    command
}

/// Runs a command; what it printed must not have the key.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    assert!(!printed.contains(KEY), "{printed}");
    output
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.as_str())
}

#[test]
fn metadata_go_first_and_then_the_data_and_nothing_twice() {
    let (_folder, file) = result();
    let server = Observatory::start(Way::Right);
    let output = run(upload(&server.url, &file).args(["--add", "note=first", "--file-type", "ps"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["octets"], fs::metadata(&file).unwrap().len());
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let of = "/raw/ecn/2026-11.ndjson";
    assert_eq!(lines, [format!("GET {of}"), format!("PUT {of}"), format!("PUT {of}/data")]);
    assert!(requests.iter().all(|r| header(r, "Authorization") == format!("APIKEY {KEY}")));
    assert_eq!(header(&requests[1], "Content-Type"), "application/json");
    let metadata: Value = serde_json::from_slice(&requests[1].body).unwrap();
    let expected = json!({
        "_time_start": "2026-11-22T18:30:00Z", "_time_end": "2026-11-22T19:30:00Z", "_file_type": "ps",
        "pathspider_version": "0.1.0", "records": "5000", "packets_dropped": "0", "note": "first",
    });
    assert_eq!(metadata, expected, "neither paths nor contacts");
    assert_eq!(header(&requests[2], "Content-Type"), "application/vnd.mami.ndjson");
    assert_eq!(requests[2].body, fs::read(&file).unwrap());

    let again = run(&mut upload(&server.url, &file));
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("exists already"), "{}", stderr(&again));
    assert_eq!(server.requests().len(), 4, "one question");
}

#[test]
fn an_upload_that_failed_in_the_middle_is_repeated() {
    let (_folder, file) = result();
    let server = Observatory::start(Way::FailsOnce);
    let output = run(&mut upload(&server.url, &file));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("500"), "{}", stderr(&output));
    let output = run(&mut upload(&server.url, &file));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn nothing_is_sent_without_a_key_or_in_a_dry_run() {
    let (folder, file) = result();
    let server = Observatory::start(Way::Right);
    let without = run(upload(&server.url, &file).env_remove("PATHSPIDER_PTO_TOKEN"));
    assert_eq!(without.status.code(), Some(2));
    assert!(stderr(&without).contains("PATHSPIDER_PTO_TOKEN"), "{}", stderr(&without));
    let dry = run(upload(&server.url, &file).arg("--dry-run").env_remove("PATHSPIDER_PTO_TOKEN"));
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    let printed = String::from_utf8(dry.stdout).unwrap();
    assert!(printed.contains("\"_time_start\": \"2026-11-22T18:30:00Z\""), "{printed}");
    assert!(printed.contains("Content-Length: 105000"), "{printed}");
    let token = folder.path().join("token");
    fs::write(&token, format!("{KEY}\n")).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = run(upload(&server.url, &file).arg("--token-file").arg(&token));
    assert_eq!(open.status.code(), Some(2));
    assert!(stderr(&open).contains("chmod 600"), "{}", stderr(&open));
    let other = run(upload(&server.url, &file).env("PATHSPIDER_PTO_TOKEN", "not\u{e9}a key"));
    assert_eq!(other.status.code(), Some(2));
    assert_eq!(server.requests().len(), 0, "nothing was sent");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let from_file = upload(&server.url, &file).arg("--token-file").arg(&token).output().unwrap();
    assert_eq!(from_file.status.code(), Some(0), "{}", stderr(&from_file));
}

#[test]
fn a_key_is_sent_to_one_host_only() {
    let (_folder, file) = result();
    let other = Observatory::start(Way::Right);
    for (way, expected) in [
        (Way::DataAt(other.url.clone()), "not the host of --url"),
        (Way::RedirectTo(other.url.clone()), "redirections are not followed"),
        (Way::Echoes, "the API key is not right"),
        (Way::NoJson, "not a JSON object"),
    ] {
        let server = Observatory::start(way);
        let output = run(&mut upload(&server.url, &file));
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!server.requests().is_empty());
    }
    assert_eq!(other.requests().len(), 0);
    let plain = run(&mut upload("http://pto.example.org/raw", &file));
    assert_eq!(plain.status.code(), Some(2));
    assert!(stderr(&plain).contains("https://"), "{}", stderr(&plain));
}

#[test]
fn a_server_must_have_a_certificate_that_this_host_trusts() {
    let (folder, file) = result();
    let (server, authority) = Observatory::start_encrypted();
    let untrusted = run(&mut upload(&server.url, &file));
    assert_eq!(untrusted.status.code(), Some(1), "{}", stderr(&untrusted));
    assert_eq!(server.requests().len(), 0);
    let path = folder.path().join("authority.pem");
    fs::write(&path, authority).unwrap();
    let output = run(upload(&server.url, &file).env("SSL_CERT_FILE", &path));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_file_needs_metadata_and_a_name_that_fits() {
    let (folder, file) = result();
    let server = Observatory::start(Way::Right);
    let bare = folder.path().join("bare.ndjson");
    fs::write(&bare, "{}\n").unwrap();
    let parquet = folder.path().join("x.parquet");
    fs::write(&parquet, "PAR1").unwrap();
    let own = folder.path().join("own.json");
    for (file, more, text, expected) in [
        (&bare, &[][..], "", "bare.ndjson.meta.json"),
        (&parquet, &[], "", "an observatory takes .ndjson"),
        (&file, &["--metadata"], "[]", "not a JSON object"),
        (&file, &["--metadata"], r#"{"__data": "x"}"#, "itself sets __data"),
        (&file, &["--campaign", "../x"], "", "letters, digits"),
    ] {
        fs::write(&own, text).unwrap();
        let mut command = upload(&server.url, file);
        if more == ["--metadata"] {
            command.args(more).arg(&own);
        } else if !more.is_empty() {
            command = pathspider();
            command.args(["upload", "--url", &server.url]).args(more).arg(file);
        }
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    assert_eq!(server.requests().len(), 0);
}
