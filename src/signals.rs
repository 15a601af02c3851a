//! Every signal, and what the program does on it.
//!
//! The handler (`cli::ending`), `reference` and `tests/ends.rs` use this table. Imports nothing from this crate.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc::{SIGRTMAX, SIGRTMIN, SIGSTKFLT};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGPROF,
    SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1,
    SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};

/// What the program does on a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stops gracefully: no new wave begins, the wave in flight is completed. A second such signal acts as
    /// [`EndNow`](Self::EndNow).
    End,
    /// Stops gracefully without waiting for the wave in flight.
    EndNow,
    /// If the process's own writes reached RLIMIT_FSIZE: the write fails with EFBIG, which is handled like a full
    /// disk. From another process: [`End`](Self::End).
    FileSize,
    /// For a fault of the processor: the program ends at once, since its memory cannot be trusted. From another
    /// process: [`End`](Self::End).
    Fault,
    /// Does nothing; the operation that caused it returns an error.
    Ignored,
    /// The kernel stops the process, and SIGCONT continues it.
    Stop,
    /// The kernel ends the process, which cannot do anything about it.
    Kill,
}

/// A signal.
#[derive(Debug)]
pub struct Row {
    /// Its name, such as `SIGTERM`.
    pub name: &'static str,
    /// Its numbers: one, except for the real-time signals.
    pub numbers: fn() -> RangeInclusive<i32>,
    /// What the program does.
    pub action: Action,
    /// The same for users, as a fragment.
    pub doc: &'static str,
}

const END: &str = "stops gracefully";

macro_rules! table {
    ($($name:literal $number:ident $action:ident $doc:expr;)*) => {
        &[$(Row { name: $name, numbers: || $number..=$number, action: Action::$action, doc: $doc }),*,
          Row { name: "SIGRTMIN to SIGRTMAX", numbers: || SIGRTMIN()..=SIGRTMAX(), action: Action::End, doc: END }]
    };
}

/// SIGPWR, which some libcs do not name.
const SIGPWR: i32 = nix::libc::SIGPWR;

/// Every signal whose default action ends or stops a process. 32 and 33 are missing: the C library reserves them, so
/// programs cannot handle them.
pub static SIGNALS: &[Row] = table! {
    "SIGINT" SIGINT End END;
    "SIGTERM" SIGTERM End END;
    "SIGHUP" SIGHUP End "stops gracefully; with `run --exclude`, reads the exclude lists again. Stays ignored if it was ignored at the start (`nohup`)";
    "SIGQUIT" SIGQUIT EndNow "stops gracefully at once, like a second Ctrl-C";
    "SIGUSR1" SIGUSR1 End END;
    "SIGUSR2" SIGUSR2 End END;
    "SIGALRM" SIGALRM End END;
    "SIGVTALRM" SIGVTALRM End END;
    "SIGPROF" SIGPROF End END;
    "SIGXCPU" SIGXCPU End "stops gracefully (RLIMIT_CPU: the kernel repeats it each second of CPU time, and the second one does not wait for the wave)";
    "SIGXFSZ" SIGXFSZ FileSize "RLIMIT_FSIZE: the write fails and is handled as a full disk; sent by another process: stops gracefully";
    "SIGIO" SIGIO End END;
    "SIGPWR" SIGPWR End END;
    "SIGSTKFLT" SIGSTKFLT End END;
    "SIGTRAP" SIGTRAP End END;
    "SIGSYS" SIGSYS End END;
    "SIGABRT" SIGABRT End "stops gracefully; when the program aborts itself (no memory left), ends at once: see `restore`";
    "SIGSEGV" SIGSEGV Fault "sent by another process: stops gracefully; a fault of the program: ends at once, see `restore`";
    "SIGBUS" SIGBUS Fault "as SIGSEGV";
    "SIGILL" SIGILL Fault "as SIGSEGV";
    "SIGFPE" SIGFPE Fault "as SIGSEGV";
    "SIGPIPE" SIGPIPE Ignored "ignored: the write to the closed pipe fails";
    "SIGTSTP" SIGTSTP Stop "stops the process until SIGCONT";
    "SIGTTIN" SIGTTIN Stop "stops the process until SIGCONT";
    "SIGTTOU" SIGTTOU Stop "stops the process until SIGCONT";
    "SIGSTOP" SIGSTOP Stop "stops the process until SIGCONT";
    "SIGKILL" SIGKILL Kill "ends the process at once: see `restore`";
};

impl Action {
    /// Whether the program handles the signal.
    pub fn is_handled(self) -> bool {
        matches!(self, Action::End | Action::EndNow | Action::FileSize | Action::Fault)
    }
}

/// The row of a signal.
pub fn find(number: i32) -> Option<&'static Row> {
    SIGNALS.iter().find(|row| (row.numbers)().contains(&number))
}

/// The name of a signal: `SIGTERM`, `SIGRTMIN+2`.
pub fn name(number: i32) -> String {
    match (find(number), number - SIGRTMIN()) {
        (Some(_), 0) => "SIGRTMIN".into(),
        (Some(_), offset @ 1..) => format!("SIGRTMIN+{offset}"),
        (Some(row), _) => row.name.into(),
        (None, _) => format!("signal {number}"),
    }
}

/// Waits until a descriptor is readable; an error if a signal that ends the command came.
type Wait = fn(BorrowedFd<'_>) -> io::Result<()>;
static WAIT: OnceLock<Wait> = OnceLock::new();

/// Sets how [`wait`] waits. Only the first call has an effect.
pub fn wait_by(wait: Wait) {
    let _ = WAIT.set(wait);
}

/// Waits until a descriptor is readable, or a signal that ends the command comes.
///
/// # Errors
/// If a signal came.
pub fn wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    if let Some(wait) = WAIT.get() {
        return wait(fd);
    }
    // The command leaves signals their default actions.
    while let Err(why) = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE) {
        if why != Errno::EINTR {
            return Err(why.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_ends_a_process_by_default_has_one_row() {
        // Those that are ignored by default (signal(7)), and the C library's own.
        let others =
            [nix::libc::SIGCHLD, nix::libc::SIGCONT, nix::libc::SIGURG, nix::libc::SIGWINCH];
        for number in (1..=SIGRTMAX()).filter(|number| !others.contains(number)) {
            let rows = SIGNALS.iter().filter(|row| (row.numbers)().contains(&number)).count();
            let own = (32..SIGRTMIN()).contains(&number);
            assert_eq!(rows, usize::from(!own), "{number}");
        }
    }

    #[test]
    fn names_of_signals() {
        for (number, expected) in [
            (SIGTERM, "SIGTERM"),
            (SIGPWR, "SIGPWR"),
            (SIGRTMIN(), "SIGRTMIN"),
            (SIGRTMAX(), "SIGRTMIN+30"),
            (99, "signal 99"),
        ] {
            assert_eq!(name(number), expected);
        }
    }
}
