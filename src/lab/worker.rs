//! Common to the lab's threads: each waits in its own poll, and all stop when the lab is dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::error::{Doing, Result};

/// The token of the waker.
pub(crate) const WAKE: usize = 0;
/// The first token for a worker's own use.
pub(crate) const FIRST: usize = 1;

/// Stops workers, and waits for them.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
}

/// A worker's view of it.
#[derive(Debug, Clone)]
pub(crate) struct Stopped(Arc<AtomicBool>);

impl Stopped {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Stop {
    /// Creates the poll of a new worker, which wakes up when it must stop.
    pub(crate) fn worker(&mut self) -> Result<(Poll, Stopped)> {
        let poll = Poll::new().doing(|| "make a poll for a lab thread")?;
        let waker = Waker::new(poll.registry(), Token(WAKE)).doing(|| "make a lab waker")?;
        self.wakers.push(waker);
        Ok((poll, Stopped(Arc::clone(&self.flag))))
    }

    /// The stop flag for a thread that never waits.
    pub(crate) fn flag(&self) -> Stopped {
        Stopped(Arc::clone(&self.flag))
    }

    /// Adds a thread to wait for.
    pub(crate) fn joins(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Release);
        for waker in &self.wakers {
            if let Err(error) = waker.wake() {
                log::warn!("lab: wake a thread to stop it: {error}");
            }
        }
        for thread in self.threads.drain(..) {
            // Its panic was printed when it happened, and there is nothing to undo.
            drop(thread.join());
        }
    }
}

/// Polls; an interruption by a signal is an empty result.
pub(crate) fn poll(poll: &mut Poll, events: &mut Events, wait: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, wait) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}
