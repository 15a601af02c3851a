//! What a host lacks for a measurement: problems of steps, with their places in the file.

use std::ops::Range;

use super::plan::{Configuration, Plan};
use crate::error::{Diagnostic, Report};
use crate::step::{Facts, Inspection, Problem, Step, inspect};

impl Plan {
    /// Finds steps that cannot work on a host, without changing it.
    pub fn inspect(&self, facts: &dyn Facts) -> Inspection {
        let steps: Vec<&[Step]> = self.configs.iter().map(|c| c.steps.as_slice()).collect();
        inspect(&steps, facts)
    }

    /// The problems of its steps, each with its place in the file. `origin` is the file's name in messages.
    pub fn report(&self, origin: &str, problems: Vec<Problem>) -> Report {
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        for Problem { configuration, step, code, message, help } in problems {
            let config = self.configs.get(configuration);
            let span = config.and_then(|config| config.place(step)).unwrap_or(0..0);
            // The copies of a swept configuration have one mistake.
            if !diagnostics.iter().any(|known| known.span == span && known.code == code) {
                diagnostics.push(Diagnostic { code, span, message, label: String::new(), help });
            }
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        self.sources.report(origin, diagnostics)
    }
}

impl Configuration {
    /// The place of a step in the file, by its number; `None` if it is not in the file.
    fn place(&self, step: usize) -> Option<Range<usize>> {
        let written = |step: &Step| *step != Step::HoldReset;
        self.steps.get(step).filter(|step| written(step))?;
        let before = self.steps.iter().take(step).filter(|step| written(step)).count();
        self.places.get(before).cloned()
    }
}
