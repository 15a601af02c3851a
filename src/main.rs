//! Parses the command line, starts logging, calls one command, turns its end into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pathspider::cli::main().into()
}
