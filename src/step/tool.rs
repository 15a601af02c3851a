//! The programs that steps use: `nft` takes its work as text on standard input and acts in the network namespace of the
//! calling thread.
//!
//! They are separate programs, so a capability that only this program's file was given does not reach them: they need
//! root, or an ambient capability.

use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::barrier::panic_point;
use crate::error::{Doing as _, Result};
use crate::program;

/// How long such a program of a killed run is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A program, and the name of its Debian package.
#[derive(Debug)]
pub(super) struct Tool {
    program: &'static str,
    package: &'static str,
}

/// Rules of nftables.
pub(super) static NFT: Tool = Tool { program: "nft", package: "nftables" };
/// Runs programs in namespaces of their own.
pub(super) static UNSHARE: Tool = Tool { program: "unshare", package: "util-linux" };

/// How a program ended and what it printed.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Whether it ended with success.
    pub ok: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub error: String,
}

impl Tool {
    /// Its path.
    ///
    /// # Errors
    /// If it is not installed; the text names the package.
    pub fn find(&self) -> Result<PathBuf> {
        let found = program::find(self.program);
        found.ok_or_else(|| program::missing(self.program, self.package))
    }

    /// Runs it on some input and waits. It has a process group of its own, so that Ctrl-C does not end it in the middle of
    /// its work.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<Outcome> {
        let called = format!("{} {}", self.program, arguments.join(" "));
        let mut child = program::command(self.program, self.package)?
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| format!("run {called}"))?;
        let stdin = child.stdin.take();
        // A program may print a lot before it has read everything.
        let (written, output) = thread::scope(|scope| {
            let writer = thread::Builder::new().name("tool".into());
            let writer = writer.spawn_scoped(scope, move || match stdin {
                Some(mut stdin) => {
                    panic_point("tool");
                    stdin.write_all(input.as_bytes())
                }
                None => Ok(()),
            });
            let output = child.wait_with_output();
            let panicked = |_| Err(std::io::Error::other("the writing thread panicked"));
            (writer.and_then(|writer| writer.join().unwrap_or_else(panicked)), output)
        });
        match written {
            // It stopped reading: its output says why.
            Err(why) if why.kind() == ErrorKind::BrokenPipe => {}
            other => other.doing(|| format!("write to {called}"))?,
        }
        let output = output.doing(|| format!("wait for {called}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Outcome {
            ok: output.status.success(),
            output: text(output.stdout),
            error: text(output.stderr),
        })
    }
}

impl Outcome {
    /// Its complaints on one line, without the places that they name.
    pub fn complaint(&self) -> String {
        let errors =
            self.error.lines().filter_map(|line| Some(line.split_once("Error: ")?.1.trim()));
        let mut lines: Vec<&str> = errors.collect();
        lines.dedup();
        if lines.is_empty() {
            lines = self.error.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        }
        let text = lines.join("; ");
        let hint = if text.contains("not permitted") { " (needs CAP_NET_ADMIN)" } else { "" };
        match text.is_empty() {
            true => "it failed and gave no reason".into(),
            false => format!("{text}{hint}"),
        }
    }

    /// The lines of the input that nft rejects, counted from 0, each with its complaint.
    pub fn complaints(&self) -> Vec<(usize, String)> {
        let complaints = self.error.lines().filter_map(|text| {
            let (_, rest) = text.split_once("stdin:")?;
            let (place, why) = rest.split_once(" Error: ")?;
            let line: usize = place.split(':').next()?.parse().ok()?;
            Some((line.checked_sub(1)?, why.trim().to_owned()))
        });
        complaints.collect()
    }

    /// The first line of the input that it rejects, counted from 0.
    pub fn line(&self) -> Option<usize> {
        let (_, rest) = self.error.split_once("stdin:")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<usize>().ok()?.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &str) -> Outcome {
        Outcome { ok: false, output: String::new(), error: error.into() }
    }

    #[test]
    fn an_error_names_the_package_of_a_missing_program() {
        let tool = Tool { program: "pathspider-no-such", package: "some-package" };
        let error = tool.run(&["-f", "-"], "x").unwrap_err().to_string();
        assert!(error.contains("pathspider-no-such") && error.contains("some-package"), "{error}");
    }

    #[test]
    fn complaints_are_read() {
        let nft = said(
            "/dev/stdin:3:1-8: Error: syntax error, unexpected set\nadd rule x\n         ^^^\n",
        );
        assert_eq!(nft.complaint(), "syntax error, unexpected set");
        assert_eq!(nft.line(), Some(2));
        assert_eq!(nft.complaints(), [(2, "syntax error, unexpected set".to_owned())]);
        let refused = said("Error: Operation not permitted\n");
        assert_eq!(refused.complaint(), "Operation not permitted (needs CAP_NET_ADMIN)");
        assert_eq!(said("").complaint(), "it failed and gave no reason");
        assert_eq!(said("something\n").line(), None);
    }

    #[test]
    fn long_input_and_output_do_not_block_each_other() {
        let tool = Tool { program: "cat", package: "coreutils" };
        let text = "a line of text\n".repeat(100_000);
        let said = tool.run(&[], &text).unwrap();
        assert!(said.ok && said.output == text);
    }
}
