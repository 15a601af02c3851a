//! Signals in the programs that a test program starts.

use std::fs;
use std::sync::{Arc, Once};

use nix::sys::signal::SigSet;
use signal_hook::consts::{FORBIDDEN, SIGPIPE};

/// From here on, programs that this thread starts have the default action of every signal, and none blocked, whatever this
/// program inherited: under `nohup` it inherits an ignored SIGHUP.
pub fn default_in_children() {
    static ONCE: Once = Once::new();
    // Programs inherit which signals are ignored (execve(2)), but not handlers.
    ONCE.call_once(|| {
        for number in ignored() {
            let registered = signal_hook::flag::register(number, Arc::default());
            registered.expect("a handler is registered");
        }
    });
    SigSet::empty().thread_set_mask().expect("the signal mask is cleared");
}

/// The signals that this process ignores, without SIGPIPE: Rust ignores that here and not in children.
fn ignored() -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").expect("/proc has this process");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let mask = mask.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let mask = mask.expect("the status has a mask of ignored signals");
    (1..=64)
        .filter(move |number| mask >> (number - 1) & 1 == 1)
        .filter(|number| *number != SIGPIPE && !FORBIDDEN.contains(number))
        // The C library keeps the numbers from 32 to SIGRTMIN for itself.
        .filter(|number| *number < 32 || *number >= nix::libc::SIGRTMIN())
}
