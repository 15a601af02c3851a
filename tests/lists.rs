//! `pathspider targets` as its users call it: `tests/lists/cases.toml` has the command lines, each with its
//! exit code and input, `tests/lists/NAME.txt` what comes out. `UPDATE_GOLDENS=1 cargo test --test lists`
//! accepts what comes out now.
//!
//! Names are asked of a server on the loopback that this test is. It answers rightly, wrongly, truncated or not at
//! all, as the name says.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use pathspider::targets::Reader;
use support::golden::Goldens;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The command line after `pathspider targets`, in the folder `tests/lists`; `SERVER` is the server's
    /// address, `OUT` a folder for output.
    run: String,
    /// Another command than `targets`, with all that it needs to be told before `run`.
    #[serde(default = "targets")]
    command: String,
    /// What stands on standard input.
    #[serde(default)]
    input: String,
    #[serde(default)]
    exit: i32,
    /// Whether what is on standard output is a list that `run` can read.
    #[serde(default = "yes")]
    readable: bool,
}

fn yes() -> bool {
    true
}

fn targets() -> String {
    "targets".into()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lists")
}

// --- the server -----------------------------------------------------------------------------

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

/// A right answer, as the name's first label says.
fn answer(asked: &Message) -> Message {
    let query = asked.queries[0].clone();
    let owner = query.name().clone();
    let label = owner.to_ascii().split('.').next().unwrap().to_ascii_lowercase();
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    let v4 = query.query_type() == RecordType::A;
    answer.add_query(query);
    let address = |last: u8| match v4 {
        true => RData::A(A(Ipv4Addr::new(192, 0, 2, last))),
        false => RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()))),
    };
    let mut add = |owner: &Name, data| {
        answer.add_answer(Record::from_rdata(owner.clone(), 60, data));
    };
    match label.as_str() {
        "nx" => answer.metadata.response_code = ResponseCode::NXDomain,
        "servfail" => answer.metadata.response_code = ResponseCode::ServFail,
        "refused" => answer.metadata.response_code = ResponseCode::Refused,
        "notimp" => answer.metadata.response_code = ResponseCode::NotImp,
        "empty" => {}
        "v4only" if !v4 => {}
        "half" if !v4 => answer.metadata.response_code = ResponseCode::ServFail,
        "zero" => add(&owner, RData::A(A(Ipv4Addr::UNSPECIFIED))),
        "circle" => add(&owner, RData::CNAME(CNAME(owner.clone()))),
        "alias" => {
            add(&owner, RData::CNAME(CNAME(name("cdn.example"))));
            add(&name("cdn.example"), RData::CNAME(CNAME(name("edge.example"))));
            add(&name("edge.example"), address(9));
        }
        "two" => {
            add(&owner, address(2));
            add(&owner, address(1));
        }
        "big" => (1..=200).for_each(|last| add(&owner, address(last))),
        _ => add(&owner, address(7)),
    }
    answer
}

/// What comes back over UDP: several messages, or none.
fn datagrams(asked: &Message, before: u32) -> Vec<Vec<u8>> {
    let right = answer(asked);
    let owner = asked.queries[0].name().to_ascii().to_lowercase();
    let mut other_id = right.clone();
    other_id.metadata.id ^= 0x5555;
    let mut other_question = right.clone();
    other_question.queries[0].set_name(name("evil.example"));
    let wrong = [other_id.to_vec().unwrap(), other_question.to_vec().unwrap(), vec![0; 3]];
    let right_bytes = right.to_vec().unwrap();
    // The name in lower case, and another address than over TCP.
    let mut lower = right.clone();
    let query = lower.queries[0].clone();
    lower.queries[0].set_name(query.name().to_lowercase());
    lower.answers.clear();
    let forged = RData::A(A(Ipv4Addr::new(192, 0, 2, 66)));
    lower.add_answer(Record::from_rdata(query.name().clone(), 60, forged));
    let lower = lower.to_vec().unwrap();
    match owner.split('.').next().unwrap() {
        "silent" => Vec::new(),
        "late" if before == 0 => Vec::new(),
        "wrong" => wrong.into(),
        "lower" | "loweronly" => vec![lower],
        "guessed" => wrong.into_iter().chain([lower]).collect(),
        "header" => {
            let mut header = right;
            header.metadata.response_code = ResponseCode::Refused;
            header.queries.clear();
            header.answers.clear();
            vec![header.to_vec().unwrap()]
        }
        "disturbed" => wrong.into_iter().chain([right_bytes]).collect(),
        "big" | "mute" | "cut" => {
            let mut short = right;
            short.answers.clear();
            short.metadata.truncation = true;
            vec![short.to_vec().unwrap()]
        }
        _ => vec![right_bytes],
    }
}

