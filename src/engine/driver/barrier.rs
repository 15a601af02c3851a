//! Applies and reverts steps between configurations and waves, and detects interference with attempts in flight.

use std::ops::Range;
use std::time::Instant;

use super::{Asked, Engine, MOST_OUTPUTS};
use crate::engine::clocks;
use crate::engine::disturbance::Disturbance;
use crate::error::Result;
use crate::flags::Flag;
use crate::step::{self, Applied, CommandOutput, Flows, Turns};

impl Engine<'_> {
    /// The output of the programs of the first `command` steps: later ones repeat it.
    pub fn outputs(&self) -> &[CommandOutput] {
        &self.outputs
    }

    /// Undoes the steps that are in force. Whatever happens, they are undone at the latest when the engine is dropped.
    pub fn finish(&mut self) -> Result<()> {
        self.closer.settle();
        let mut altered = std::mem::take(&mut self.in_force).leave()?;
        altered.extend(self.common.take().unwrap_or_default().leave()?);
        altered.iter().for_each(|why| log::warn!("{why}"));
        Ok(())
    }

    /// Puts the steps of these configurations in force, after what is in force now; `all` are those of the wave.
    pub(super) fn apply(
        &mut self,
        configurations: Range<usize>,
        all: &Range<usize>,
        asked: &mut Asked,
    ) -> Result<()> {
        self.barrier(asked, true)?;
        self.progress.set_in_force(&configurations);
        log::info!("wave {}: configurations {configurations:?}", self.wave + 1);
        let settings = self.settings.clone();
        let context = settings.context();
        let flows: Vec<Flows> = configurations.clone().map(|number| self.flows(number)).collect();
        let steps = settings.configurations[configurations.clone()].iter().zip(&flows);
        let mut steps: Vec<_> = steps.map(|(c, flows)| (c.steps.as_slice(), flows)).collect();
        let own;
        if let (Turns::Overlapping, [(its, _)]) = (self.turns, steps.as_mut_slice()) {
            let all = settings.configurations[all.clone()].iter();
            let common = step::common(&all.map(|c| c.steps.as_slice()).collect::<Vec<_>>());
            own = step::own(its, &common);
            *its = &own;
            if self.common.is_none() {
                self.common = Some(Applied::apply(&[(&common, &flows[0])], &context)?);
            }
        }
        self.in_force = Applied::apply(&steps, &context)?;
        let first =
            if self.scheduler.is_busy() { self.in_flight.start } else { configurations.start };
        self.in_flight = first..configurations.end;
        self.configurations = configurations;
        let room = MOST_OUTPUTS.saturating_sub(self.outputs.len());
        self.outputs.extend(self.in_force.outputs().iter().take(room).cloned());
        // Attempts in flight get back the time that this took, if it was long, at the next turn of the loop.
        if self.scheduler.is_busy() { Ok(()) } else { self.rest() }
    }

    /// Every attempt of a wave has ended: ends the steps in force, unless they stay from wave to wave.
    pub(super) fn end_turns(&mut self, asked: &mut Asked) -> Result<()> {
        self.barrier(asked, self.turns.take_turns())?;
        let altered = self.common.take().unwrap_or_default().leave()?;
        let measured = self.settings.measured();
        let disturbance = |why| {
            let (configurations, flag) = (measured.clone(), Flag::NotInForce);
            Disturbance { configurations, flag, why }
        };
        asked.disturbed.extend(altered.into_iter().map(disturbance));
        Ok(())
    }

    /// Between two turns or after the last: records what happened to the attempts of the turn, and ends the steps in force if
    /// `end` says so or if they are not in force any more.
    pub(super) fn barrier(&mut self, asked: &mut Asked, end: bool) -> Result<()> {
        self.closer.settle();
        let in_force = std::mem::take(&mut self.in_force);
        let altered = match end {
            true => in_force.leave()?,
            false => match in_force.altered()? {
                altered if altered.is_empty() => {
                    self.in_force = in_force;
                    altered
                }
                mut altered => {
                    altered.extend(in_force.leave()?);
                    altered.dedup();
                    self.scheduler.handle_undone();
                    altered
                }
            },
        };
        let mut disturbed = |configurations: &Range<usize>, flag, why| {
            let configurations = configurations.clone();
            asked.disturbed.push(Disturbance { configurations, flag, why });
        };
        let in_force = &self.configurations;
        altered.into_iter().for_each(|why| disturbed(in_force, Flag::NotInForce, why));
        if let Some(pause) = self.pauses.poll_long() {
            let why = format!("this process or machine was paused for {} s", pause.as_secs());
            disturbed(&self.in_flight, Flag::Paused, why);
        }
        if let Some(why) = self.link.as_mut().map_or(Ok(None), |link| link.poll())? {
            disturbed(&self.in_flight, Flag::InterfaceChanged, why);
        }
        Ok(())
    }

    /// Nothing was in flight until now: what has happened did no harm, if the host is in order again.
    pub(super) fn rest(&mut self) -> Result<()> {
        clocks::read(&mut self.clock, self.epoch);
        self.pauses.handle_rest(clocks::reading(self.epoch.elapsed()));
        self.link.as_mut().map_or(Ok(None), |link| link.poll())?;
        Ok(())
    }

    /// Reads the clocks once a turn of the loop; attempts get back the time in which this process did not run. Returns the time
    /// by which they are judged.
    pub(super) fn take_time(&mut self) -> Instant {
        clocks::read(&mut self.clock, self.epoch);
        let now = Instant::now();
        let lost = self.pauses.handle_turn(clocks::reading(now.duration_since(self.epoch)));
        if !lost.is_zero() {
            log::info!("paused for {} ms", lost.as_millis());
            self.deadlines.iter_mut().flatten().for_each(|deadline| deadline.at += lost);
        }
        now
    }

    /// The packets of a configuration.
    pub(super) fn flows(&self, configuration: usize) -> Flows {
        Flows { mark: self.settings.slot.mark(configuration) }
    }
}
