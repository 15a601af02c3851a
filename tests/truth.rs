//! Labels held to the lab's truth: of every shipped measurement, of targets whose packets were not seen, and of names.
//! One program, so that the runs of each go on while others wait for targets that are silent.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]
#![expect(clippy::print_stdout, reason = "the table is for people")]

#[path = "truth/blind.rs"]
mod blind;
#[path = "truth/composed.rs"]
mod composed;
#[path = "truth/measurements.rs"]
mod measurements;
#[path = "truth/prepare.rs"]
mod prepare;
mod support;
