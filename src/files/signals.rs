//! Waits that end at a signal.
//!
//! Handlers of signals are installed with SA_RESTART, so a system call that waits goes on after them. What may wait for
//! long waits here instead: for the descriptor, or for the first signal.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::low_level::pipe;

use crate::error::{Doing as _, Interrupted, Result};

/// Readable from the first signal on: nothing is ever read from it.
static SIGNALLED: OnceLock<UnixStream> = OnceLock::new();

/// From now on the first of these signals ends every wait of [`Input`](super::Input)s, for good.
///
/// # Errors
/// If the kernel has no descriptors left, or a number is no signal that can be handled.
pub fn end_waits_on(signals: &[i32]) -> Result<()> {
    let doing = || "watch for signals";
    let (reader, writer) = UnixStream::pair().doing(doing)?;
    if SIGNALLED.set(reader).is_ok() {
        for signal in signals {
            pipe::register(*signal, writer.try_clone().doing(doing)?).doing(doing)?;
        }
    }
    Ok(())
}

/// Waits until `fd` can be read.
///
/// # Errors
/// [`Interrupted`] if a signal comes first, or came before.
pub(super) fn wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    let Some(signalled) = SIGNALLED.get() else { return wait_for(fd, None) };
    wait_for(fd, Some(signalled))
}

fn wait_for(fd: BorrowedFd<'_>, signalled: Option<&UnixStream>) -> io::Result<()> {
    let mut fds = vec![PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    fds.extend(signalled.map(|signalled| PollFd::new(signalled, PollFlags::IN)));
    loop {
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if fds.get(1).is_some_and(|signalled| !signalled.revents().is_empty()) {
            return Err(io::Error::other(Interrupted));
        }
        // An error of it is for the one who reads.
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_wait_ends_at_the_signal_or_when_there_is_something() {
        let (signalled, mut signal) = UnixStream::pair().unwrap();
        let (silent, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"x").unwrap();
        wait_for(silent.as_fd(), Some(&signalled)).unwrap();
        signal.write_all(b"X").unwrap();
        for _ in 0..2 {
            let why = wait_for(silent.as_fd(), Some(&signalled)).unwrap_err();
            assert!(why.get_ref().unwrap().is::<Interrupted>(), "{why}");
        }
    }
}
