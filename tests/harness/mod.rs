//! What the test programs without Rust's own harness share. `cargo test NAME`, `--exact`, `--list`, `--test-threads` and
//! the rest of the options are those of libtest.
//!
//! Only a process with one thread can enter a user namespace, so each check runs in a child of the test program. The
//! program first starts a child that names the checks, and then one child for each check that was asked for, several at
//! the same time. Every child calls the same function, which builds what its checks share: a lab takes a tenth of a
//! second. What a check prints is shown if it fails, or with `--nocapture`.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, ExitStatus};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pathspider::lab;

mod signals;

/// Set in a child: which of the two functions it calls.
const PLACE: &str = "PATHSPIDER_TEST_PLACE";
/// Set in a child that runs a check: its name. Without it, the child names the checks.
const CHECK: &str = "PATHSPIDER_TEST_CHECK";
/// Set in a child of the host as it is, if a user namespace can be entered.
const NAMESPACES: &str = "PATHSPIDER_TEST_NAMESPACES";
/// The exit code of a child that cannot enter a user namespace.
const NO_NAMESPACE: u8 = 77;
/// Begins a line with which a child names a check.
const NAMED: &str = "\u{1e}check";
/// Checks at the same time, unless the caller says otherwise. More than there are processors, since most of a check
/// is waiting for a timeout.
const THREADS: usize = 6;
/// An ordinary user.
const NOBODY: u32 = 65_534;
/// What is shown for a program whose checks are not known, as they need a user namespace to be named.
const ALL: &str = "in namespaces of our own";

/// Runs the checks of both functions: those of `inside` each in a user namespace and a network namespace of its own,
/// those of `outside` on the host as it is. `outside` gets whether user namespaces can be entered.
pub fn main(outside: fn(&mut Tests, bool), inside: fn(&mut Tests)) -> ExitCode {
    run(outside, inside, &[None])
}

/// Runs the checks of `inside` as the caller, and for root again as an ordinary user.
pub fn main_as_users(inside: fn(&mut Tests)) -> ExitCode {
    run(|_, _| {}, inside, &[None, Some(NOBODY)])
}

fn run(outside: fn(&mut Tests, bool), inside: fn(&mut Tests), users: &[Option<u32>]) -> ExitCode {
    if let Ok(place) = std::env::var(PLACE) {
        return child(&place, outside, inside);
    }
    signals::default_in_children();
    let mut arguments = Arguments::from_args();
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|text| text.parse().ok());
    arguments.test_threads = arguments.test_threads.or(threads).or(Some(THREADS));
    let shown = arguments.nocapture;
    let mut trials = Vec::new();
    let mut namespaces = true;
    for user in users.iter().copied() {
        let mut place = Place { name: "inside", user, namespaces, shown: false };
        let why = match start(place, None) {
            _ if user.is_some() && !nix::unistd::geteuid().is_root() => "this is not root",
            Err(_) if user.is_some() => "an ordinary user cannot execute this program",
            Ok((status, _)) if status.code() == Some(NO_NAMESPACE.into()) => {
                namespaces = false;
                "no user namespace can be entered here"
            }
            Ok(named) => {
                place.shown = shown;
                add(&mut trials, place, named);
                continue;
            }
            Err(why) => panic!("run this program again: {why}"),
        };
        trials.push((ignored(&place.of(ALL), why), false));
    }
    let mut place = Place { name: "outside", user: None, namespaces, shown: false };
    let named = start(place, None).unwrap_or_else(|why| panic!("run this program again: {why}"));
    place.shown = shown;
    add(&mut trials, place, named);
    // Those that run alone come last, so that they hold up nobody.
    trials.sort_by_key(|(_, alone)| *alone);
    libtest_mimic::run(&arguments, trials.into_iter().map(|(trial, _)| trial).collect()).exit_code()
}

/// Where and as whom checks run, and whether what they print is shown at once.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    user: Option<u32>,
    namespaces: bool,
    shown: bool,
}

impl Place {
    /// The name of a check here.
    fn of(self, check: &str) -> String {
        if self.user.is_some() { format!("{check} (an ordinary user)") } else { check.to_owned() }
    }
}

/// How a child ended and what it printed.
type Ended = (ExitStatus, String);

