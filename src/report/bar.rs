//! Standard error, shared by the progress bar, messages and log lines.

use std::io::{self, Write};
use std::sync::OnceLock;

use indicatif::ProgressBar;

/// The bar of this process, once it has one.
pub(super) static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Standard error. Hides the bar during a write.
pub(super) struct AroundBar;

impl Write for AroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().write(bytes);
        BAR.get().map_or_else(write, |bar| bar.suspend(write))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Writes to standard error. The text must be fit for a terminal.
pub(super) fn around_bar(bytes: &[u8]) {
    // If standard error is closed, there is no place for a message.
    let _ = AroundBar.write_all(bytes);
}
