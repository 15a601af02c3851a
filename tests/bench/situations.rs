//! What each shipped measurement still says in each situation of the lab's prober, as a table in Markdown.
//!
//! `cargo bench --bench situations` runs every measurement over the lab in every situation (several minutes, most of it
//! waiting) and fails if any label contradicts the truth.
#![expect(clippy::unwrap_used, reason = "helpers shared with a test")]
#![expect(clippy::print_stdout, reason = "the table goes to standard output")]

#[path = "../situations/matrix.rs"]
mod matrix;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use matrix::{all, faults, situations, table};
use support::{measurements, namespaces};

fn main() -> ExitCode {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") || !namespaces() {
        return ExitCode::SUCCESS;
    }
    let (situations, measurements) = (situations(), measurements());
    let matrix = all(&situations, &measurements);
    println!("{}", table(&matrix, &situations, &measurements));
    let faults = faults(&matrix, &situations);
    faults.iter().for_each(|fault| println!("{fault}"));
    ExitCode::from(u8::from(!faults.is_empty()))
}