/// Makes trials of the checks that a child named.
fn add(trials: &mut Vec<(Trial, bool)>, place: Place, (status, text): Ended) {
    if !status.success() {
        let (text, name) = (text.clone(), format!("the checks {} can be named", place.name));
        let failed = move || Err(Failed::from(format!("{status}\n{text}")));
        trials.push((Trial::test(place.of(&name), failed), false));
    }
    for line in text.lines().filter_map(|line| line.strip_prefix(NAMED)) {
        let mut parts = line.trim_start().splitn(3, '\t');
        let [kind, name, why] = [(); 3].map(|()| parts.next().unwrap_or_default().to_owned());
        let alone = kind == "alone";
        let trial = match kind.as_str() {
            "skip" => ignored(&place.of(&name), &why),
            _ => Trial::test(place.of(&name), move || one(&name, place, alone)),
        };
        trials.push((trial, alone));
    }
}

/// A check that says why it does not run.
fn ignored(name: &str, why: &str) -> Trial {
    let why = why.to_owned();
    Trial::ignorable_test(name, move || Ok(Completion::ignored_with(why)))
}

/// Runs one check in a child.
fn one(name: &str, place: Place, alone: bool) -> Result<(), Failed> {
    // A lock on a file holds between processes too, as other runners start one for each check.
    let lock = File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/alone.lock"))?;
    match alone {
        true => lock.lock()?,
        false => lock.lock_shared()?,
    }
    let (status, text) = start(place, Some(name))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{status}\n{text}").into()),
    }
}

/// Runs this program as a child, and gives back what it printed unless that was shown at once.
fn start(place: Place, check: Option<&str>) -> std::io::Result<Ended> {
    // Not a pipe: a process that outlives the check must not hold it up.
    let mut output = tempfile::tempfile()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(PLACE, place.name);
    check.map(|name| command.env(CHECK, name));
    if place.namespaces {
        command.env(NAMESPACES, "1");
    }
    if let Some(user) = place.user {
        // That user may not enter this folder.
        command.uid(user).gid(user).current_dir("/");
    }
    if !place.shown {
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    }
    let status = command.status()?;
    let mut text = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut text)?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// Names the checks, or runs one.
fn child(place: &str, outside: fn(&mut Tests, bool), inside: fn(&mut Tests)) -> ExitCode {
    let check = std::env::var(CHECK).ok();
    let mut tests = Tests { check, ..Tests::default() };
    if place == "outside" {
        outside(&mut tests, std::env::var_os(NAMESPACES).is_some());
        return tests.end();
    }
    if let Err(why) = lab::enter() {
        eprintln!("{why}");
        return ExitCode::from(NO_NAMESPACE);
    }
    inside(&mut tests);
    tests.end()
}

/// The checks of a program.
#[derive(Default)]
pub struct Tests {
    /// The one to run; without it they are named.
    check: Option<String>,
    passed: Option<bool>,
    /// What no check may leave changed.
    pub state: Option<fn() -> String>,
}

impl Tests {
    /// A check, under a name of its own; a panic is a failure.
    pub fn run<F: FnOnce()>(&mut self, name: &str, test: F) {
        self.check("run", name, "", test);
    }

    /// A check that runs while no other does, since it measures what others would disturb.
    pub fn alone<F: FnOnce()>(&mut self, name: &str, test: F) {
        self.check("alone", name, "", test);
    }

    /// A check that cannot run here; never counted as passed.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.check("skip", name, why, || {});
    }

    fn check(&mut self, kind: &str, name: &str, why: &str, test: impl FnOnce()) {
        match &self.check {
            None => {
                let mut out = std::io::stdout();
                writeln!(out, "\n{NAMED} {kind}\t{name}\t{why}").expect("a name is written");
            }
            Some(this) if this == name => {
                assert!(self.passed.is_none(), "two checks are named {name:?}");
                self.passed = Some(self.passes(test));
            }
            Some(_) => {}
        }
    }

    fn passes(&self, test: impl FnOnce()) -> bool {
        let before = self.state.map(|state| state());
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let after = self.state.map(|state| state());
        let same = before == after;
        if !same {
            let [before, after] = [before, after].map(Option::unwrap_or_default);
            eprintln!("it leaves this changed:\n{}", differences(&before, &after));
        }
        passed && same
    }

    fn end(self) -> ExitCode {
        match (self.check, self.passed) {
            (None, _) | (_, Some(true)) => ExitCode::SUCCESS,
            (_, Some(false)) => ExitCode::FAILURE,
            (Some(name), None) => {
                eprintln!("there is no check {name:?}");
                ExitCode::FAILURE
            }
        }
    }
}

// No program needs all of it.
const _: fn() = || {
    let _ = (main, main_as_users, Tests::run::<fn()>, Tests::alone::<fn()>, Tests::skip);
};

/// The lines in which two texts differ.
pub fn differences(before: &str, after: &str) -> String {
    let only = |these: &str, those: &str, sign: char| {
        let lines = these.lines().filter(|line| !those.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only(before, after, '-') + &only(after, before, '+')
}
