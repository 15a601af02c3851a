//! Threads that do nothing but keep every processor busy.

use std::hint;

use crate::error::Result;
use crate::lab::namespace::Namespace;
use crate::lab::worker::Stop;

/// Threads for each processor.
const PER_PROCESSOR: usize = 2;

/// Starts them; they end with the lab.
pub(crate) fn start(prober: &Namespace, stop: &mut Stop) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..processors * PER_PROCESSOR {
        let stopped = stop.flag();
        let thread = prober.spawn(move || {
            while !stopped.is_set() {
                hint::spin_loop();
            }
            Ok(())
        })?;
        stop.joins(thread);
    }
    Ok(())
}
