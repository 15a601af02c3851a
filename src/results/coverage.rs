//! Coverage: which targets of a list have records.

use std::path::PathBuf;

use super::input::{Input, positions};
use crate::error::{Error, Result};
use crate::run::record::POSITION;
use crate::targets::Positions;
use crate::words::counted;

/// Maximum number of positions in a message.
const SHOWN: usize = 100;

/// Which targets have records.
pub struct Coverage {
    /// Targets of the list, if any of the runs has read all of it.
    pub targets: Option<u64>,
    /// The last position of the list, and those without a target.
    pub list: Option<(u64, Positions)>,
    /// Excluded targets, which have no record.
    pub withheld: Positions,
    /// Targets without a record.
    pub missing: Positions,
    /// Targets with several records.
    pub doubled: Positions,
    /// Runs that did not come to an end.
    pub unfinished: Vec<PathBuf>,
}

impl Coverage {
    /// The coverage of all results together.
    ///
    /// # Errors
    /// When they cannot be read, or contradict each other.
    pub fn of(inputs: &[Input]) -> Result<Self> {
        let mut list: Option<(u64, Positions)> = None;
        let mut withheld = Positions::default();
        for input in inputs {
            // Present if the run has read its list to the end.
            let Some(last) = input.number("targets_last_position") else { continue };
            let parse = |key: &str| {
                let path = input.path.display();
                Positions::parse(input.value(key).unwrap_or_default(), last)
                    .ok_or_else(|| Error::Usage(format!("merge {path}: its {key} cannot be read")))
            };
            let vacant = parse("targets_no_target")?;
            withheld.extend(&parse("targets_withheld")?);
            match &list {
                None => list = Some((last, vacant)),
                Some(known) if *known == (last, vacant) => {}
                Some(_) => {
                    return Err(Error::Usage(format!(
                        "merge {}: it has read other targets of the same list than the others: another version of \
                         pathspider wrote it",
                        input.path.display()
                    )));
                }
            }
        }
        let (mut seen, mut doubled) = (Positions::default(), Positions::default());
        for input in inputs {
            input.read(&[POSITION], |batch| {
                for position in positions(&batch, input)? {
                    if !seen.insert(position) {
                        doubled.insert(position);
                    }
                }
                Ok(())
            })?;
        }
        let (last, vacant) = list.clone().unwrap_or_default();
        let has_target = |at: u64| (1..=last).contains(&at) && !vacant.contains(at);
        if list.is_some()
            && let Some(at) = seen.iter().find(|at| !has_target(*at))
        {
            return Err(Error::Usage(format!(
                "merge: there is a record of line {at}, where the target list has no target"
            )));
        }
        // One run may have probed a target that another one excluded.
        withheld.remove(0);
        withheld.subtract(&vacant);
        withheld.subtract(&seen);
        let mut missing = Positions::default();
        missing.insert_range(1..=last);
        for others in [&vacant, &seen, &withheld] {
            missing.subtract(others);
        }
        let unfinished = inputs.iter().filter(|input| !input.is_complete());
        Ok(Self {
            targets: list.is_some().then(|| last - vacant.len()),
            list,
            missing,
            withheld,
            doubled,
            unfinished: unfinished.map(|input| input.path.clone()).collect(),
        })
    }

    /// Describes what is missing or doubled.
    pub fn faults(&self) -> Option<String> {
        let mut faults = Vec::new();
        for (positions, what) in
            [(&self.missing, "ha[s|ve] no record"), (&self.doubled, "ha[s|ve] several records")]
        {
            if !positions.is_empty() {
                let what = format!("target[s] {what} (line[s] {})", shown(positions));
                faults.push(counted(positions.len(), &what));
            }
        }
        if self.targets.is_none() {
            faults.push("none of the runs has read its target list to the end".to_owned());
        }
        // An interrupted run is not a fault if no target is missing.
        if !faults.is_empty() {
            let paths = self.unfinished.iter().map(|path| path.display());
            faults.extend(paths.map(|path| format!("{path} was not finished")));
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

/// Ranges for a message; shortened if there are many.
fn shown(positions: &Positions) -> String {
    let text = positions.to_string();
    match text.match_indices(',').nth(SHOWN) {
        Some((at, _)) => format!("{}, ...", &text[..at]),
        None => text,
    }
}
