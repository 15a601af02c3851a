//! A run through the library: a measurement of the whole lab without a process, a command line or a terminal.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use arrow_array::RecordBatch;
use harness::Tests;
use pathspider::error::{Error, ErrorKind, Result, Setting};
use pathspider::lab::{self, Lab, Tally};
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::report::lab_table;
use pathspider::run::telemetry::Telemetry;
use pathspider::run::{Events, Handle, Network, Run, Spec};
use pathspider::sink::Stored;
use pathspider::targets::{Reader, Target};

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    tests.run("a measurement of the lab agrees with its truth", agrees);
    tests.run("a handle ends a run in order, and another run resumes it", ends);
    tests.run("what cannot be run says why and sends nothing", refuses);
}

/// What a run needs besides its spec.
struct Bench {
    lab: Lab,
    plan: Plan,
    network: Network,
}

impl Bench {
    fn new() -> Self {
        let lab = Lab::build(&lab::Spec::internet().unwrap()).unwrap();
        let (name, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
        let fields = Reader::from_targets(Vec::new()).fields();
        let plan = Plan::load(name, text, &fields).unwrap();
        let network =
            Network { interface: lab.interface().to_owned(), own: true, ..Network::default() };
        Self { lab, plan, network }
    }

    /// All hosts of the lab.
    fn reader(&self) -> Reader {
        let name = |host: usize| Some(self.lab.hosts()[host].name.clone());
        let targets = self.lab.targets().iter();
        let port = self.plan.port();
        Reader::from_targets(targets.map(|t| Target::new(t.addr, port, name(t.host))).collect())
    }
}

/// Counts what a run reports; ends the run once `stop_after` records are written.
struct Seen<'a> {
    tally: Mutex<Tally>,
    records: Mutex<u64>,
    /// Connections started, as the telemetry last said.
    started: Mutex<u64>,
    stop_after: Option<(u64, &'a Handle)>,
}

impl<'a> Seen<'a> {
    fn new(bench: &Bench, stop_after: Option<(u64, &'a Handle)>) -> Self {
        Self {
            tally: Mutex::new(Tally::new(bench.lab.hosts(), "ecn")),
            records: Mutex::default(),
            started: Mutex::default(),
            stop_after,
        }
    }
}

impl Events for Seen<'_> {
    fn records(&self, records: &RecordBatch) {
        lab_table::count(&mut self.tally.lock().unwrap(), records);
        let mut seen = self.records.lock().unwrap();
        *seen += records.num_rows() as u64;
        if let Some((_, handle)) = self.stop_after.filter(|(after, _)| *seen >= *after) {
            handle.end(None, false);
        }
    }

    fn watch(&self, run: &Telemetry<'_>, ended: &Receiver<()>) -> Result<()> {
        loop {
            let over = ended.recv_timeout(Duration::from_millis(50));
            *self.started.lock().unwrap() = run.now().started;
            if over != Err(RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    }
}

/// A name for results in a folder of this check's own.
fn output(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("ecn.parquet")
}

fn agrees() {
    let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
    let spec = Spec { output: output(&folder), invoked_by: "a test".into(), ..Spec::default() };
    let (handle, seen) = (Handle::default(), Seen::new(&bench, None));
    let mut reader = bench.reader();
    let plan = (&bench.plan, "ecn");
    let outcome = Run::start(&spec, plan, &bench.network, &mut reader, &handle, &seen).unwrap();
    assert!(outcome.is_complete() && outcome.error.is_none(), "{:?}", outcome.error);
    let targets = bench.lab.targets().len() as u64;
    assert_eq!((outcome.records, *seen.records.lock().unwrap()), (targets, targets));
    assert!(*seen.started.lock().unwrap() >= 2 * targets, "the telemetry was read to the end");
    let tally = seen.tally.into_inner().unwrap();
    assert!(tally.agrees(), "a label contradicts the lab's truth");
    let metadata = Stored::open(&spec.output).unwrap().metadata();
    let value = |key: &str| metadata.iter().find(|(k, _)| k == key).unwrap().1.as_str();
    assert_eq!((value("command_line"), value("complete")), ("a test", "true"));
}

fn ends() {
    let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
    let spec = Spec { output: output(&folder), wave: Some(60), ..Spec::default() };
    let handle = Handle::default();
    let seen = Seen::new(&bench, Some((60, &handle)));
    let plan = (&bench.plan, "ecn");
    let mut reader = bench.reader();
    let outcome = Run::start(&spec, plan, &bench.network, &mut reader, &handle, &seen).unwrap();
    let targets = bench.lab.targets().len() as u64;
    assert!(outcome.interrupted && outcome.signal.is_none() && !outcome.is_complete());
    assert!((60..targets).contains(&outcome.records), "{} records", outcome.records);
    assert_eq!(outcome.resume.as_deref(), Some(spec.output.as_path()));
    let spec = Spec { resume: true, ..spec };
    let (handle, seen) = (Handle::default(), Seen::new(&bench, None));
    let mut reader = bench.reader();
    let outcome = Run::start(&spec, plan, &bench.network, &mut reader, &handle, &seen).unwrap();
    assert!(outcome.is_complete() && outcome.records == targets, "{} records", outcome.records);
    assert_eq!(*seen.records.lock().unwrap(), targets, "earlier records are reported, too");
    // Labels are not compared: the lab's faults that come in turn remember the first run.
}

fn refuses() {
    let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
    let spec = Spec { output: output(&folder), ..Spec::default() };
    let plan = (&bench.plan, "ecn");
    let start = |spec: &Spec, handle: &Handle, reader: &mut Reader| {
        Run::start(spec, plan, &bench.network, reader, handle, &()).map(|_| ()).unwrap_err()
    };
    let handle = Handle::default();
    let few = Spec { max_packets_per_target: 3, ..spec.clone() };
    let why = start(&few, &handle, &mut bench.reader());
    assert!(matches!(why, Error::NeedsSetting { setting: Setting::MaxPackets, .. }), "{why}");
    let none = start(&spec, &handle, &mut Reader::from_targets(Vec::new()));
    assert_eq!(none.kind(), ErrorKind::NothingToSend, "{none}");
    let again = Spec { resume: true, ..spec.clone() };
    let why = start(&again, &handle, &mut bench.reader());
    assert_eq!(why.kind(), ErrorKind::BadInput, "there is no run: {why}");
    handle.end(None, false);
    let ended = start(&spec, &handle, &mut bench.reader());
    assert!(ended.to_string().contains("nothing was sent"), "{ended}");
    assert!(!spec.output.exists(), "nothing was written");
}
