//! Lists line by line, as they are: for commands that turn one list into another.
//!
//! Unlike the [`Reader`](super::Reader) nothing is bent into columns and types, so that what goes
//! through comes out as it was.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::cell::Cell;
use super::format::Raw;
use super::list::List;
use super::{Options, Refusals, Want, open};
use crate::error::Result;

/// One line of a list.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The number of its line, from 1.
    pub line: u64,
    /// The address; of a list of names there is none.
    pub addr: Option<IpAddr>,
    /// The port, if the line has one.
    pub port: Option<u16>,
    /// The name, if any.
    pub name: Option<String>,
    /// Everything else, nulls left out.
    pub(super) rest: Vec<(Arc<str>, Cell)>,
}

/// Reads a list entry by entry, in constant memory.
pub struct Entries {
    list: List,
    sample: VecDeque<Raw>,
    /// Of the line last read, targets that were not handed out yet.
    further: VecDeque<Entry>,
    refusals: Refusals,
}

impl Entries {
    /// Reads the file `path`, or standard input if it is `-`.
    ///
    /// # Errors
    /// A file that cannot be opened is [`Error::Usage`](crate::error::Error::Usage).
    pub fn open(path: &Path, want: Want) -> Result<Self> {
        let (input, options) = open(path, Options::default())?;
        let refusals = Refusals::new(&options.origin);
        let list = List::new(input, want, options);
        Ok(Self { list, sample: VecDeque::new(), further: VecDeque::new(), refusals })
    }

    /// The next usable line; `None` at the end.
    ///
    /// # Errors
    /// When reading fails, and when the list is of a kind that nothing can be read from (a JSON array).
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

    /// The names of further columns: of a header, and of up to a thousand lines, which are read for
    /// it and kept.
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

    /// The lines that could not be used, so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Refuses an entry for a reason that the list itself does not know.
    pub fn refuse(&mut self, entry: &Entry, reason: String) {
        self.refusals.add(entry.line, reason);
    }

    /// Bytes read, of how many if that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.list.lines.bytes(), self.list.meaning.options.total_bytes)
    }
}
