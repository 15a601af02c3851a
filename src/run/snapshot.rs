//! A run at one moment: plain data, as text and as JSON.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration};
use serde_json::{Map, Value, json};

use super::counts::Counts;
use super::verdicts::{ALWAYS, CLASSES};
use crate::words::inflected;

/// A run at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Time since this session began.
    pub elapsed: Duration,
    /// Counts of engine and capture in this session.
    pub counts: Counts,
    /// Attempts started.
    pub started: u64,
    /// Attempts per target.
    pub per_target: u64,
    /// Targets to probe, 0 if unknown.
    pub expected: u64,
    /// Targets handed to the engine for the first time.
    pub probed: u64,
    /// Number of re-probes.
    pub reprobed: u64,
    /// The same, of the waves before the one in flight.
    pub reprobed_before: u64,
    /// Records, of all sessions.
    pub records: u64,
    /// Records by class.
    pub verdicts: [u64; CLASSES.len()],
    /// How often each label was given.
    pub labels: BTreeMap<String, u64>,
    /// Waves begun.
    pub wave: u64,
    /// Attempts in flight of the current wave.
    pub wave_left: u64,
    /// Searches for the places of labels that began, and that are over.
    pub searches: [u64; 2],
    /// The configurations in force.
    pub configurations: Vec<&'static str>,
    /// A signal came.
    pub stopping: bool,
}

impl Snapshot {
    /// Attempts that have ended.
    pub fn ended(&self) -> u64 {
        self.counts.attempts.iter().sum()
    }

    /// Progress in attempts: all attempts of earlier waves count, needed or not.
    pub fn progress(&self) -> u64 {
        ((self.probed + self.reprobed) * self.per_target).saturating_sub(self.wave_left)
    }

    /// Targets probed once under every configuration, by the number of attempts.
    pub fn done(&self) -> u64 {
        let turns = self.progress() / self.per_target.max(1);
        turns.saturating_sub(self.reprobed_before).min(self.probed)
    }

    /// Targets in all, if known: never fewer than were probed.
    pub fn targets(&self) -> Option<u64> {
        (self.expected > 0).then(|| self.expected.max(self.probed))
    }

    /// Attempts in all, rounds so far included, if known.
    pub fn total(&self) -> Option<u64> {
        self.targets().map(|targets| (targets + self.reprobed) * self.per_target)
    }

    /// Packets that were dropped.
    pub fn dropped(&self) -> u64 {
        let [_, dropped, interface_dropped, _] = self.counts.packets;
        dropped + interface_dropped
    }

    /// Estimated time left at this pace.
    pub fn left(&self, pace: &Pace) -> Option<Duration> {
        pace.time_for(self.total()?.saturating_sub(self.progress()))
    }

    /// Describes progress and results.
    pub fn found(&self, pace: &Pace) -> String {
        let mut line = HumanCount(self.done()).to_string();
        if let Some(targets) = self.targets() {
            line += &format!("/{}", HumanCount(targets));
        }
        line += inflected(self.targets().unwrap_or(self.done()), " target[s]").as_str();
        // Before the verdicts: a narrow terminal cuts the end off.
        let per_second = pace.per_second().unwrap_or_default() / self.per_target.max(1) as f64;
        line += &format!(", {per_second:.0}/s, {} dropped", HumanCount(self.dropped()));
        if self.reprobed > 0 {
            line += &format!(", {} re-probed", HumanCount(self.reprobed));
        }
        // Verdicts follow when the first wave has ended.
        if self.records == 0 && self.ended() > 0 {
            let [ok, failed, timeout, ..] = self.counts.attempts.map(HumanCount);
            return line + &format!(", attempts: {ok} ok, {failed} failed, {timeout} timed out");
        }
        let order = ALWAYS.iter().chain(CLASSES.iter().filter(|class| !ALWAYS.contains(class)));
        for class in order {
            let count: u64 =
                CLASSES.iter().zip(self.verdicts).filter(|(c, _)| *c == class).map(|c| c.1).sum();
            if count > 0 || ALWAYS.contains(class) {
                line += &format!(", {} {}", HumanCount(count), class.replace('_', " "));
            }
        }
        line
    }

