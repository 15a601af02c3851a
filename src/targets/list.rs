//! A list line by line: the meaning of each line, given those before it.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::Arc;

use super::format::Format;
use super::lines::Lines;
use super::raw::Raw;
use super::{HELD_BYTES, Options, Positions, Refusals, SAMPLE_LINES, Want};
use crate::error::{Doing as _, Result};

/// Lines and their meaning.
pub struct List {
    pub(super) lines: Lines,
    pub(super) meaning: Meaning,
}

/// How to interpret lines.
pub struct Meaning {
    pub(super) want: Want,
    /// Known from the first significant line.
    pub(super) format: Option<Format>,
    /// The number of that line, and whether it is a header.
    first: Option<(u64, bool)>,
    pub(super) options: Options,
    /// Lines without a target.
    pub(super) vacant: Positions,
}

impl List {
    /// A list of this input.
    pub fn new(input: Box<dyn BufRead + Send>, want: Want, options: Options) -> Self {
        let vacant = Positions::default();
        let meaning = Meaning { want, format: None, first: None, options, vacant };
        Self { lines: Lines::new(input), meaning }
    }

    /// The next usable line and its length; `None` at the end.
    pub fn next(&mut self, refusals: &mut Refusals) -> Result<Option<(Raw, u64)>> {
        loop {
            let origin = &self.meaning.options.origin;
            let Some(line) = self.lines.next().doing(|| format!("read {origin}"))? else {
                return Ok(None);
            };
            if let Some(raw) = self.meaning.read(line.number, line.text, refusals)? {
                return Ok(Some(raw));
            }
        }
    }

    /// The first usable lines, from which the columns are inferred.
    pub fn sample(&mut self, refusals: &mut Refusals) -> Result<VecDeque<Raw>> {
        let (mut sample, mut held) = (VecDeque::new(), 0);
        while sample.len() < SAMPLE_LINES && held < HELD_BYTES {
            let Some((raw, bytes)) = self.next(refusals)? else { break };
            held += bytes;
            sample.push_back(raw);
        }
        Ok(sample)
    }

    /// The names of the other columns that are known before any target.
    pub fn header(&self) -> Vec<Arc<str>> {
        self.meaning.format.as_ref().map(Format::header).unwrap_or_default()
    }
}

impl Meaning {
    /// Interprets a line; returns it with its length, or `None` if it has no target, which is counted if it should
    /// have one.
    pub fn read(
        &mut self,
        number: u64,
        text: Result<&str, String>,
        refusals: &mut Refusals,
    ) -> Result<Option<(Raw, u64)>> {
        // Until a target is found in it.
        self.vacant.insert(number);
        let text = match text {
            Ok(text) => text,
            Err(reason) => {
                refusals.add(number, reason);
                return Ok(None);
            }
        };
        let start = text.trim_start();
        if start.is_empty() || start.starts_with('#') {
            return Ok(None);
        }
        let format = match &mut self.format {
            Some(format) => format,
            None => {
                let (format, is_header) = Format::of_first_line(text, self.want)
                    .map_err(|why| self.options.refuse(number, &why))?;
                self.first = Some((number, is_header));
                self.format.insert(format)
            }
        };
        if self.first == Some((number, true)) || format.is_between(text) {
            return Ok(None);
        }
        match format.read(text, self.want, self.options.default_port) {
            Ok(raw) => {
                self.vacant.remove(number);
                return Ok(Some((Raw { line: number, ..raw }, text.len() as u64)));
            }
            Err(reason) => match format.rejects_all() {
                Some(why) => return Err(self.options.refuse(number, why)),
                None => refusals.add(number, reason),
            },
        }
        Ok(None)
    }
}
