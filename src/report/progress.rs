//! The progress of a run: a bar on a terminal, occasional lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::bar::{AroundBar, BAR};
use super::page;
use crate::printable;

/// Update interval of the bar.
pub(super) const FRAME: Duration = Duration::from_millis(100);
/// Interval of lines where there is no terminal.
pub(super) const LINE: Duration = Duration::from_secs(10);

/// Starts logging to standard error: warnings, and more with each `-v`; `RUST_LOG` takes precedence.
pub fn start_logging(verbose: u8, quiet: bool) {
    let level = match (verbose, quiet) {
        (0, true) => log::LevelFilter::Error,
        (0, false) => log::LevelFilter::Warn,
        (1, _) => log::LevelFilter::Info,
        (2, _) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_module("pathspider", level);
    // Rejected lines of a list are lost targets; the author of the list must see why.
    builder.filter_module("pathspider::targets", level.max(log::LevelFilter::Warn));
    builder.parse_default_env();
    builder.format(|out, record| {
        let level = record.level();
        let style = out.default_level_style(level);
        let text = printable::lines(&record.args().to_string()).into_owned();
        writeln!(out, "{style}{}{style:#}: {}", level.as_str().to_lowercase(), text)
    });
    builder.target(env_logger::Target::Pipe(Box::new(AroundBar)));
    // Fails only if a logger is installed already, which then serves.
    let _ = builder.try_init();
}

/// A bar that shows only its message.
pub(super) fn bar_of_process(terminal: bool) -> &'static ProgressBar {
    let plain = ProgressStyle::with_template("{spinner} {wide_msg}");
    BAR.get_or_init(|| {
        bar(terminal).with_style(plain.unwrap_or_else(|_| ProgressStyle::default_bar()))
    })
}

/// Shows the progress of a run: a bar on a terminal, lines elsewhere.
pub struct Display {
    bar: Option<&'static ProgressBar>,
    lines: bool,
}

impl Display {
    /// For this process's standard error; shows nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| BAR.get_or_init(|| bar(terminal)));
        Self { bar, lines: !terminal && !quiet }
    }

    /// Shows how much is done, and of how much if known; `line` says whether a line is due, `text` has the phase and the
    /// results.
    pub fn show(
        &self,
        elapsed: Duration,
        (done, total): (u64, Option<u64>),
        line: bool,
        text: &dyn Fn() -> (String, String),
    ) {
        if let Some(bar) = self.bar {
            if let Some(total) = total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                bar.set_style(style(COUNTED));
            }
            bar.set_position(done);
            let (phase, found) = text();
            bar.set_prefix(printable::line(&phase).into_owned());
            bar.set_message(printable::line(&found).into_owned());
        } else if self.lines && line {
            let (phase, found) = text();
            page::tell(&format!("{}: {found}, {phase}", HumanDuration(elapsed)));
        }
    }

    /// Removes the bar.
    pub fn end(&self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

const COUNTED: &str = "{bar:20} {percent}%  {prefix}\n{wide_msg}";
const UNCOUNTED: &str = "{spinner} {elapsed}  {prefix}\n{wide_msg}";

fn bar(terminal: bool) -> ProgressBar {
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(None, target).with_style(style(UNCOUNTED))
}

/// Both templates are constants of this file; an invalid one falls back to the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar())
}
