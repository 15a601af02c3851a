//! What is known about steps before any is applied: missing parameters and programs, rules that nft cannot read,
//! congestion controls that the kernel lacks.
//!
//! [`inspect`] changes nothing and sends nothing. What it asks about a host is behind [`Facts`], so that tests can make a
//! host up. Whether the kernel takes a value is known only once it is written, which [`rehearse`](super::rehearse) does.
//!
//! After a `command` step of a configuration nothing is known: the program may make what is missing.

use std::collections::BTreeSet;

use super::applied::together;
use super::facts::{Facts, Fault};
use super::kind::{Flows, Place};
use super::kinds::Step;
use super::lock::Run;
use super::slot::{Slot, mark};

/// A step that cannot work on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The number of its configuration.
    pub configuration: usize,
    /// Its number among the steps of that configuration.
    pub step: usize,
    /// The code of a diagnostic.
    pub code: &'static str,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// A step that the kernel, or the program that applies it, rejected when it was tried.
    pub fn refused(place: (usize, usize), step: &Step, why: &str) -> Self {
        let (code, help) = step.kind().refused(why);
        Self::of(place, Fault::new(code, format!("this host cannot do this step: {why}"), help))
    }

    fn of((configuration, step): Place, fault: Fault) -> Self {
        let Fault { code, message, help } = fault;
        Problem { configuration, step, code, message, help }
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What cannot work, in order.
    pub problems: Vec<Problem>,
    /// What could not be checked, in words.
    pub unchecked: Vec<String>,
}

/// How many steps of each configuration can be judged before any is applied: those before a program runs that may change
/// what they depend on.
pub(super) fn known(configurations: &[&[Step]]) -> Vec<usize> {
    let mut changed = false;
    let judge = |steps: &&[Step]| {
        let opaque = steps.iter().position(|step| step.kind().is_opaque());
        let known = if changed { 0 } else { opaque.unwrap_or(steps.len()) };
        // What nothing undoes still lasts under the configurations that follow.
        changed |= steps.iter().any(|step| step.kind().lasts());
        known
    };
    configurations.iter().map(judge).collect()
}

/// Inspects the steps of all configurations.
pub fn inspect(configurations: &[&[Step]], facts: &dyn Facts) -> Inspection {
    let mut found = Inspection::default();
    let known = known(configurations);
    for (configuration, steps) in configurations.iter().enumerate() {
        for (number, step) in steps.iter().enumerate() {
            let kind = step.kind();
            if kind.is_opaque() || number < known[configuration] {
                let fault = kind.inspect(facts);
                found.problems.extend(fault.map(|f| Problem::of((configuration, number), f)));
            }
        }
    }
    let judged: Vec<&[Step]> =
        configurations.iter().zip(&known).map(|(steps, known)| &steps[..*known]).collect();
    inspect_groups(&judged, facts, &mut found);
    found.problems.sort_by_key(|problem| (problem.configuration, problem.step));
    found
}

/// Inspects what is applied together, once for each kind.
fn inspect_groups(configurations: &[&[Step]], facts: &dyn Facts, found: &mut Inspection) {
    let flows: Vec<Flows> =
        (0..configurations.len()).map(|number| Flows { mark: mark(number) }).collect();
    let all: Vec<(&[Step], &Flows)> = configurations.iter().copied().zip(&flows).collect();
    // No run has this name, and so no table does.
    let never = Run { pid: 0, started: 0, since: 0, measurement: String::new() };
    let together = together(&all, (None, Slot::default(), &never));
    let mut kinds = BTreeSet::new();
    for (_, step) in &together.steps {
        if kinds.insert(step.def().name) {
            let group = step.inspect_group(&together, facts);
            let problems = group.faults.into_iter().map(|(place, fault)| Problem::of(place, fault));
            found.problems.extend(problems);
            found.unchecked.extend(group.unchecked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::kinds::command::Command;

    fn command(undo: &[&str]) -> Step {
        let undo = undo.iter().map(|word| (*word).to_owned()).collect();
        Step::Command(Command { run: vec!["dish".into()], undo, ..Command::default() })
    }

    #[test]
    fn nothing_is_known_after_a_program() {
        let plain = Step::sysctl("net.x", "1");
        let undone = [plain.clone(), command(&["west"]), plain.clone()];
        let lasting = [plain.clone(), plain.clone(), command(&[])];
        let none = [plain];
        assert_eq!(known(&[&none, &undone, &none]), [1, 1, 1]);
        assert_eq!(known(&[&lasting, &none, &[]]), [2, 0, 0]);
    }
}
