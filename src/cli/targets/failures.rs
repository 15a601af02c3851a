//! Names without addresses: counted by reason; the first ones are shown, and all are written if requested.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use indicatif::HumanCount;
use serde_json::json;

use crate::cli::targets::output;
use crate::error::{Doing as _, Error, Result};
use crate::resolve::question::{Family, Reason};
use crate::sink::Temporary;
use crate::targets::Listing;
use crate::targets::shown;
use crate::words::counted;

/// Maximum number of failures shown.
const SHOWN: usize = 20;

/// The failures so far.
pub struct Failures {
    counts: BTreeMap<Reason, u64>,
    first: Vec<String>,
    to: Option<(Box<dyn Write>, Option<Temporary>, String)>,
}

impl Failures {
    /// No failures yet; they are written to `path` if given.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let to = match path {
            Some(path) if path.as_os_str() == "-" => {
                return Err(Error::Usage("--failures: name a file, not -".into()));
            }
            Some(path) => {
                let (to, file) = output::open(path, Listing::Ndjson)?;
                Some((to, file, path.display().to_string()))
            }
            None => None,
        };
        Ok(Self { counts: BTreeMap::new(), first: Vec::new(), to })
    }

    /// Adds the failures of a name, of which `asked` families were queried.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(
        &mut self,
        line: u64,
        name: &str,
        failed: &[(Family, Reason)],
        asked: usize,
    ) -> Result<()> {
        let Some((_, first)) = failed.first() else { return Ok(()) };
        // The same reason for all families is one failure.
        if failed.len() == asked && failed.iter().all(|(_, reason)| reason == first) {
            return self.one(line, name, None, *first, None);
        }
        for (family, reason) in failed {
            self.one(line, name, Some(*family), *reason, None)?;
        }
        Ok(())
    }

    /// Adds an invalid name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn bad_name(&mut self, line: u64, text: &str, why: &str) -> Result<()> {
        self.one(line, text, None, Reason::BadName, Some(why))
    }

    fn one(
        &mut self,
        line: u64,
        name: &str,
        family: Option<Family>,
        reason: Reason,
        why: Option<&str>,
    ) -> Result<()> {
        *self.counts.entry(reason).or_default() += 1;
        let (word, _) = reason.words();
        if self.first.len() < SHOWN {
            let family = family.map(|family| format!(", IPv{}", family.number()));
            let family = family.unwrap_or_default();
            // A valid name is shown unchanged; other text is escaped.
            let what = why.map_or_else(|| format!("{name}{family}"), str::to_owned);
            self.first.push(format!("  line {line}: {word}: {what}\n"));
        }
        let Some((to, _, path)) = &mut self.to else { return Ok(()) };
        let mut object = json!({
            "line": line, "domain": name, "family": family.map(Family::number), "reason": word,
        });
        if let Some(why) = why {
            object["why"] = why.into();
        }
        writeln!(to, "{object}").doing(|| format!("write {path}"))
    }

    /// Number of failures.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Number of queries without an answer of the DNS.
    pub fn unanswered(&self) -> u64 {
        let lost = self.counts.iter().filter(|(r, _)| !r.is_answer() && **r != Reason::BadName);
        lost.map(|(_, count)| count).sum()
    }

    /// The summary as text.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if self.counts.is_empty() {
            return text;
        }
        let width = self.counts.keys().map(|reason| reason.words().0.len()).max().unwrap_or(0);
        text += &format!("{}:\n", counted(self.count(), "failure[s]"));
        for (reason, count) in &self.counts {
            let (word, meaning) = reason.words();
            text += &format!("  {word:width$}  {:>9}  {meaning}\n", HumanCount(*count).to_string());
        }
        if self.count() > SHOWN as u64 {
            let all = match &self.to {
                Some((_, _, path)) => format!("all are in {}", shown(path)),
                None => "--failures FILE writes all".to_owned(),
            };
            text += &format!("The first {SHOWN} ({all}):\n");
        }
        text.extend(self.first.iter().map(String::as_str));
        text
    }

    /// Renames the file to its final name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<()> {
        if let Some((mut to, file, path)) = self.to {
            to.flush().doing(|| format!("write {path}"))?;
            drop(to);
            if let Some(file) = file {
                file.keep()?;
            }
        }
        Ok(())
    }
}
