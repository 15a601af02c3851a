//! A fleet with a real server: agents, server and coordinator are killed, and the dataset is whole; agents may do what the
//! template says and nothing else.
//!
//! The server is that of `make test-setup`, or `$NATS_SERVER`; without one, these checks count as skipped. Has no harness
//! of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

#[path = "fleet/bench.rs"]
mod bench;
mod harness;
#[path = "fleet/permissions.rs"]
mod permissions;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench::Bench;
use harness::Tests;
use pathspider::fleet::message::UnitId;
use pathspider::fleet::transport::AgentSide as _;

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

/// The server's program, if there is one.
fn server() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/nats-server");
    named.or(Some(usual)).filter(|path| path.is_file())
}

/// A check of the fleet.
type Check = fn(&mut Bench);

fn inside(tests: &mut Tests) {
    let checks: [(&str, Check); 5] = [
        ("killed agents, servers and coordinators leave a whole dataset", killed),
        ("an agent may do what the template says", permissions::all),
        ("the server takes a commit once", once),
        ("a stop ends the run, and the campaign goes on when it is lifted", stopped),
        ("files are a transport with the same proof", files),
    ];
    for (name, check) in checks {
        match server() {
            Some(server) => tests.run(name, || check(&mut Bench::new(&server))),
            None => tests.skip(name, "there is no nats-server: `make test-setup` installs one"),
        }
    }
}

/// Two agents with 8 units each; each is killed at every step that its ledger can have, the server three times, and the
/// coordinator in the middle of taking results in.
fn killed(bench: &mut Bench) {
    let agents = ["fra-1", "lis-1"];
    agents.iter().for_each(|name| bench.enroll(name));
    bench.start("ecn-1", 8, "");
    for round in 0..3 {
        for name in agents {
            for step in ["begun", "measured", "committed"] {
                let mut agent = bench.agent(name);
                bench.until_ledger(&mut agent, name, step);
                agent.kill().unwrap();
                agent.wait().unwrap();
            }
        }
        bench.kill_server();
        bench.serve();
        let mut coordinator = bench.command(&["fleet", "ingest", "ecn-1", "data"]).spawn().unwrap();
        if round == 1 {
            coordinator.kill().unwrap();
        }
        coordinator.wait().unwrap();
    }
    for name in agents {
        bench.finish(name, 8);
    }
    bench.done(&["fleet", "ingest", "ecn-1", "data"]);
    let proof = bench.json(&["fleet", "verify", "ecn-1", "data", "--format", "json"], 0);
    assert_eq!(proof["whole"], true, "{proof}");
    assert_eq!(proof["records"].as_u64().unwrap(), 2 * bench.targets(), "{proof}");
    bench.labels_are_true(Path::new("data"));
    // A result is at the hub no longer, and still at its agent.
    let status = bench.json(&["fleet", "status", "--format", "json"], 0);
    assert_eq!(
        (status["stored"].as_u64(), status["done"].as_u64()),
        (Some(16), Some(16)),
        "{status}"
    );
    assert_eq!(fs::read_dir(bench.path("fra-1/units/ecn-1")).unwrap().count(), 8);
    // A dataset that lacks a file, or has another one, is not whole.
    let file = bench.path("data/campaign=ecn-1/round=0/vantage=lis-1/3-8.parquet");
    let octets = fs::read(&file).unwrap();
    fs::write(&file, &octets[1..]).unwrap();
    let proof = bench.json(&["fleet", "verify", "ecn-1", "data", "--format", "json"], 3);
    assert!(proof["faults"][0].as_str().unwrap().contains("not the file of its commit"), "{proof}");
    fs::remove_file(&file).unwrap();
    let proof = bench.json(&["fleet", "verify", "ecn-1", "data", "--format", "json"], 3);
    assert!(proof["faults"][0].as_str().unwrap().contains("not in the dataset"), "{proof}");
}

fn once(bench: &mut Bench) {
    bench.enroll("fra-1");
    let nats = bench.connect("fra-1");
    let unit = UnitId::parse("ecn-1/fra-1/0-1").unwrap();
    assert_eq!(nats.committed(&unit).unwrap(), None);
    assert!(nats.commit(&unit, b"first".to_vec()).unwrap());
    assert!(!nats.commit(&unit, b"second".to_vec()).unwrap());
    drop(nats);
    bench.kill_server();
    bench.serve();
    let nats = bench.connect("fra-1");
    assert!(!nats.commit(&unit, b"third".to_vec()).unwrap());
    assert_eq!(nats.committed(&unit).unwrap().as_deref(), Some(&b"first"[..]));
}

fn stopped(bench: &mut Bench) {
    bench.enroll("fra-1");
    // One unit, so slow that it does not end by itself.
    bench.start("slow", 1, "[caps]\nrate = 1\n");
    let mut agent = bench.agent("fra-1");
    bench
        .until_status(&mut agent, "slow", |status| status["agents"][0]["unit"] == "slow/fra-1/0-1");
    // Who opts out is in the list of a run in progress.
    bench.done(&["fleet", "optout", "add", "192.0.2.0/24", ".example.org"]);
    bench.until_status(&mut agent, "slow", |status| status["agents"][0]["optout"] == 1);
    let list = fs::read_to_string(bench.path("fra-1/optout")).unwrap();
    assert!(list.ends_with(".example.org\n192.0.2.0/24\n"), "{list}");
    bench.done(&["fleet", "stop", "--all", "--now", "--reason", "complaint"]);
    bench.until_status(&mut agent, "slow", |status| status["agents"][0]["stopped"] == true);
    assert_eq!(bench.json(&["fleet", "status", "--format", "json"], 0)["stopped"], "complaint");
    agent.kill().unwrap();
    agent.wait().unwrap();
    let ledger = fs::read_to_string(bench.path("fra-1/ledger.ndjson")).unwrap();
    assert!(ledger.contains("\"paused\"") && !ledger.contains("\"measured\""), "{ledger}");
    bench.done(&["fleet", "continue", "--all"]);
    let mut agent = bench.agent("fra-1");
    bench.until_status(&mut agent, "slow", |status| status["stopped"].is_null());
    agent.kill().unwrap();
    agent.wait().unwrap();
}

fn files(bench: &mut Bench) {
    bench.enroll("fra-1");
    bench.start("ecn-1", 3, "");
    bench.done(&["fleet", "export", "ecn-1", "stick"]);
    let once = [
        "agent",
        "once",
        "--config",
        "fra-1/agent.toml",
        "--state",
        "state",
        "--from",
        "stick",
        "--to",
        "stick",
    ];
    bench.kill_server();
    bench.done(&once);
    // Again, and nothing is measured again.
    let before = fs::read_to_string(bench.path("fra-1/ledger.ndjson")).unwrap();
    bench.done(&once);
    assert_eq!(fs::read_to_string(bench.path("fra-1/ledger.ndjson")).unwrap(), before);
    bench.done(&["fleet", "ingest", "ecn-1", "data", "--from", "stick"]);
    let verify = ["fleet", "verify", "ecn-1", "data", "--from", "stick", "--format", "json"];
    let proof = bench.json(&verify, 0);
    assert_eq!(proof["records"].as_u64().unwrap(), bench.targets(), "{proof}");
    bench.labels_are_true(Path::new("data"));
}
