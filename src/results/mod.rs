//! Operations on finished results: merging, judging again, verifying, exporting, describing.

pub mod coverage;
pub mod describe;
pub mod embedded;
pub mod export;
pub mod flat;
pub mod hops;
pub mod input;
pub mod judge;
pub mod merged;
pub mod origins;
pub mod verify;
