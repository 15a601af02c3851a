//! Signals that end a run: after the first no new wave begins and the wave in hand goes to its end, the second
//! stops at once. Either way steps are undone and what was finished is written.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use indicatif::HumanDuration;

use super::{ending, progress};
use crate::barrier::panic_point;
use crate::signals::{self, Action};
use crate::words::counted;

/// What was asked of a run by signals so far.
#[derive(Debug, Default)]
pub struct Stop {
    first: AtomicUsize,
    times: AtomicUsize,
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
    pub fn watch(&self, left: &dyn Fn() -> Remaining) {
        while let Some(signal) = ending::wait() {
            panic_point("signals");
            self.handle(signal, left);
        }
    }

    fn handle(&self, signal: i32, left: &dyn Fn() -> Remaining) {
        let at_once = signals::find(signal).is_some_and(|row| row.action == Action::EndNow);
        let before = self.times.fetch_add(if at_once { 2 } else { 1 }, Relaxed);
        if before == 0 {
            self.first.store(usize::try_from(signal).unwrap_or_default(), Relaxed);
        }
        match before {
            0 if !at_once => progress::tell(&first(signal, &left())),
            0 | 1 => progress::tell(&format!(
                "{}: stopping at once; what is not finished is given up, settings are put back",
                signals::name(signal)
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
        signals::name(signal),
        counted(left.attempts, "attempt[s]"),
        HumanDuration(left.most)
    )
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};

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
        let quit = Stop::default();
        quit.handle(SIGQUIT, &left);
        assert!(!quit.may_begin() && !quit.may_go_on(), "as a second one");
        let said = first(SIGTERM, &left());
        assert!(said.starts_with("SIGTERM: no new wave begins"), "{said}");
        assert!(said.contains("7 attempts left: about 1 second, 2 minutes at most"), "{said}");
    }
}
