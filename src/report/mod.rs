//! Text, JSON, metrics and progress of a run. The only module that prints.

mod bar;
pub mod forecast;
pub mod format;
pub mod lab_table;
pub mod meter;
pub mod metrics;
pub mod numbers;
pub mod page;
pub mod plan;
pub mod progress;
pub mod server;
pub mod status;
pub mod summary;
pub mod watch;

pub use crate::run::catalogue;
