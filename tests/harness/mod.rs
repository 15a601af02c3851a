//! What the test programs without Rust's own harness share: a user namespace can be entered only by a process with one
//! thread, so the checks that need one run in a child of the program. Where none can be entered, they
//! count as skipped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

use pathspider::lab;

/// Set in the child.
const INSIDE: &str = "PATHSPIDER_TEST_INSIDE";
/// How the child ends where no namespace can be entered.
const SKIPPED: u8 = 77;

/// Runs, in a child, the checks in namespaces of its own; then those of the host as it is, which are told whether there
/// can be any.
pub fn main(outside: fn(&mut Tests, bool), inside: fn(&mut Tests)) -> ExitCode {
    // As nextest and others ask what there is.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let mut tests = Tests::default();
    if std::env::var_os(INSIDE).is_some() {
        if let Err(why) = lab::enter() {
            eprintln!("{why}");
            return ExitCode::from(SKIPPED);
        }
        inside(&mut tests);
        return tests.end();
    }
    let child =
        std::env::current_exe().and_then(|program| Command::new(program).env(INSIDE, "1").status());
    let status = child.unwrap_or_else(|why| panic!("run this program once more: {why}"));
    let namespaces = status.code() != Some(SKIPPED.into());
    match namespaces {
        true => tests.run("in namespaces of our own", || assert!(status.success(), "{status}")),
        false => tests.skip("in namespaces of our own", "no user namespace can be entered here"),
    }
    outside(&mut tests, namespaces);
    tests.end()
}

/// Names, verdicts, and a last line as a harness would write it.
#[derive(Default)]
pub struct Tests {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// What no test may leave changed.
    pub state: Option<fn() -> String>,
}

impl Tests {
    /// A panic is a failure.
    pub fn run(&mut self, name: &str, test: impl FnOnce()) {
        let before = self.state.map(|state| state());
        let mut ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let after = self.state.map(|state| state());
        if before != after {
            let [before, after] = [before, after].map(Option::unwrap_or_default);
            eprintln!("{}", differences(&before, &after));
            ok = false;
        }
        eprintln!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        *if ok { &mut self.passed } else { &mut self.failed } += 1;
    }

    /// Never counted as passed.
    pub fn skip(&mut self, name: &str, why: &str) {
        eprintln!("test {name} ... skipped: {why}");
        self.skipped += 1;
    }

    fn end(self) -> ExitCode {
        let Self { passed, failed, skipped, .. } = self;
        let word = if failed == 0 { "ok" } else { "FAILED" };
        eprintln!("test result: {word}. {passed} passed; {failed} failed; {skipped} ignored");
        ExitCode::from(u8::from(failed > 0))
    }
}

/// The lines in which two texts differ.
pub fn differences(before: &str, after: &str) -> String {
    let only = |these: &str, those: &str, sign: char| {
        let lines = these.lines().filter(|line| !those.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only(before, after, '-') + &only(after, before, '+')
}
