//! Handles the signals of [`signals`](crate::signals) for every command that changes the host or writes a file.
//!
//! The handler only stores which signal came. The command polls it ([`came`], [`check`]) where it can stop gracefully, or
//! waits for it ([`wait`]). Reads that may block forever use [`signals::wait`].
#![expect(unsafe_code, reason = "a handler that sees where a signal came from")]

use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

use indicatif::HumanDuration;
use nix::errno::Errno;
use nix::libc::{SI_USER, siginfo_t};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use signal_hook::consts::SIGHUP;

use crate::barrier::panic_point;
use crate::error::{Doing as _, Error, Interrupted, Result};
use crate::report::page;
use crate::report::watch::Remaining;
use crate::run::handle::Handle;
use crate::signals::{self, Action, SIGNALS};
use crate::words::counted;

/// The first signal received, 0 before.
static FIRST: AtomicI32 = AtomicI32::new(0);
static PIPES: OnceLock<Pipes> = OnceLock::new();
/// Whether [`wait`] has ended.
static OVER: AtomicBool = AtomicBool::new(false);

/// Pipes that the handler writes to.
struct Pipes {
    /// Readable after the first signal. It is never read.
    came: (PipeReader, PipeWriter),
    /// One octet per signal, for [`wait`].
    queue: (PipeReader, PipeWriter),
}

/// Installs the handler. Call it before any thread is started and before anything is changed. With
/// `hangup_is_another`, SIGHUP is left to the caller.
///
/// # Errors
/// If the kernel refuses.
pub fn catch(hangup_is_another: bool) -> Result<()> {
    let doing = || "handle signals";
    let pipes = || -> io::Result<Pipes> {
        let pipes = Pipes { came: io::pipe()?, queue: io::pipe()? };
        for pipe in [&pipes.came.1, &pipes.queue.1] {
            let nonblock = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
            nix::fcntl::fcntl(pipe, nonblock)?;
        }
        Ok(pipes)
    };
    let pipes = PIPES.set(pipes().doing(doing)?);
    debug_assert!(pipes.is_ok(), "signals are handled already");
    signals::wait_by(readable);
    // A blocked signal would never arrive, and threads inherit the mask of their parent.
    SigSet::all().thread_unblock().doing(doing)?;
    for row in SIGNALS.iter().filter(|row| row.action.is_handled()) {
        for number in (row.numbers)() {
            if number == SIGHUP && (hangup_is_another || is_ignored(SIGHUP)) {
                continue;
            }
            let action = row.action;
            let handler = move |info: &siginfo_t| note(number, action, info);
            // SAFETY: `note` uses atomics and write(2), which are async-signal-safe, and keeps errno. It does not panic.
            let registered = unsafe { signal_hook_registry::register_unchecked(number, handler) };
            registered.doing(|| format!("handle {}", signals::name(number)))?;
        }
    }
    Ok(())
}

/// Whether a signal was ignored when the program was started, as with nohup.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (number - 1)) != 0
}

/// The handler.
fn note(number: i32, action: Action, info: &siginfo_t) {
    // SAFETY: si_pid is set for what kill(2), tgkill(2) and sigqueue(3) sent; the kernel has 0 there otherwise.
    let from_another =
        info.si_code <= SI_USER && unsafe { info.si_pid() } != std::process::id().cast_signed();
    match action {
        Action::Fault if info.si_code > SI_USER => {
            // Take the default action: the program's memory cannot be trusted.
            let _ = signal_hook::low_level::emulate_default_handler(number);
            return;
        }
        Action::FileSize if !from_another => return,
        _ => {}
    }
    let _ = FIRST.compare_exchange(0, number, SeqCst, SeqCst);
    if let Some(pipes) = PIPES.get() {
        // A full pipe wakes the reader as well.
        let _ = nix::unistd::write(&pipes.came.1, &[1]);
        let _ = nix::unistd::write(&pipes.queue.1, &[number.to_ne_bytes()[0]]);
    }
}

/// The signal that ends the command, if one was received.
pub fn came() -> Option<i32> {
    Some(FIRST.load(SeqCst)).filter(|number| *number != 0)
}

