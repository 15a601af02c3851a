//! A handle that stops a run from outside: gracefully, or at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};

use crate::error::{Error, Result};
use crate::signals;

/// Stops a run, or makes it read its exclusion lists again. Usable from any thread.
#[derive(Debug)]
pub struct Handle {
    /// The first signal that ended the run, 0 if none did.
    signal: AtomicI32,
    /// 0 while the run continues, 1 when no new wave may begin, 2 or more when it stops at once.
    level: AtomicUsize,
    reread: Arc<AtomicBool>,
    early: fn() -> Option<i32>,
}

impl Default for Handle {
    fn default() -> Self {
        Self::with(|| None)
    }
}

impl Handle {
    /// A handle that also polls `early` for a signal that was received but not yet passed to [`Handle::end`].
    pub fn with(early: fn() -> Option<i32>) -> Self {
        Self {
            signal: AtomicI32::new(0),
            level: AtomicUsize::new(0),
            reread: Arc::default(),
            early,
        }
    }

    /// Ends the run. After the first call no new wave begins and the wave in flight is completed. The second call stops
    /// the run at once, as does a first call with `at_once`. Returns 0 for the first call, 1 if the wave in flight was
    /// being completed, and more if the run was stopping at once.
    pub fn end(&self, signal: Option<i32>, at_once: bool) -> usize {
        let before = self.level.fetch_add(if at_once { 2 } else { 1 }, Relaxed);
        if before == 0 {
            self.signal.store(signal.unwrap_or_default(), Relaxed);
        }
        before
    }

    /// A flag that makes the run read its exclusion lists again; a signal handler may set it.
    pub fn reread(&self) -> Arc<AtomicBool> {
        self.reread.clone()
    }

    /// Whether to read the exclusion lists again. Clears the flag.
    pub(super) fn takes_reread(&self) -> bool {
        self.reread.swap(false, Relaxed)
    }

    /// Whether the run was ended from outside.
    pub fn is_ended(&self) -> bool {
        self.level.load(Relaxed) > 0 || (self.early)().is_some()
    }

    /// The signal that ended the run, if one did.
    pub fn signal(&self) -> Option<i32> {
        let signal = Some(self.signal.load(Relaxed)).filter(|signal| *signal > 0);
        // A wait for the list may end before the thread that takes signals has noticed.
        signal.or_else(self.early)
    }

    /// Whether a new wave may begin.
    pub fn may_begin(&self) -> bool {
        self.level.load(Relaxed) == 0
    }

    /// Whether the wave in flight may go on.
    pub fn may_go_on(&self) -> bool {
        self.level.load(Relaxed) < 2
    }

    /// Fails if the run was ended; `doing` names the operation and what it did not do.
    ///
    /// # Errors
    /// [`Error::Signal`] if a signal ended it, [`Error::Failed`] if another program did.
    pub fn check(&self, doing: impl FnOnce() -> String) -> Result<()> {
        match (self.is_ended(), self.signal()) {
            (false, _) => Ok(()),
            (true, None) => Err(Error::Failed(format!("{}: it was ended", doing()))),
            (true, Some(number)) => {
                Err(Error::Signal { operation: doing(), name: signals::name(number), number })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGINT, SIGTERM};

    use super::*;

    #[test]
    fn the_first_call_lets_the_wave_end_and_the_second_does_not() {
        let handle = Handle::default();
        assert!(handle.may_begin() && handle.may_go_on() && handle.signal().is_none());
        assert_eq!(handle.end(Some(SIGTERM), false), 0);
        assert!(!handle.may_begin() && handle.may_go_on() && handle.is_ended());
        assert_eq!(handle.end(Some(SIGINT), false), 1);
        assert!(!handle.may_begin() && !handle.may_go_on());
        assert_eq!(handle.signal(), Some(SIGTERM));
        let now = Handle::default();
        now.end(None, true);
        assert!(!now.may_begin() && !now.may_go_on(), "like a second call");
        assert!(now.check(|| "x".into()).is_err() && now.signal().is_none());
    }

    #[test]
    fn no_number_of_calls_lets_a_run_go_on() {
        let handle = Handle::default();
        for _ in 0..1000 {
            handle.end(Some(SIGINT), true);
            assert!(!handle.may_begin() && !handle.may_go_on() && handle.is_ended());
        }
    }

    #[test]
    fn a_signal_not_yet_passed_on_counts() {
        let handle = Handle::with(|| Some(SIGINT));
        assert!(handle.is_ended() && handle.may_begin());
        assert_eq!(handle.signal(), Some(SIGINT));
        assert!(handle.check(|| "x".into()).is_err());
    }
}