/// Answers until the test is over.
fn serve() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        let mut before: HashMap<(String, RecordType), u32> = HashMap::new();
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let Ok(asked) = Message::from_vec(&buffer[..length]) else { continue };
            assert!(asked.metadata.recursion_desired);
            let query = &asked.queries[0];
            let times = before
                .entry((query.name().to_ascii().to_lowercase(), query.query_type()))
                .or_default();
            for message in datagrams(&asked, *times) {
                let _ = udp.send_to(&message, from);
            }
            *times += 1;
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut message = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut message).unwrap();
            let asked = Message::from_vec(&message).unwrap();
            let reply = answer(&asked).to_vec().unwrap();
            let owner = asked.queries[0].name().to_ascii().to_lowercase();
            let mut out = u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
            out.extend_from_slice(&reply);
            // In two pieces; of some, only the first.
            let (first, second) = out.split_at(out.len() / 2);
            let _ = stream.write_all(first);
            let closes = ["cut.", "mute.", "loweronly.", "guessed.", "header."];
            if !closes.iter().any(|label| owner.starts_with(label)) {
                let _ = stream.write_all(second);
            }
        }
    });
    at
}

// --- the cases ------------------------------------------------------------------------------

/// Numbers that differ from run to run.
fn steady(text: &str, out: &Path) -> String {
    let text = text.replace(&out.display().to_string(), "OUT");
    let lines = text.lines().map(|line| match line.split_once("; ") {
        Some((first, rest)) if rest.contains(" questions in") || rest.contains(" question in") => {
            format!("{first}; N questions in T s\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn outcome(case: &Case, server: SocketAddr) -> (i32, String, Vec<u8>) {
    let out = tempfile::tempdir().unwrap();
    let line = case.run.replace("SERVER", &server.to_string());
    let line = line.replace("OUT", &out.path().display().to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command
        .args(case.command.split_whitespace())
        .args(line.split_whitespace())
        .current_dir(folder());
    command.env_remove("RUST_LOG");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = case.input.clone();
    let feeder = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let mut said = String::from_utf8(output.stdout.clone()).unwrap();
    said += &format!("--- standard error\n{}", String::from_utf8(output.stderr).unwrap());
    let mut files: Vec<PathBuf> =
        fs::read_dir(out.path()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        said += &format!("--- {name}\n{}", fs::read_to_string(&file).unwrap());
    }
    (output.status.code().unwrap_or(-1), steady(&said, out.path()), output.stdout)
}

#[test]
fn every_list_comes_out_as_agreed() {
    let text = fs::read_to_string(folder().join("cases.toml")).unwrap();
    let cases: Cases = toml::from_str(&text).unwrap();
    let server = serve();
    let mut goldens = Goldens::default();
    for case in &cases.case {
        let (exit, said, list) = outcome(case, server);
        if exit != case.exit {
            goldens.wrong(format!("{}: {exit} instead of {}: {said}", case.name, case.exit));
        }
        assert!(!said.contains('\u{1b}'), "{}: an escape on the terminal", case.name);
        if case.readable {
            let lines = list.iter().filter(|byte| **byte == b'\n').count();
            let csv = !list.is_empty() && list[0] != b'{';
            let options = pathspider::targets::Options::default();
            let mut reader = Reader::new(Box::new(std::io::Cursor::new(list)), options).unwrap();
            let targets = reader.next_batch(usize::MAX).unwrap();
            assert_eq!(reader.refusals().first, [], "{}", case.name);
            assert_eq!(targets.len(), lines - usize::from(csv), "{}", case.name);
        }
        let golden = folder().join(format!("{}.txt", case.name));
        goldens.compare(&golden, &said);
    }
    goldens.end_all_of(&folder());
}

#[test]
fn thousands_of_names_keep_their_order_and_their_rate() {
    let server = serve().to_string();
    let input: String = (0..5000).map(|n| format!("{n},name{n}.example\n")).collect();
    let run = |more: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.args(["targets", "resolve", "--resolver", &server, "--timeout", "5s"]).args(more);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let feeder = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let out = run(&[], &input);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 10_000);
    for (number, pair) in lines.chunks(2).enumerate() {
        for (line, dip) in pair.iter().zip(["192.0.2.7", "2001:db8::7"]) {
            let right = format!(
                "{{\"dip\":\"{dip}\",\"dp\":80,\"domain\":\"name{number}.example\",\"rank\":{number}}}"
            );
            assert_eq!(*line, right);
        }
    }
    // 60 questions at 50 a second take more than a second.
    let input: String = input.lines().take(60).flat_map(|line| [line, "\n"]).collect();
    let start = Instant::now();
    let out = run(&["--rate", "50", "--family", "4"], &input);
    assert_eq!(out.lines().count(), 60);
    assert!(start.elapsed().as_secs_f64() > 1.0, "{:?}", start.elapsed());
}
