//! Runs a program of a measurement: without a shell, in a process group of its own, for a bounded time, keeping the end of
//! its output.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::failure::Failure;
use crate::barrier::panic_point;
use crate::error::{Doing as _, Error, Result};
use crate::program as programs;

/// How much of the end of each stream is kept, in bytes.
pub const KEPT: usize = 4096;
/// How much of a failed program's standard error is in the message, in bytes.
const QUOTED: usize = 300;

/// The output of a program of a `command` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// The program and its arguments.
    pub line: String,
    /// How it ended: `exit status: 0`.
    pub status: String,
    /// The last 4 KiB of its standard output.
    pub stdout: String,
    /// The last 4 KiB of its standard error.
    pub stderr: String,
}

/// Runs a program and waits for it. Processes that it leaves in the background go on; when its time runs out, its whole
/// process group is killed.
///
/// # Errors
/// If it cannot be started, fails, or does not end in time.
pub(super) fn run(words: &[String], timeout: Duration) -> Result<CommandOutput, Failure> {
    let name = line(words);
    let doing = || format!("run the program {name}");
    let unchanged = |why: Error| Failure::Unchanged(why);
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| unchanged(Error::failed(doing(), "no program is named")))?;
    log::info!("running {name}");
    // The thread below closes its end of this pipe when the program has ended.
    let (gone, alive) = std::io::pipe().doing(doing).map_err(unchanged)?;
    let mut child = programs::named(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(doing)
        .map_err(unchanged)?;
    let id = Pid::from_raw(child.id().cast_signed());
    let watch = move || {
        // Without reaping it: until then no other process can have its id.
        panic_point("command");
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(id), flags) == Err(Errno::EINTR) {}
        drop(alive);
    };
    let watched = thread::Builder::new().name("command".into()).spawn(watch);
    let outcome = watched.doing(doing).and_then(|_| {
        let streams = (child.stdout.take(), child.stderr.take());
        listen(gone.as_fd(), streams, timeout).doing(doing)
    });
    let (in_time, stdout, stderr) = match outcome {
        Ok(heard) => heard,
        Err(why) => {
            end(&mut child, id);
            return Err(why.into());
        }
    };
    if !in_time {
        end(&mut child, id);
        let why = format!("it took longer than {timeout:?} and was killed{}", quoted(&stderr));
        return Err(Error::failed(doing(), why).into());
    }
    let status: ExitStatus = child.wait().doing(doing)?;
    if !status.success() {
        return Err(Error::failed(doing(), format!("{status}{}", quoted(&stderr))).into());
    }
    Ok(CommandOutput { line: name, status: status.to_string(), stdout, stderr })
}