    /// Describes the current phase.
    pub fn phase(&self, pace: &Pace) -> String {
        let [searches, over] = self.searches;
        let is_searching = over < searches;
        let searching = is_searching
            .then(|| format!("locating: {} of {} done", HumanCount(over), HumanCount(searches)));
        // No attempt is in flight during a search, and its time does not follow from that of attempts.
        let left = self.left(pace).filter(|_| !is_searching);
        let left = left.map(|left| format!("{} left", HumanDuration(left)));
        let configuration = match self.configurations[..] {
            _ if is_searching => None,
            [] => None,
            [one] => Some(format!("configuration {one}")),
            _ => Some("all configurations".into()),
        };
        let stopping = self.stopping.then(|| "stopping".to_owned());
        let words: Vec<String> =
            [searching, left, configuration, stopping].into_iter().flatten().collect();
        words.join(", ")
    }

    /// The fields of a status line.
    pub fn json(&self, pace: &Pace, now: &str) -> Value {
        let [ok, failed, timeout, local_error, skipped] = self.counts.attempts;
        let [seen, dropped, interface_dropped, unread] = self.counts.packets;
        let per_second = pace.per_second();
        let verdicts = CLASSES.iter().zip(self.verdicts);
        let verdicts: Map<String, Value> =
            verdicts.map(|(class, count)| ((*class).to_owned(), count.into())).collect();
        json!({
            "event": "progress",
            "time": now,
            "seconds": self.elapsed.as_secs_f64(),
            "targets": {
                "asked": self.probed,
                "asked_again": self.reprobed,
                "done": self.done(),
                "expected": self.targets(),
            },
            "records": self.records,
            "verdicts": verdicts,
            "labels": self.labels,
            "attempts": {
                "started": self.started, "ended": self.ended(), "ok": ok, "failed": failed,
                "timeout": timeout, "local_error": local_error, "skipped": skipped,
                "per_second": per_second,
            },
            "packets": { "seen": seen, "dropped": dropped, "dropped_by_interface": interface_dropped,
                         "not_understood": unread },
            "flows": { "evicted": self.counts.evicted },
            "searches": { "started": self.searches[0], "ended": self.searches[1] },
            "seconds_left": self.left(pace).map(|left| left.as_secs_f64()),
            "wave": self.wave,
            "wave_attempts_left": self.wave_left,
            "configurations": self.configurations,
            "stopping": self.stopping,
        })
    }
}

/// The recent rate of attempts.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Times with the number of attempts ended by then, oldest first.
    seen: VecDeque<(Duration, u64)>,
}

/// Length of the window: two turns of a usual wave, so that barriers do not distort the rate.
const LATELY: Duration = Duration::from_secs(30);

impl Pace {
    /// `ended` attempts were done by this time.
    pub fn handle(&mut self, now: Duration, ended: u64) {
        self.seen.push_back((now, ended));
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= LATELY) {
            self.seen.pop_front();
        }
    }

    /// Attempts per second.
    pub fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.seen.front()?, self.seen.back()?);
        let seconds = to.saturating_sub(*from).as_secs_f64();
        (seconds > 0.0).then(|| after.saturating_sub(*before) as f64 / seconds)
    }

    /// Estimated time for this many attempts.
    pub fn time_for(&self, attempts: u64) -> Option<Duration> {
        let pace = self.per_second().filter(|pace| *pace > 0.0)?;
        Duration::try_from_secs_f64(attempts as f64 / pace).ok()
    }
}

/// A periodic task.
#[derive(Debug, Clone, Copy)]
pub struct Every {
    every: Duration,
    next: Duration,
}

impl Every {
    /// First due when one period has passed.
    pub fn new(every: Duration) -> Self {
        Self { every, next: every }
    }