/// Fails if a signal was received; `doing` names the command and what it did not do.
///
/// # Errors
/// [`Error::Signal`] if one was received.
pub fn check(doing: impl FnOnce() -> String) -> Result<()> {
    came().map_or(Ok(()), |number| {
        Err(Error::Signal { operation: doing(), name: signals::name(number), number })
    })
}

/// The line of a summary that reports the signal that ended the command early; empty if there was none.
pub fn ended_early() -> String {
    let line =
        |number| format!("ended early by {}; results so far are written\n", signals::name(number));
    came().map(line).unwrap_or_default()
}

/// Waits for the next signal; `None` once [`Watching`] was dropped.
pub fn wait() -> Option<i32> {
    let mut number = [0];
    (&PIPES.get()?.queue.0).read_exact(&mut number).ok()?;
    (!OVER.load(SeqCst)).then(|| i32::from(number[0]))
}

/// Stops a run on signals, and reports what follows, until the wait is ended; `left` is how long the wave in flight may
/// take.
pub fn watch(handle: &Handle, left: &dyn Fn() -> Remaining) {
    while let Some(signal) = wait() {
        panic_point("signals");
        if let Some(text) = end(handle, signal, left) {
            page::tell(&text);
        }
    }
}

/// Stops a run because of a signal; returns the message.
fn end(handle: &Handle, signal: i32, left: &dyn Fn() -> Remaining) -> Option<String> {
    let at_once = signals::find(signal).is_some_and(|row| row.action == Action::EndNow);
    match handle.end(Some(signal), at_once) {
        0 if !at_once => Some(first(signal, &left())),
        0 | 1 => Some(format!(
            "{}: stopping at once; unfinished targets are dropped, settings are restored",
            signals::name(signal)
        )),
        // The run is about to end.
        _ => None,
    }
}

fn first(signal: i32, left: &Remaining) -> String {
    let likely =
        left.likely.map_or_else(String::new, |time| format!("about {}, ", HumanDuration(time)));
    format!(
        "{}: no new wave begins; the wave in flight is completed ({} left: {likely}{} at most). Press again to stop at \
         once: settings are restored then, too",
        signals::name(signal),
        counted(left.attempts, "attempt[s]"),
        HumanDuration(left.most)
    )
}

/// Ends the wait for signals when it is dropped.
#[derive(Debug)]
pub struct Watching;

impl Drop for Watching {
    fn drop(&mut self) {
        OVER.store(true, SeqCst);
        if let Some(pipes) = PIPES.get() {
            // A full pipe wakes the waiting thread as well.
            let _ = nix::unistd::write(&pipes.queue.1, &[0]);
        }
    }
}

/// Waits until a descriptor can be read; an error if a signal came.
fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let Some(pipes) = PIPES.get() else { return Ok(()) };
    let mut fds = [pipes.came.0.as_fd(), fd].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while let Err(why) = poll(&mut fds, PollTimeout::NONE) {
        if why != Errno::EINTR {
            return Err(why.into());
        }
    }
    match came() {
        Some(_) if fds[0].any() == Some(true) => Err(io::Error::other(Interrupted)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};

    use super::*;

    #[test]
    fn the_first_signal_says_how_long_the_wave_may_take() {
        let second = Duration::from_secs(1);
        let left = || Remaining { attempts: 7, likely: Some(second), most: 90 * second };
        let handle = Handle::default();
        let said = end(&handle, SIGTERM, &left).unwrap();
        assert!(said.starts_with("SIGTERM: no new wave begins"), "{said}");
        assert!(said.contains("7 attempts left: about 1 second, 2 minutes at most"), "{said}");
        assert!(end(&handle, SIGINT, &left).unwrap().starts_with("SIGINT: stopping at once"));
        assert!(end(&handle, SIGINT, &left).is_none());
        let quit = Handle::default();
        assert!(end(&quit, SIGQUIT, &left).unwrap().starts_with("SIGQUIT: stopping at once"));
        assert!(!quit.may_go_on(), "SIGQUIT counts as a second signal");
    }
}
