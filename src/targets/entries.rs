//! Lists line by line, unchanged: for commands that turn one list into another.
//!
//! Unlike the [`Reader`](super::Reader), this does not fit values into typed columns, so a list comes out as it went
//! in.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::cell::Cell;
use super::list::List;
use super::raw::Raw;
use super::{Options, Refusals, Want, open};
use crate::error::Result;

/// One line of a list.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The line number, from 1.
    pub line: u64,
    /// The address; `None` in a list of names.
    pub addr: Option<IpAddr>,
    /// The port, if the line has one.
    pub port: Option<u16>,
    /// The name, if any.
    pub name: Option<String>,
    /// All other values, without nulls.
    pub(super) rest: Vec<(Arc<str>, Cell)>,
}

/// Reads a list entry by entry in constant memory.
pub struct Entries {
    list: List,
    sample: VecDeque<Raw>,
    /// Further targets of the last line, not returned yet.
    further: VecDeque<Entry>,
    refusals: Refusals,
}

impl Entries {
    /// Reads the file `path`, or standard input if it is `-`.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) if the file cannot be opened.
    pub fn open(path: &Path, want: Want) -> Result<Self> {
        let (input, options) = open(path, Options::default())?;
        let refusals = Refusals::new(&options.origin);
        let list = List::new(input, want, options);
        Ok(Self { list, sample: VecDeque::new(), further: VecDeque::new(), refusals })
    }

    /// The next usable line; `None` at the end.
    ///
    /// # Errors
    /// If reading fails, or the list has a form that cannot be read (a JSON array on one line).
    #[expect(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.further.pop_front() {
            return Ok(Some(entry));
        }
        let raw = match self.sample.pop_front() {
            Some(raw) => Some(raw),
            None => self.list.next(&mut self.refusals)?.map(|(raw, _)| raw),
        };
        let names = self.list.meaning.want == Want::Names;
        let Some(Raw { line, addr, port, also, name, rest }) = raw else { return Ok(None) };
        let known = |port: u16| (port != 0).then_some(port);
        let entry = Entry { line, addr: addr.filter(|_| !names), port: known(port), name, rest };
        self.further.extend(also.into_iter().map(|(addr, port)| Entry {
            addr: Some(addr),
            port: known(port),
            ..entry.clone()
        }));
        Ok(Some(entry))
    }

    /// The names of the other columns: from the header, and from up to a thousand lines, which are read ahead and
    /// kept.
    ///
    /// # Errors
    /// As [`Entries::next`].
    pub fn columns(&mut self) -> Result<Vec<Arc<str>>> {
        let sample = self.list.sample(&mut self.refusals)?;
        self.sample.extend(sample);
        let mut columns = self.list.header();
        for (key, _) in self.sample.iter().flat_map(|raw| &raw.rest) {
            if !columns.contains(key) {
                columns.push(Arc::clone(key));
            }
        }
        Ok(columns)
    }

    /// The lines rejected so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Rejects an entry for a reason that comes from the caller.
    pub fn refuse(&mut self, entry: &Entry, reason: String) {
        self.refusals.add(entry.line, reason);
    }

    /// Bytes read, and the total if it is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.list.lines.bytes(), self.list.meaning.options.total_bytes)
    }
}