    /// Whether it is due. Missed periods are skipped.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.next;
        while now >= self.next {
            self.next += self.every;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn snapshot() -> Snapshot {
        let counts = Counts {
            attempts: [700, 200, 100, 0, 0],
            packets: [9000, 2, 1, 0],
            ..Counts::default()
        };
        Snapshot {
            counts,
            per_target: 2,
            expected: 2000,
            probed: 600,
            wave_left: 200,
            records: 500,
            verdicts: [7, 1, 0, 0, 3, 2, 487],
            configurations: vec!["one"],
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_line_has_progress_and_results() {
        let mut pace = Pace::default();
        pace.handle(SECOND, 0);
        pace.handle(11 * SECOND, 1000);
        let line = |snapshot: &Snapshot, pace: &Pace| {
            format!("{}, {}", snapshot.found(pace), snapshot.phase(pace))
        };
        assert_eq!(
            line(&snapshot(), &pace),
            "500/2,000 targets, 50/s, 3 dropped, 487 ok, 7 broken, 2 insufficient, 1 intermittent, \
             3 offline, 30 seconds left, configuration one"
        );
        let unknown = Snapshot { expected: 0, configurations: vec!["zero", "one"], ..snapshot() };
        let line = line(&unknown, &Pace::default());
        assert!(line.starts_with("500 targets, 0/s, 3 dropped, 487 ok"), "{line}");
        assert!(line.ends_with("3 offline, all configurations"), "{line}");
    }

    #[test]
    fn a_line_says_how_many_searches_are_over() {
        let mut pace = Pace::default();
        pace.handle(SECOND, 0);
        pace.handle(11 * SECOND, 1000);
        let now = Snapshot { searches: [60, 13], stopping: true, ..snapshot() };
        assert_eq!(now.phase(&pace), "locating: 13 of 60 done, stopping");
        let over = Snapshot { searches: [60, 60], ..snapshot() };
        assert_eq!(over.phase(&pace), "30 seconds left, configuration one");
    }

    #[test]
    fn before_the_first_records_a_line_has_the_attempts() {
        let now = Snapshot { records: 0, verdicts: [0; CLASSES.len()], ..snapshot() };
        let line = now.found(&Pace::default());
        assert_eq!(
            line,
            "500/2,000 targets, 0/s, 3 dropped, attempts: 700 ok, 200 failed, 100 timed out"
        );
    }

    #[test]
    fn progress_never_exceeds_the_total() {
        // Waves of new and re-probed targets, as rounds, controls and repeats make them. The list is longer than
        // estimated, or its length is unknown.
        for expected in [0, 10, 25, 100] {
            let mut now = Snapshot { per_target: 3, expected, ..Snapshot::default() };
            let mut before = 0;
            for (new, again) in [(10, 0), (10, 4), (0, 7), (5, 0), (0, 1)] {
                now.reprobed_before = now.reprobed;
                (now.probed, now.reprobed) = (now.probed + new, now.reprobed + again);
                for left in (0..=3 * (new + again)).rev() {
                    now.wave_left = left;
                    let total = now.total().unwrap_or(u64::MAX);
                    assert!(now.progress() <= total, "{now:?}");
                    assert!(now.done() <= now.probed && now.done() >= before, "{now:?}");
                    assert!(now.done() <= now.targets().unwrap_or(u64::MAX), "{now:?}");
                    before = now.done();
                }
                assert_eq!(now.done(), now.probed, "after a wave");
            }
            assert_eq!((now.probed, now.reprobed), (25, 12));
            let found = now.found(&Pace::default());
            let targets = match expected {
                0 => "25 targets, 0/s, 0 dropped, 12 re-probed",
                100 => "25/100 targets, 0/s, 0 dropped, 12 re-probed",
                _ => "25/25 targets, 0/s, 0 dropped, 12 re-probed",
            };
            assert!(found.starts_with(targets), "{found}");
        }
    }

    #[test]
    fn the_pace_is_recent() {
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(), None);
        for second in 0..100 {
            // Fast at first, then slow.
            pace.handle(
                second * SECOND,
                if second < 50 { u64::from(second) * 1000 } else { 50_000 + u64::from(second) },
            );
        }
        assert_eq!(pace.per_second(), Some(1.0));
        assert_eq!(pace.time_for(90), Some(90 * SECOND));
        assert!(pace.seen.len() < 40, "old entries are dropped");
    }

    #[test]
    fn lines_are_due_once_a_period() {
        let mut lines = Every::new(10 * SECOND);
        let due: Vec<u32> = (0..=65).filter(|at| lines.is_due(*at * SECOND)).collect();
        assert_eq!(due, [10, 20, 30, 40, 50, 60]);
        assert!(lines.is_due(200 * SECOND), "one line after a long sleep");
        assert!(!lines.is_due(201 * SECOND), "missed lines are skipped");
    }

    #[test]
    fn the_fields_of_a_status_line_are_those_of_the_guide() {
        let guide = include_str!("../guide/monitoring.md");
        let value = snapshot().json(&Pace::default(), "now");
        for (key, value) in value.as_object().unwrap() {
            assert!(guide.contains(&format!("`{key}`")), "{key} is not documented");
            let inner = value.as_object().filter(|_| key != "labels").into_iter().flatten();
            for (key, _) in inner {
                assert!(guide.contains(&format!("`{key}`")), "{key} is not documented");
            }
        }
    }
}
