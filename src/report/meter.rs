//! Progress of commands that count one thing: a bar on a terminal, occasional lines elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar};

use super::{page, progress};
use crate::printable;

/// A progress display that the working thread updates.
pub struct Meter {
    what: &'static str,
    bar: Option<&'static ProgressBar>,
    start: Instant,
    next: Instant,
    every: Duration,
}

impl Meter {
    /// Counts `what`; shows nothing if `quiet`.
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| progress::bar_of_process(terminal));
        let every = match (quiet, terminal) {
            (true, _) => Duration::MAX,
            (false, true) => progress::FRAME,
            (false, false) => progress::LINE,
        };
        let start = Instant::now();
        let next = start.checked_add(every).unwrap_or(start);
        Self { what, bar, start, next, every }
    }

    /// Shows how many are done, and how much of the input is (read, total) if known.
    pub fn show(&mut self, done: u64, (read, all): (u64, Option<u64>), message: &str) {
        let now = Instant::now();
        if self.every == Duration::MAX || now < self.next {
            return;
        }
        self.next = now + self.every;
        let share = match all {
            Some(all @ 1..) => format!(" ({} %)", 100 * read.min(all) / all),
            _ => String::new(),
        };
        let elapsed = self.start.elapsed();
        let text = format!(
            "{}: {} {}{share}, {:.0}/s, {message}",
            HumanDuration(elapsed),
            HumanCount(done),
            self.what,
            done as f64 / elapsed.as_secs_f64().max(1e-9)
        );
        match self.bar {
            Some(bar) => {
                bar.set_message(printable::line(&text).into_owned());
                bar.tick();
            }
            None => page::tell(&text),
        }
    }

    /// Removes the bar.
    pub fn end(&self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
