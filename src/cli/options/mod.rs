//! Options that several commands share, or that fill a run's spec.

pub mod columns;
pub mod confidence;
pub mod courtesy;
pub mod form;
pub mod names;
pub mod rights;
pub mod state;
pub mod watch;
