//! Parses the command line, starts logging, runs one command, and turns its result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pathspider::cli::main().into()
}
