//! Operations on finished results: merging, judging again, verifying.

pub mod coverage;
pub mod embedded;
pub mod input;
pub mod judge;
pub mod merged;
pub mod verify;
