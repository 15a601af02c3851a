//! Tries the steps of all configurations before the first packet: each is applied, read back and undone as it is later.
//!
//! Whether a kernel takes a value, a route or a rule is certain only once it has taken it. So a run applies what it would
//! apply anyway, a moment earlier and with the same journal, and restores the host before anything is sent. Programs of
//! `command` steps are not run, since they may act outside this host; steps after them are not tried.

use super::applied::{Applied, Context};
use super::kind::Flows;
use super::kinds::Step;
use super::kinds::sockopt::Sockopt;
use super::preflight::{Problem, known};
use super::turns::Turns;
use crate::error::Result;

/// Applies the steps of these configurations, in turns or all at once as the run does, and undoes them. Returns those that
/// the host rejected: of each turn, the first. `set` tries an option on a socket of a configuration, and returns why it
/// cannot be set.
///
/// # Errors
/// If something that was changed cannot be restored, or cannot be read.
pub fn rehearse(
    configurations: &[(&[Step], &Flows)],
    turns: Turns,
    context: &Context,
    set: impl Fn(usize, &Sockopt) -> Option<String>,
) -> Result<Vec<Problem>> {
    let steps: Vec<&[Step]> = configurations.iter().map(|(steps, _)| *steps).collect();
    let judged: Vec<(&[Step], &Flows)> = configurations
        .iter()
        .zip(known(&steps))
        .map(|((steps, flows), known)| (&steps[..known], *flows))
        .collect();
    let size = if turns.take_turns() { 1 } else { judged.len().max(1) };
    let mut problems = Vec::new();
    for (configuration, (steps, _)) in judged.iter().enumerate() {
        for (number, step) in steps.iter().enumerate() {
            if let Step::Sockopt(option) = step
                && let Some(why) = set(configuration, option)
            {
                problems.push(Problem::refused((configuration, number), step, &why));
            }
        }
    }
    for (turn, together) in judged.chunks(size).enumerate() {
        if together.iter().all(|(steps, _)| steps.is_empty()) {
            continue;
        }
        match Applied::try_apply(together, context) {
            // What another program changes in the meantime is not ours to restore, and says nothing about the step.
            Ok(applied) => drop(applied.leave()?),
            Err(refused) => {
                let (configuration, number) = refused.step.unwrap_or_default();
                let step = &together[configuration].0[number];
                let at = (turn * size + configuration, number);
                problems.push(Problem::refused(at, step, &refused.why.to_string()));
            }
        }
    }
    problems.sort_by_key(|problem| (problem.configuration, problem.step));
    Ok(problems)
}
