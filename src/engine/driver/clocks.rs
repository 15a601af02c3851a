//! Reading the clocks.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

use super::Clock;
use crate::field::Timestamp;

/// The system's clock.
pub fn now() -> Timestamp {
    Timestamp(i64::try_from(since_1970().as_nanos()).unwrap_or(i64::MAX))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Time since the boot, that of sleep included.
pub fn since_boot() -> Duration {
    // A kernel without this clock would be older than 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Has `clock` compare the system's clock with the time since `epoch`.
pub fn read(clock: &mut Clock, epoch: Instant) {
    let before = epoch.elapsed();
    let wall = since_1970();
    // If this process had to wait between the two, they tell nothing.
    if epoch.elapsed() - before < Duration::from_millis(1) {
        clock.handle_reading(wall, before);
    }
}
