//! Threads that keep every processor busy.
//!
//! Only the prober starves, not the hosts that it measures: their late answers must really be late. So the caller and
//! these threads get a lower priority than the lab's servers and relays, and share the remaining time.

use std::hint;

use rustix::process::setpriority_process;

use crate::error::{Doing as _, Result};
use crate::lab::namespace::Namespace;
use crate::lab::worker::Stop;

/// Threads per processor.
const PER_PROCESSOR: usize = 2;
/// The nice value of these threads, and of the caller and all threads and programs that it starts afterwards.
const NICE: i32 = 10;

/// Starts them; they end with the lab.
pub(crate) fn start(prober: &Namespace, stop: &mut Stop) -> Result<()> {
    setpriority_process(None, NICE).doing(|| "lower the priority of the lab's prober")?;
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
