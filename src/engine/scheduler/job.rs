//! One attempt, as the scheduler plans it.

/// One attempt to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// A target of the wave.
    pub target: usize,
    /// The configuration under which it is probed.
    pub configuration: usize,
}