/// The words of a command, with quotes around those that need them.
pub(super) fn line(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let words = words.iter().map(|word| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("{word:?}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Kills the program and its whole group. The program is not reaped yet, so the id is still its own.
fn end(child: &mut Child, group: Pid) {
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

/// The end of a program's standard error, fit for a line of a terminal.
fn quoted(stderr: &str) -> String {
    let text = stderr.trim();
    let start = text.ceil_char_boundary(text.len().saturating_sub(QUOTED));
    match &text[start..] {
        "" => String::new(),
        text => format!("; it printed {text:?}"),
    }
}

/// Reads both streams until the program has ended or its time has run out; returns whether it has ended.
fn listen(
    gone: BorrowedFd<'_>,
    (stdout, stderr): (Option<impl Read + AsFd>, Option<impl Read + AsFd>),
    timeout: Duration,
) -> std::io::Result<(bool, String, String)> {
    let until = Instant::now() + timeout;
    let (mut stdout, mut stderr) = (Stream::new(stdout)?, Stream::new(stderr)?);
    let ended = loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let wait = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut ready = vec![PollFd::new(gone, PollFlags::POLLIN)];
        ready.extend(stdout.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        ready.extend(stderr.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut ready, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(why) => return Err(why.into()),
        }
        let ended = ready[0].any().unwrap_or(true);
        stdout.fill()?;
        stderr.fill()?;
        if ended || left.is_zero() {
            break ended;
        }
    };
    Ok((ended, stdout.text(), stderr.text()))
}

/// One output stream of a program, and the end of what it printed.
struct Stream<R> {
    from: Option<R>,
    kept: Vec<u8>,
}

impl<R: Read + AsFd> Stream<R> {
    fn new(from: Option<R>) -> std::io::Result<Self> {
        if let Some(from) = &from {
            fcntl(from.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { from, kept: Vec::new() })
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is available, but no more at a time than a pipe holds: a program that prints without end has a time
    /// limit too.
    fn fill(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; KEPT];
        for _ in 0..16 {
            let Some(from) = &mut self.from else { return Ok(()) };
            match from.read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(bytes) => {
                    self.kept.extend_from_slice(&buffer[..bytes]);
                    self.kept.drain(..self.kept.len().saturating_sub(KEPT));
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str, timeout: Duration) -> Result<CommandOutput, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        run(&words, timeout).map_err(|why| why.into_error().to_string())
    }

    #[test]
    fn both_streams_are_kept() {
        let output = sh("echo to one; echo to two >&2", LONG).unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("to one\n", "to two\n"));
        assert_eq!(output.status, "exit status: 0");
        assert!(output.line.starts_with("sh -c "), "{}", output.line);
    }

    #[test]
    fn no_shell_reads_the_words() {
        let words = ["echo", "$HOME; *", "a  b"].map(str::to_owned);
        assert_eq!(run(&words, LONG).unwrap().stdout, "$HOME; * a  b\n");
    }

    #[test]
    fn only_the_end_of_long_output_is_kept() {
        let output = sh("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done", LONG).unwrap();
        assert_eq!(output.stdout.len(), KEPT);
        assert!(output.stdout.ends_with("19998\n19999\n"));
    }

    #[test]
    fn an_error_has_program_status_and_output() {
        let error = sh("echo 'no dish' >&2; exit 3", LONG).unwrap_err();
        assert!(error.starts_with("run the program sh -c "), "{error}");
        assert!(error.ends_with(": exit status: 3; it printed \"no dish\""), "{error}");
        let error = sh("kill -9 $$", LONG).unwrap_err();
        assert!(error.contains("signal: 9"), "{error}");
    }

    #[test]
    fn a_program_that_cannot_start_changed_nothing() {
        let why = run(&["pathspider-no-such".to_owned()], LONG).unwrap_err();
        assert!(matches!(why, Failure::Unchanged(_)));
        let error = why.into_error().to_string();
        assert!(error.starts_with("run the program pathspider-no-such: "), "{error}");
    }

    #[test]
    fn a_timeout_kills_the_whole_group() {
        // The program waits for its child, which holds a pipe until it ends.
        let (mut held, holder) = std::io::pipe().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&holder);
        fcntl(&holder, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        let script = format!("echo begun >&2; sh -c 'sleep 1000 >/proc/self/fd/{number}' & wait");
        let error = sh(&script, Duration::from_millis(300)).unwrap_err();
        assert!(
            error.ends_with("longer than 300ms and was killed; it printed \"begun\""),
            "{error}"
        );
        drop(holder);
        let mut rest = Vec::new();
        held.read_to_end(&mut rest).unwrap();
    }

    #[test]
    fn background_processes_are_not_waited_for() {
        // If they were, the time would run out.
        let output = sh("sleep 1000 & echo $!", LONG).unwrap();
        let sleeps = Pid::from_raw(output.stdout.trim().parse().unwrap());
        nix::sys::signal::kill(sleeps, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn endless_output_has_a_time_limit() {
        let error = sh("yes", Duration::from_millis(200)).unwrap_err();
        assert!(error.contains("longer than 200ms"), "{error}");
    }
}
