//! Shows a run in progress: on the terminal, in the status, as metrics.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use super::metrics;
use super::progress::{Display, FRAME, LINE};
use super::status::Status;
use crate::barrier::panic_point;
use crate::engine::scheduler::Limits;
use crate::run::about;
use crate::run::snapshot::{Every, Pace};
use crate::run::telemetry::Telemetry;
use crate::step::Turns;

/// Interval of status lines.
const STATUS: Duration = Duration::from_secs(1);

/// What is left of the wave in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Attempts.
    pub attempts: u64,
    /// How long they take at the recent pace, if known.
    pub likely: Option<Duration>,
    /// How long they take if none is answered.
    pub most: Duration,
}

/// The run as metrics for Prometheus.
pub fn metrics(run: &Telemetry<'_>) -> String {
    let names: Vec<&'static str> = run.plan.configs.iter().map(|config| config.name).collect();
    let now = run.now();
    let began = SystemTime::now().checked_sub(now.elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
    let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metrics::text(&now, &run.plan.name, &names, began.as_secs_f64())
}

/// How long the wave in flight may take.
pub fn remaining(run: &Telemetry<'_>, pace: &Mutex<Pace>) -> Remaining {
    let pace = pace.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let attempts = run.now().wave_left;
    let timeout = run.plan.configs.iter().map(|config| config.connection.timeout).max();
    let turns = match run.plan.turns() {
        Turns::Waves => run.plan.configs.len() as u32,
        Turns::Overlapping | Turns::AtOnce => 1,
    };
    let most = longest(attempts, run.limits, timeout.unwrap_or(run.plan.timeout), turns);
    let likely = pace.time_for(attempts).map(|likely| likely.min(most));
    Remaining { attempts, likely, most }
}

/// Shows the progress of the run on the terminal and in the status until `ended` is closed; keeps `pace` up to date.
pub fn show(
    run: &Telemetry<'_>,
    ended: &Receiver<()>,
    quiet: bool,
    mut status: Option<&mut Status>,
    pace: &Mutex<Pace>,
) {
    let display = Display::new(quiet);
    let (mut lines, mut states) = (Every::new(LINE), Every::new(STATUS));
    loop {
        let over = ended.recv_timeout(FRAME) != Err(RecvTimeoutError::Timeout);
        let now = run.now();
        if now.wave > 0 {
            panic_point("live");
        }
        let pace = {
            let mut pace = pace.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            pace.handle(now.elapsed, now.progress());
            pace.clone()
        };
        let line = lines.is_due(now.elapsed);
        let text = || (now.phase(&pace), now.found(&pace));
        display.show(now.elapsed, (now.progress(), now.total()), line, &text);
        if let Some(status) = &mut status {
            let due = states.is_due(now.elapsed);
            let line = || now.json(&pace, &about::utc(SystemTime::now()));
            match (over, due) {
                (true, _) => status.remember(line()),
                (false, true) => status.progress(line()),
                (false, false) => {}
            }
        }
        if over {
            return display.end();
        }
    }
}

/// How long this many attempts take if none is answered: each one holds its slot for the timeout, and each
/// turn with a barrier ends a timeout after its last start.
fn longest(attempts: u64, limits: Limits, timeout: Duration, turns: u32) -> Duration {
    let slots = limits.concurrency as f64 / timeout.as_secs_f64().max(1e-3);
    let per_second = limits.rate.map_or(slots, |rate| slots.min(f64::from(rate)));
    let starts = Duration::try_from_secs_f64(attempts as f64 / per_second.max(1e-9));
    starts.unwrap_or(Duration::MAX).saturating_add(timeout.saturating_mul(turns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scheduler::Caps;

    #[test]
    fn limits_and_timeouts_bound_the_time_of_a_wave() {
        let second = Duration::from_secs(1);
        let limits = |concurrency, rate| Limits { concurrency, rate, caps: Caps::default() };
        assert_eq!(longest(5000, limits(1000, Some(100)), 3 * second, 2), 56 * second);
        assert_eq!(longest(5000, limits(1000, None), 3 * second, 2), 21 * second);
        assert_eq!(longest(0, limits(1, None), second, 2), 2 * second);
    }
}
