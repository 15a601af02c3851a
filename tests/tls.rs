//! Runs over servers of `openssl s_server`, with and without a middlebox that answers in a server's place: the table
//! `tests/tls/cases.toml`.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use harness::Tests;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use serde::Deserialize;
use serde_json::Value;
use support::NO_STRANGERS;
use support::wait::until_of;

/// The address of every server, in a namespace of its own that has the middlebox too; and ours.
const HOST: &str = "198.18.0.1";
const PROBER: &str = "198.18.0.2";
/// Servers that are asked have ports from here on, those of the middlebox from there.
const SERVERS: u16 = 5000;
const MIDDLEBOX: u16 = 6000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "https")]
    kind: String,
    server: Option<String>,
    #[serde(default = "rsa")]
    key: String,
    sends: Option<String>,
    marked: Option<Marked>,
    label: String,
    answer: Option<String>,
    one: Option<String>,
    version: Option<String>,
    group: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked {
    server: Option<String>,
    sends: Option<String>,
}

fn https() -> String {
    "https".into()
}

fn rsa() -> String {
    "rsa".into()
}

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    if Command::new("openssl").arg("version").output().is_err() {
        tests.skip("every server", "no openssl program (make test-setup)");
        return;
    }
    tests.run("every server has its answer and its label", every_server);
}

fn said(mut command: Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {why}");
    output
}

fn words(program: &str, words: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    said(command)
}

