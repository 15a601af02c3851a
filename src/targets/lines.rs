//! Numbered lines of bounded length.

use std::io::{self, BufRead, Read as _};

use super::digest::Digest;

/// Maximum length of a line in bytes.
pub(super) const LONGEST: usize = 1024 * 1024;

/// The text of a line without its end, or the reason that it cannot be used.
pub fn text(number: u64, line: &[u8]) -> Result<&str, String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = match number {
        1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
        _ => line,
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LONGEST {
        return Err("longer than 1 MiB".to_owned());
    }
    std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))
}

/// Splits an input into lines.
pub struct Lines {
    input: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    number: u64,
    bytes: u64,
    digest: Digest,
    ended: bool,
}

/// A line without its end, or the reason that it cannot be used.
pub struct Line<'a> {
    /// Line number, from 1.
    pub number: u64,
    /// Its text.
    pub text: Result<&'a str, String>,
}

impl Lines {
    /// Splits `input`.
    pub fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            number: 0,
            bytes: 0,
            digest: Digest::default(),
            ended: false,
        }
    }

    /// The number of the last line read, which is the number of lines.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 of the whole input in hexadecimal, once the end was reached.
    pub fn digest(&self) -> Option<String> {
        self.ended.then(|| self.digest.text())
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        // One byte for the line feed, and one to distinguish "too long" from "exactly as long as allowed".
        let limit = LONGEST as u64 + 2;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            self.ended = true;
            return Ok(None);
        }
        self.digest.add(&self.buffer);
        self.bytes += read as u64;
        self.number += 1;
        let number = self.number;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if read as u64 == limit {
            self.skip_line()?;
        }
        let text = text(number, &self.buffer);
        Ok(Some(Line { number, text }))
    }

    /// Skips to the end of the line without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let (used, ended) = match self.input.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(bytes) => match bytes.iter().position(|&byte| byte == b'\n') {
                    Some(end) => (end + 1, true),
                    None => (bytes.len(), false),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.digest.add(&self.input.fill_buf()?[..used]);
            self.input.consume(used);
            self.bytes += used as u64;
            if ended {
                return Ok(());
            }
        }
    }
}
