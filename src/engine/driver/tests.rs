//! The loop over sockets of the loopback device.

use std::net::TcpListener;

use super::*;
use crate::connect::options::{TFO, Value};
use crate::connect::{Options, kind};
use crate::engine::guarded::tests::Panics;
use crate::engine::ports::Pool;
use crate::engine::scheduler::{Caps, Limits};

/// A server that answers every connection with a few octets.
fn server() -> SocketAddr {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Some clients have gone.
            let _ = stream.and_then(|mut stream| stream.write_all(b"hello"));
        }
    });
    address
}

fn settings(tfo: bool) -> Settings {
    let options = Options::default().with(&TFO, Value::Boolean(tfo));
    let kind = kind("tcp").unwrap();
    let timeout = Duration::from_secs(60);
    Settings {
        configurations: vec![Configuration { steps: Vec::new(), kind, options, timeout }],
        probe: false,
        limits: Limits { concurrency: 10, rate: None, caps: Caps::default() },
        bind_device: None,
        interface: None,
        allow_commands: false,
        pool: Pool::new(20_000..=20_999, |_| false),
        slot: crate::step::Slot::default(),
        journal: None,
        forget: false,
    }
}

/// Machines that panic by the target's name.
fn machines(kind: &KindDef, options: &Options, peer: Peer<'_>) -> Box<dyn Machine> {
    match peer.name {
        Some("start") => panic!("in the making"),
        Some("early") => Box::new(Panics { early: true, on_data: false }),
        Some("data") => Box::new(Panics { early: false, on_data: true }),
        _ => connect::start(kind, options, peer),
    }
}

#[test]
fn a_machine_that_panics_ends_its_attempt_and_no_other() {
    crate::barrier::install();
    let at = server();
    for tfo in [false, true] {
        let progress = Progress::default();
        let mut engine = Engine::new(settings(tfo), &progress, Arc::default()).unwrap();
        engine.start = machines;
        let names = ["data", "good", "start", "good", "early", "good"];
        let targets =
            names.map(|name| Address { at, name: Some(name.to_owned()), wanted: Vec::new() });
        let asked = engine.run_wave(&targets, || true, |_| false).unwrap();
        let attempts = asked.attempts[0].iter().map(|ended| &ended.as_ref().unwrap().attempt);
        let found: Vec<_> = attempts
            .map(|attempt| {
                let error = attempt.error.as_deref().unwrap_or("-");
                (attempt.ok, attempt.state, attempt.stage, error)
            })
            .collect();
        let good = (Some(true), State::Ok, Stage::Done, "-");
        let broken = |stage| (None, State::Failed, stage, "internal error");
        // Only if data may go with the SYN does the engine ask the machine for it.
        let early = match tfo {
            true => broken(Stage::Response),
            false => (Some(true), State::Ok, Stage::Done, "-"),
        };
        let expected = [broken(Stage::Response), good, broken(Stage::Connect), good, early, good];
        assert_eq!(found, expected, "{tfo}");
        assert_eq!(progress.internal_error.load(Relaxed), 2 + u64::from(tfo));
    }
}
