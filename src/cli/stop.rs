//! Signals that end a run: after the first no new wave begins and the wave in hand goes to its end, the second
//! stops at once. Either way steps are undone and what was finished is written.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use indicatif::HumanDuration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::out;
use crate::error::{Doing as _, Result};
use crate::files;
use crate::words::counted;

/// What was asked of a run by signals so far.
#[derive(Debug, Default)]
pub struct Stop {
    first: AtomicUsize,
    times: AtomicUsize,
}

/// Ends the wait for signals when it is dropped, whatever ends the run.
#[derive(Debug)]
pub struct Watching(Handle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// From here on the signals are ours; they wait until [`Stop::watch`]. SIGHUP may mean something else.
pub fn signals(hangup_is_another: bool) -> Result<Signals> {
    let all = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let ours: Vec<i32> = all.filter(|signal| *signal != SIGHUP || !hangup_is_another).collect();
    let signals = Signals::new(&ours).doing(|| "watch for signals")?;
    // Second, so that whoever waited finds that the signal came.
    files::end_waits_on(&ours)?;
    Ok(signals)
}

/// What ends the wait for them.
pub fn watching(signals: &Signals) -> Watching {
    Watching(signals.handle())
}

impl Stop {
    /// The signal that ends the run, 0 if none came.
    pub fn signal(&self) -> usize {
        self.first.load(Relaxed)
    }

    /// Whether a new wave may begin.
    pub fn may_begin(&self) -> bool {
        self.times.load(Relaxed) == 0
    }

    /// Whether the wave in hand may go on.
    pub fn may_go_on(&self) -> bool {
        self.times.load(Relaxed) < 2
    }

    /// Takes signals as they come, and says what follows, until the wait is ended; `left` is how long the wave in
    /// hand may take: likely, and at most.
    pub fn watch(&self, signals: &mut Signals, left: &dyn Fn() -> Remaining) {
        for signal in signals.forever() {
            self.handle(signal, left);
        }
    }

    fn handle(&self, signal: i32, left: &dyn Fn() -> Remaining) {
        match self.times.fetch_add(1, Relaxed) {
            0 => {
                self.first.store(usize::try_from(signal).unwrap_or_default(), Relaxed);
                out::tell(&first(signal, &left()));
            }
            1 => out::tell(&format!(
                "{}: stopping at once; what is not finished is given up, settings are put back",
                name(signal)
            )),
            // It is about to end.
            _ => {}
        }
    }
}

/// What is left of the wave in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Attempts.
    pub attempts: u64,
    /// How long they take at the pace of late, if that is known.
    pub likely: Option<Duration>,
    /// How long they take if none is answered.
    pub most: Duration,
}

fn first(signal: i32, left: &Remaining) -> String {
    let likely =
        left.likely.map_or_else(String::new, |time| format!("about {}, ", HumanDuration(time)));
    format!(
        "{}: no new wave begins; the wave in hand goes to its end ({} left: {likely}{} at most). Once more \
         to stop at once: settings are put back then, too",
        name(signal),
        counted(left.attempts, "attempt[s]"),
        HumanDuration(left.most)
    )
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("signal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_lets_the_wave_end_and_the_second_does_not() {
        let stop = Stop::default();
        let second = Duration::from_secs(1);
        let left = || Remaining { attempts: 7, likely: Some(second), most: 90 * second };
        assert!(stop.may_begin() && stop.may_go_on() && stop.signal() == 0);
        stop.handle(SIGTERM, &left);
        assert!(!stop.may_begin() && stop.may_go_on());
        stop.handle(SIGINT, &left);
        assert!(!stop.may_begin() && !stop.may_go_on());
        assert_eq!(stop.signal(), usize::try_from(SIGTERM).unwrap());
        let said = first(SIGTERM, &left());
        assert!(said.starts_with("SIGTERM: no new wave begins"), "{said}");
        assert!(said.contains("7 attempts left: about 1 second, 2 minutes at most"), "{said}");
    }
}
