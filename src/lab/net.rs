//! The two commands that set up the network of a namespace, `ip` and `nft`: both read all their work from standard
//! input, and act in the namespace of the calling thread.

use std::io::{self, Write};
use std::process::Stdio;

use crate::error::{Doing, Error, Result};
use crate::program;

/// Runs lines of `ip` commands, each without the word `ip`.
pub(crate) fn ip_batch(lines: &str) -> Result<()> {
    feed("ip", "iproute2", &["-batch", "-"], lines)
}

/// Loads a ruleset.
pub(crate) fn nft(ruleset: &str) -> Result<()> {
    feed("nft", "nftables", &["-f", "-"], ruleset)
}

fn feed(program: &str, package: &str, arguments: &[&str], text: &str) -> Result<()> {
    let called = format!("{program} {}", arguments.join(" "));
    let mut command = program::command(program, package)
        .map_err(|why| Error::failed(format!("run {called}"), why))?;
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| format!("run {called}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(text.as_bytes()) {
            // It stopped reading: its own message, below, says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.doing(|| format!("write to {called}"))?,
        }
    }
    let output = child.wait_with_output().doing(|| format!("wait for {called}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(());
    }
    Err(Error::failed(
        format!("set up the lab with {called}"),
        format!("{}{}", said.trim(), blame(&said, text)),
    ))
}

/// The line that the command complains about (`Command failed -:12`, `/dev/stdin:12:`), which neither `ip` nor an
/// older `nft` prints.
fn blame(said: &str, text: &str) -> String {
    let number = said.split("-:").nth(1).or_else(|| said.split("stdin:").nth(1)).and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    });
    number
        .and_then(|number| text.lines().nth(number.checked_sub(1)?))
        .map(|line| format!(" (line: {})", line.trim()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_is_named_with_its_package() {
        let error = feed("pathspider-no-such", "some-package", &["-f", "-"], "x").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("pathspider-no-such -f -") && text.contains("some-package"),
            "{text}"
        );
    }

    #[test]
    fn the_line_at_fault_is_shown() {
        assert_eq!(blame("Error: bad\nCommand failed -:2", "a\n  b c\nd"), " (line: b c)");
        assert_eq!(blame("/dev/stdin:3:1-4: Error: syntax", "a\nb\nd"), " (line: d)");
        assert_eq!(blame("something else", "a"), "");
        assert_eq!(blame("Command failed -:0", "a"), "");
    }
}
