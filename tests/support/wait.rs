//! Waiting for a condition that nothing reports.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a condition may take, also on a machine that is busy with other things.
const MOST: Duration = Duration::from_secs(120);
/// How long the processor is left to others between two looks, in milliseconds.
const BETWEEN: u16 = 1;

/// Waits until it is so.
pub fn until<F: FnMut() -> bool>(what: &str, done: F) {
    look(what, None, done);
}

/// Waits until it is so while a process runs; it must not end before.
pub fn until_of<F: FnMut() -> bool>(child: &mut Child, what: &str, done: F) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    look(what, Some(process.as_fd()), done);
}

fn look(what: &str, process: Option<BorrowedFd<'_>>, mut done: impl FnMut() -> bool) {
    let last = Instant::now() + MOST;
    let mut watched: Vec<PollFd<'_>> =
        process.into_iter().map(|process| PollFd::new(process, PollFlags::POLLIN)).collect();
    while !done() {
        assert!(Instant::now() < last, "still not so after {MOST:?}: {what}");
        let ended = poll(&mut watched, PollTimeout::from(BETWEEN)).unwrap() > 0;
        // What it did last counts.
        assert!(!ended || done(), "the process ended before this: {what}");
        if ended {
            return;
        }
    }
}
