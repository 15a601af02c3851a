//! How a command writes its result.

use clap::ValueEnum;

/// For whom a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: JSON.
    Json,
}
