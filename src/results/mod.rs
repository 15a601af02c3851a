//! What is done with finished results: merging, judging again, checking.

pub mod coverage;
pub mod input;
pub mod judge;
pub mod merged;
pub mod verify;
