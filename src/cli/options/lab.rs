//! Which lab: the built-in one, or that of a file.

use std::io::Read as _;
use std::path::Path;

use crate::error::{Diagnostic, Doing as _, Error, Report, Result};
use crate::files;
use crate::lab::{self, Spec};
use crate::measurement::{Plan, is_about_place};

/// The largest file in octets.
const LARGEST: usize = 8 << 20;

/// A lab's file.
#[derive(Debug)]
pub struct LabFile {
    origin: String,
    text: String,
}

impl LabFile {
    /// Reads a file; without one, it is the built-in lab.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { origin: "internet.toml".into(), text: lab::INTERNET.into() });
        };
        let doing = || format!("read the lab {}", path.display());
        let mut octets = Vec::new();
        let file = files::regular(path).doing(doing)?;
        file.take(LARGEST as u64 + 1).read_to_end(&mut octets).doing(doing)?;
        if octets.len() > LARGEST {
            return Err(Error::Usage(format!("{}: it is larger than 8 MiB", doing())));
        }
        let text = String::from_utf8(octets)
            .map_err(|_| Error::Usage(format!("{}: it is not UTF-8 text", doing())))?;
        Ok(Self { origin: path.display().to_string(), text })
    }

    /// The lab, or every mistake of the file.
    pub fn spec(&self) -> Result<Spec> {
        Spec::parse(&self.origin, &self.text)
    }

    /// Reports the labels that the lab's truth states about a measurement and that the measurement cannot give.
    pub fn fits(&self, plan: &Plan) -> Result<()> {
        match unknown_labels(&self.text, plan) {
            unknown if unknown.is_empty() => Ok(()),
            unknown => Err(Report::new(&*self.origin, &*self.text, unknown).into()),
        }
    }
}

/// The labels in the truth of a lab's text that a measurement cannot give.
pub fn unknown_labels(text: &str, plan: &Plan) -> Vec<Diagnostic> {
    let labels: Vec<String> = plan.rules.iter().flat_map(|rule| rule.labels()).collect();
    let known = |label: &str| {
        // The label of a value has any value.
        let value = label.split_once(':').map(|(name, _)| format!("{name}:..."));
        labels.iter().any(|known| known == label || Some(known) == value.as_ref())
    };
    lab::unknown_labels(text, &plan.name, known, |label| is_about_place(label, &plan.rules))
}
