//! What is shown while a run goes on: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::engine::driver;
use crate::observer::capture::Counters;

/// The bar that log lines must not be written into.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// How often a bar moves.
pub(super) const FRAME: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
pub(super) const LINE: Duration = Duration::from_secs(10);

/// Starts logging to standard error: warnings, and more with each `-v`; `RUST_LOG` goes before.
pub fn start_logging(verbose: u8, quiet: bool) {
    let level = match (verbose, quiet) {
        (0, true) => log::LevelFilter::Error,
        (0, false) => log::LevelFilter::Warn,
        (1, _) => log::LevelFilter::Info,
        (2, _) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_module("pathspider", level).parse_default_env();
    builder.format(|out, record| {
        let level = record.level();
        let style = out.default_level_style(level);
        let text = super::out::message(&record.args().to_string());
        writeln!(out, "{style}{}{style:#}: {}", level.as_str().to_lowercase(), text)
    });
    builder.target(env_logger::Target::Pipe(Box::new(AroundBar)));
    // Fails only if a logger is there already, which then serves as well.
    let _ = builder.try_init();
}

/// Standard error, with the bar out of the way.
struct AroundBar;

impl Write for AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().write(bytes);
        BAR.get().map_or_else(write, |bar| bar.suspend(write))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A bar that shows only its message.
pub(super) fn bar_of_process(terminal: bool) -> &'static ProgressBar {
    let plain = ProgressStyle::with_template("{spinner} {wide_msg}");
    BAR.get_or_init(|| {
        bar(terminal).with_style(plain.unwrap_or_else(|_| ProgressStyle::default_bar()))
    })
}

/// What a run shows of itself.
pub struct Shown<'a> {
    /// The engine's counts.
    pub engine: &'a driver::Progress,
    /// The capture's counts.
    pub capture: &'a Counters,
    /// Configurations, each an attempt per target.
    pub configurations: u64,
    /// Targets in all as far as that can be told; 0 while it cannot.
    pub targets: &'a AtomicU64,
    /// Show nothing at all.
    pub quiet: bool,
}

impl Shown<'_> {
    /// Shows how the run goes until `done` is closed.
    pub fn watch(&self, done: &Receiver<()>) {
        let terminal = io::stderr().is_terminal();
        if self.quiet {
            // Nothing to show; the channel closes when the run is over.
            let _ = done.recv();
            return;
        }
        let bar = BAR.get_or_init(|| bar(terminal));
        let start = Instant::now();
        let mut next_line = LINE;
        loop {
            let over = done.recv_timeout(FRAME) != Err(RecvTimeoutError::Timeout);
            let ended = self.engine.ended();
            let total = self.targets.load(Relaxed) * self.configurations;
            if terminal {
                if total > 0 && bar.length() != Some(total) {
                    bar.set_length(total);
                    bar.set_style(style(COUNTED));
                }
                bar.set_position(ended);
                bar.set_message(self.message());
            } else if start.elapsed() >= next_line {
                next_line += LINE;
                let of =
                    if total > 0 { format!(" of {}", HumanCount(total)) } else { String::new() };
                let elapsed = HumanDuration(start.elapsed());
                eprintln!("{elapsed}: {}{of} attempts, {}", HumanCount(ended), self.message());
            }
            if over {
                bar.finish_and_clear();
                return;
            }
        }
    }

    fn message(&self) -> String {
        let load = |count: &AtomicU64| HumanCount(count.load(Relaxed));
        let engine = self.engine;
        let mut message = format!(
            "{} ok, {} failed, {} timed out, {} packets",
            load(&engine.ok),
            load(&engine.failed),
            load(&engine.timeout),
            load(&self.capture.packets)
        );
        for (count, what) in
            [(&engine.local_error, "local errors"), (&self.capture.dropped, "packets dropped")]
        {
            if count.load(Relaxed) > 0 {
                message.push_str(&format!(", {} {what}", load(count)));
            }
        }
        message
    }
}

const COUNTED: &str =
    "{bar:20} {percent}%  {human_pos}/{human_len} attempts, {rate}, {eta} left  {wide_msg}";
const UNCOUNTED: &str = "{spinner} {human_pos} attempts, {rate}, {elapsed}  {wide_msg}";

fn bar(terminal: bool) -> ProgressBar {
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(None, target).with_style(style(UNCOUNTED))
}

/// Both templates are constants of this file; a broken one would show the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()).with_key(
        "rate",
        |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A key that cannot be written is left out, no more.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        },
    )
}
