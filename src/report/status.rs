//! `--status`: a JSON line per second, appended to a file or a pipe. A slow reader never blocks the run, nor does a
//! pipe without a reader: lines begin when it has one.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::error::{Error, Exit, Result};
use crate::files::{Log, Opened};
use crate::printable;
use crate::run::Outcome;

/// Octets that a ready pipe accepts at once.
const PIECE: usize = 4096;
/// Timeouts for a full pipe: a periodic line may be dropped, but the rest of a partly written line may not.
const MEANWHILE: Duration = Duration::ZERO;
const BEGUN: Duration = Duration::from_secs(1);

/// Where the lines go.
#[derive(Debug)]
pub struct Status {
    path: PathBuf,
    to: To,
    last: Value,
}

#[derive(Debug)]
enum To {
    /// An open file.
    File(File),
    /// A pipe without a reader.
    NoReader(Log),
    /// Writing has failed.
    Failed,
}

impl Status {
    /// Opens the file for appending; `-` is standard output. Never blocks.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be opened, or if root would write to another user's file.
    pub fn open(path: &Path) -> Result<Self> {
        let to = match Log::open(path, "--status")? {
            Opened::File(file) => To::File(file),
            Opened::NoReader(log) => {
                log::warn!("--status {}: no reader yet", path.display());
                To::NoReader(log)
            }
        };
        Ok(Self { path: path.to_owned(), to, last: json!({}) })
    }

    /// Writes a line about the run's progress.
    pub fn progress(&mut self, line: Value) {
        self.write(&line, MEANWHILE);
        self.last = line;
    }

    /// Stores the latest state for the last line.
    pub fn remember(&mut self, line: Value) {
        self.last = line;
    }

    /// Writes the last line: how the run ended.
    pub fn end(&mut self, now: &str, ended: Result<(Option<&Outcome>, Exit), &Error>) {
        let mut line = std::mem::take(&mut self.last);
        let (exit, outcome, error) = match ended {
            Ok((outcome, exit)) => {
                (exit, outcome, outcome.and_then(|outcome| outcome.error.as_ref()))
            }
            Err(error) => (error.exit(), None, Some(error)),
        };
        line["event"] = "end".into();
        line["time"] = now.into();
        line["exit"] = (exit as u8).into();
        line["complete"] = outcome.is_some_and(Outcome::is_complete).into();
        line["signal"] = outcome.and_then(|outcome| outcome.signal).into();
        let name = match error {
            Some(Error::Signal { name, number, .. }) => {
                line["signal"] = (*number).into();
                Some(name.clone())
            }
            _ => outcome.and_then(Outcome::signal_name),
        };
        line["signal_name"] = name.into();
        line["error"] = error.map(ToString::to_string).into();
        if let Some(outcome) = outcome {
            line["records"] = outcome.records.into();
            line["unfinished"] = outcome.account.unfinished.into();
        }
        self.write(&line, BEGUN);
    }

    fn write(&mut self, line: &Value, patience: Duration) {
        self.look_for_reader();
        let To::File(file) = &mut self.to else { return };
        let text = line.to_string();
        let text = format!("{}\n", printable::json(&text));
        let mut patience = patience;
        for piece in text.as_bytes().chunks(PIECE) {
            match ready(file, patience) {
                true => {}
                // Nothing was written; the next line may succeed.
                false if patience == MEANWHILE => return,
                false => return self.fail(&"no reader"),
            }
            patience = BEGUN;
            if let Err(why) = file.write_all(piece) {
                return self.fail(&why);
            }
        }
    }

    /// Opens a pipe that had no reader, if it has one now.
    fn look_for_reader(&mut self) {
        let To::NoReader(log) = &self.to else { return };
        match log.try_open() {
            Ok(Some(file)) => self.to = To::File(file),
            Ok(None) => {}
            Err(why) => self.fail(&why),
        }
    }

    /// Stops writing: nothing may follow a partial line.
    fn fail(&mut self, why: &dyn std::fmt::Display) {
        log::warn!("write --status {}: {why}; no more lines go there", self.path.display());
        self.to = To::Failed;
    }
}

/// Waits until a piece can be written without blocking.
fn ready(file: &File, patience: Duration) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    // Other errors show when writing.
    poll(&mut fds, patience).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead as _, BufReader, Read as _};
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn a_full_pipe_costs_lines_and_no_time() {
        let (mut reader, writer) = io::pipe().unwrap();
        let to = To::File(File::from(std::os::fd::OwnedFd::from(writer)));
        let mut status = Status { path: "a pipe".into(), to, last: json!({}) };
        for number in 0..100_000 {
            status.progress(json!({ "number": number, "event": "progress" }));
        }
        let mut taken = vec![0; 32 << 10];
        reader.read_exact(&mut taken).unwrap();
        status.end("now", Err(&Error::Failed("it broke".into())));
        drop(status);
        let rest: Vec<String> = BufReader::new(reader).lines().map(|line| line.unwrap()).collect();
        // The first is the rest of the line that was partly read above.
        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        let lines: Vec<Value> = rest[1..].iter().map(read).collect();
        let last = lines.last().unwrap();
        assert_eq!((&last["event"], &last["exit"]), (&"end".into(), &1.into()));
        assert_eq!(last["error"], "it broke");
        assert_eq!(last["number"], 99_999, "the latest state, written or not");
    }

    #[test]
    fn a_pipe_without_a_reader_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut status = Status::open(&path).unwrap();
        status.progress(json!({ "number": 1 }));
        let reader = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path);
        let mut reader = BufReader::new(reader.unwrap());
        status.progress(json!({ "number": 2 }));
        status.progress(json!({ "number": 3 }));
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "{\"number\":2}\n");
    }
}
