//! Options shared by several commands, or copied into a run's spec.

pub mod columns;
pub mod confidence;
pub mod courtesy;
pub mod form;
pub mod lab;
pub mod names;
pub mod prober;
pub mod rights;
pub mod state;
pub mod watch;

/// Parses a number that must not be 0.
///
/// # Errors
/// What to write instead.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a whole number".into()),
    }
}
