//! Operations on finished results: merging, judging again, verifying.

pub mod coverage;
pub mod input;
pub mod judge;
pub mod merged;
pub mod origins;
pub mod verify;
