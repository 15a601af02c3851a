//! The programs that steps are made with, `nft` and `ip`: both take their work as text on
//! standard input and act in the network namespace of the thread that calls.
//!
//! They are programs of their own, so a capability that only this program's file was given does not
//! reach them: they need root, or an ambient capability.

use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::barrier::panic_point;
use crate::error::{Doing as _, Error, Result};

/// Where such programs are that an ordinary user's PATH often lacks.
const ADMIN: &str = "/usr/sbin:/sbin:/usr/local/sbin";

/// A program, and what Debian's package of it is called.
#[derive(Debug)]
pub(super) struct Tool {
    program: &'static str,
    package: &'static str,
}

/// Rules of nftables.
pub(super) static NFT: Tool = Tool { program: "nft", package: "nftables" };
/// Routes, their rules, and what the kernel remembers of hosts.
pub(super) static IP: Tool = Tool { program: "ip", package: "iproute2" };

/// Programs in namespaces of their own.
pub(super) static UNSHARE: Tool = Tool { program: "unshare", package: "util-linux" };

/// How a program ended and what it said.
#[derive(Debug)]
pub(super) struct Said {
    /// Whether it ended with success.
    pub ok: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub error: String,
}

impl Tool {
    /// Where it is.
    ///
    /// # Errors
    /// If it is nowhere; the text names the package to install.
    pub fn find(&self) -> Result<PathBuf> {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
        let folders = path.split(':').chain(ADMIN.split(':')).filter(|folder| !folder.is_empty());
        let found = folders.map(|folder| PathBuf::from(folder).join(self.program));
        found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            Error::Failed(format!(
                "find the program {}: it is not installed; install the package {} (its name in Debian)",
                self.program, self.package
            ))
        })
    }

    /// Runs it on some input and waits. It is in a process group of its own, so that Ctrl-C does
    /// not end it in the middle of its work.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<Said> {
        let called = format!("{} {}", self.program, arguments.join(" "));
        let mut child = Command::new(self.find()?)
            .args(arguments)
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| format!("run {called}"))?;
        let stdin = child.stdin.take();
        // A program may say a lot before it has read everything.
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
            // It stopped reading: what it said tells why.
            Err(why) if why.kind() == ErrorKind::BrokenPipe => {}
            other => other.doing(|| format!("write to {called}"))?,
        }
        let output = output.doing(|| format!("wait for {called}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said {
            ok: output.status.success(),
            output: text(output.stdout),
            error: text(output.stderr),
        })
    }
}

impl Said {
    /// What it complained of, on one line and without the places that it names.
    pub fn complaint(&self) -> String {
        let errors = self.error.lines().filter_map(|line| {
            line.split_once("Error: ")
                .or_else(|| line.split_once("RTNETLINK answers: "))
                .map(|(_, text)| text.trim())
        });
        let mut told: Vec<&str> = errors.collect();
        told.dedup();
        if told.is_empty() {
            told = self.error.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        }
        let told = told.join("; ");
        let hint = if told.contains("not permitted") { " (needs CAP_NET_ADMIN)" } else { "" };
        match told.is_empty() {
            true => "it failed and did not say why".into(),
            false => format!("{told}{hint}"),
        }
    }

    /// Every line of the input that nft complained of, counted from 0, with the complaint.
    pub fn complaints(&self) -> Vec<(usize, String)> {
        let told = self.error.lines().filter_map(|text| {
            let (_, rest) = text.split_once("stdin:")?;
            let (place, why) = rest.split_once(" Error: ")?;
            let line: usize = place.split(':').next()?.parse().ok()?;
            Some((line.checked_sub(1)?, why.trim().to_owned()))
        });
        told.collect()
    }

    /// The line of the input that it complained of first, counted from 0.
    pub fn line(&self) -> Option<usize> {
        ["stdin:", "failed -:"].iter().find_map(|before| {
            let (_, rest) = self.error.split_once(before)?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<usize>().ok()?.checked_sub(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &str) -> Said {
        Said { ok: false, output: String::new(), error: error.into() }
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let tool = Tool { program: "pathspider-no-such", package: "some-package" };
        let error = tool.run(&["-f", "-"], "x").unwrap_err().to_string();
        assert!(error.contains("pathspider-no-such") && error.contains("some-package"), "{error}");
    }

    #[test]
    fn complaints_of_both_are_read() {
        let nft = said(
            "/dev/stdin:3:1-8: Error: syntax error, unexpected set\nadd rule x\n         ^^^\n",
        );
        assert_eq!(nft.complaint(), "syntax error, unexpected set");
        assert_eq!(nft.line(), Some(2));
        assert_eq!(nft.complaints(), [(2, "syntax error, unexpected set".to_owned())]);
        let ip = said("RTNETLINK answers: Operation not permitted\nCommand failed -:12\n");
        assert_eq!(ip.complaint(), "Operation not permitted (needs CAP_NET_ADMIN)");
        assert_eq!(ip.line(), Some(11));
        assert_eq!(said("").complaint(), "it failed and did not say why");
        assert_eq!(said("something\n").line(), None);
    }

    #[test]
    fn much_to_say_and_much_to_hear_is_no_deadlock() {
        let tool = Tool { program: "cat", package: "coreutils" };
        let text = "a line of text\n".repeat(100_000);
        let said = tool.run(&[], &text).unwrap();
        assert!(said.ok && said.output == text);
    }
}
