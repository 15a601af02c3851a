//! Words, JSON, metrics and progress of a run, made of what the run returns; and the only printer.

mod bar;
pub mod forecast;
pub mod format;
pub mod lab_table;
pub mod meter;
pub mod metrics;
pub mod page;
pub mod progress;
pub mod server;
pub mod status;
pub mod summary;
pub mod watch;
