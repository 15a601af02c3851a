//! Reading the clocks.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

use crate::engine::clock::Clock;
use crate::engine::pauses::Reading;
use crate::field::Timestamp;

/// The system's clock.
pub fn now() -> Timestamp {
    Timestamp(i64::try_from(since_1970().as_nanos()).unwrap_or(i64::MAX))
}

/// The time of the monotonic clock.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The other clocks at a time of the monotonic one.
pub fn reading(monotonic: Duration) -> Reading {
    // Kernels before 2.6.39 lack one of them.
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let (boot, busy) = (read(ClockId::CLOCK_BOOTTIME), read(ClockId::CLOCK_THREAD_CPUTIME_ID));
    Reading { monotonic, boot, busy }
}

/// Makes `clock` compare the system's clock with the time since `epoch`.
pub fn read(clock: &mut Clock, epoch: Instant) {
    let before = epoch.elapsed();
    let wall = since_1970();
    // If this process had to wait between the two readings, they say nothing.
    if epoch.elapsed() - before < Duration::from_millis(1) {
        clock.handle_reading(wall, before);
    }
}