/// Programs that end with this.
struct Servers(Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Servers {
    fn openssl(&mut self, port: u16, key: &Path, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", &format!("{HOST}:{port}"), "-cert"]);
        command.arg(key).args(arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.0.push(command.spawn().unwrap());
        let listens = format!(":{port:04X} 00000000:0000 0A");
        let what = format!("openssl s_server {arguments} listens");
        until_of(self.0.last_mut().unwrap(), &what, || {
            fs::read_to_string("/proc/thread-self/net/tcp").unwrap().contains(&listens)
        });
    }
}

/// A server that sends a text, each letter of which is an octet, to whoever has said something.
fn sender(port: u16, text: &str) {
    let octets: Vec<u8> = text.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
    let listener = TcpListener::bind((HOST, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, octets) = (stream.unwrap(), octets.clone());
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&octets);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
}

/// The files with certificate and key, by name.
fn keys(folder: &Path) -> BTreeMap<&'static str, PathBuf> {
    let path = |name: &str| folder.join(format!("{name}.pem"));
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    for (name, bits) in [("rsa", 2048), ("short", 1024)] {
        let mut command = Command::new("openssl");
        command.args("req -x509 -nodes -days 30 -subj /CN=a.example -newkey".split(' '));
        command.arg(format!("rsa:{bits}")).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        said(command);
        let both = [fs::read(&key).unwrap(), fs::read(&certificate).unwrap()].concat();
        fs::write(path(name), both).unwrap();
    }
    for (name, year) in [("ecdsa", 2100), ("expired", 2001)] {
        let own = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        let certificate = params.self_signed(&own).unwrap();
        let mut both = Vec::new();
        for (command, der) in [("pkey", own.serialize_der()), ("x509", certificate.der().to_vec())]
        {
            let file = folder.join("der");
            fs::write(&file, der).unwrap();
            let mut openssl = Command::new("openssl");
            openssl.args([command, "-inform", "DER", "-in"]).arg(file);
            both.extend(said(openssl).stdout);
        }
        fs::write(path(name), both).unwrap();
    }
    ["rsa", "short", "ecdsa", "expired"].map(|name| (name, path(name))).into()
}

/// A run over some ports; the records by port.
fn run(folder: &Path, kind: &str, ports: &[u16]) -> BTreeMap<u64, Value> {
    let (file, list, out) =
        (folder.join("x.toml"), folder.join("list.ndjson"), folder.join(format!("{kind}.ndjson")));
    let text = format!(
        "name = \"x\"\n[config.zero]\n[config.one]\nsteps = [{{ sockopt = {{ ip_tos = 184 }} }}]\n\
         [connect]\nkind = \"{kind}\"\ntimeout = \"60s\"\n[confirm]\nrounds = 0\n[observer]\n\
         [[conditions]]\nname = \"x\"\ncompare = \"ok\"\n"
    );
    fs::write(&file, text).unwrap();
    let mut lines = String::new();
    for port in ports {
        writeln!(lines, r#"{{"dip": "{HOST}", "dp": {port}}}"#).unwrap();
    }
    fs::write(&list, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.env("PATHSPIDER_STATE", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command.args(["run", "-i", "near"]).args(NO_STRANGERS).arg(&file).arg("--targets").arg(&list);
    command.arg("-o").arg(&out);
    said(command);
    let records = fs::read_to_string(&out).unwrap();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| (record["target"]["port"].as_u64().unwrap(), record)).collect()
}

/// Starts all servers in a namespace of their own, and the middlebox before them.
fn start(cases: &[Case], keys: &BTreeMap<&'static str, PathBuf>) -> Servers {
    let ((tell, told), (go, gone)) = (mpsc::channel(), mpsc::channel());
    thread::scope(|scope| {
        let far = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(gettid()).unwrap();
            gone.recv().unwrap();
            words("ip", "link set lo up");
            words("ip", &format!("address add {HOST}/24 dev far"));
            words("ip", "link set far up");
            words("nft", "add table ip middlebox");
            let hook = "{ type nat hook prerouting priority -100 ; }";
            words("nft", &format!("add chain ip middlebox before {hook}"));
            let mut servers = Servers(Vec::new());
            let mut start =
                |port: u16, key: &str, server: Option<&str>, sends: Option<&str>| match sends {
                    Some(text) => sender(port, text),
                    None => servers.openssl(port, &keys[key], server.unwrap()),
                };
            for (at, case) in (0..).zip(cases) {
                let (port, other) = (SERVERS + at, MIDDLEBOX + at);
                start(port, &case.key, case.server.as_deref(), case.sends.as_deref());
                if let Some(marked) = &case.marked {
                    start(other, &case.key, marked.server.as_deref(), marked.sends.as_deref());
                    let rule = format!("ip dscp 46 tcp dport {port} redirect to :{other}");
                    words("nft", &format!("add rule ip middlebox before {rule}"));
                }
            }
            servers
        });
        let far_thread = told.recv().unwrap();
        words("ip", &format!("link add near type veth peer name far netns {far_thread}"));
        words("ip", &format!("address add {PROBER}/24 dev near"));
        words("ip", "link set near up");
        go.send(()).unwrap();
        far.join().unwrap()
    })
}

fn every_server() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/cases.toml");
    let Cases { case: cases } = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.iter().filter(|case| case.server.is_some()).count() >= 12);
    let folder = tempfile::tempdir().unwrap();
    let _servers = start(&cases, &keys(folder.path()));
    let mut ports: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for (port, case) in (SERVERS..).zip(&cases) {
        ports.entry(&case.kind).or_default().push(port);
    }
    let mut records = BTreeMap::new();
    for (kind, ports) in &ports {
        records.extend(run(folder.path(), kind, ports));
    }
    let mut wrong = String::new();
    for (port, case) in (u64::from(SERVERS)..).zip(&cases) {
        let record = &records[&port];
        let text = |configuration: &str, column: &str| {
            record[configuration][column].as_str().unwrap_or_default().to_owned()
        };
        let mut compare = |what: &str, is: String, expected: &str| {
            if is != expected {
                writeln!(wrong, "{}: {what} is {is}, not {expected}: {record}", case.name).unwrap();
            }
        };
        let label = record["conditions"][0].as_str().unwrap().to_owned();
        compare("label", label, &format!("x.{}", case.label));
        let answer = case.answer.as_deref().unwrap_or_default();
        compare("answer of zero", text("zero", "answer"), answer);
        compare("answer of one", text("one", "answer"), case.one.as_deref().unwrap_or(answer));
        for (column, expected) in [("tls_version", &case.version), ("tls_group", &case.group)] {
            if let Some(expected) = expected {
                compare(column, text("zero", column), expected);
                compare("ok", record["zero"]["ok"].to_string(), "true");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
