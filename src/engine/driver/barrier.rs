//! Applies and reverts steps between configurations and waves, and detects interference with attempts in flight.

use std::ops::Range;
use std::time::Instant;

use super::{Asked, Engine, MOST_OUTPUTS};
use crate::engine::clocks;
use crate::engine::disturbance::Disturbance;
use crate::error::Result;
use crate::flags::Flag;
use crate::step::{Applied, CommandOutput, Flows};

impl Engine<'_> {
    /// The output of the programs of the first `command` steps: later ones repeat it.
    pub fn outputs(&self) -> &[CommandOutput] {
        &self.outputs
    }

    /// Undoes the steps that are in force. Whatever happens, they are undone at the latest when the engine is dropped.
    pub fn finish(&mut self) -> Result<()> {
        self.closer.settle();
        let altered = std::mem::take(&mut self.in_force).leave()?;
        altered.iter().for_each(|why| log::warn!("{why}"));
        Ok(())
    }

    /// Puts the steps of these configurations in force, after what is in force now.
    pub(super) fn apply(&mut self, configurations: Range<usize>, asked: &mut Asked) -> Result<()> {
        self.barrier(asked, true)?;
        self.progress.set_in_force(&configurations);
        log::info!("wave {}: configurations {configurations:?}", self.wave + 1);
        let flows: Vec<Flows> = configurations.clone().map(|number| self.flows(number)).collect();
        let steps = self.settings.configurations[configurations.clone()].iter().zip(&flows);
        let steps: Vec<_> = steps.map(|(c, flows)| (c.steps.as_slice(), flows)).collect();
        self.in_force = Applied::apply(&steps, &self.settings.context())?;
        self.configurations = configurations;
        let room = MOST_OUTPUTS.saturating_sub(self.outputs.len());
        self.outputs.extend(self.in_force.outputs().iter().take(room).cloned());
        self.rest()
    }

    /// No attempt is in flight: records what happened to those that were, and ends the steps in force if `end` says so or if
    /// they are not in force any more.
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
        let mut disturbed = |flag, why| {
            let configurations = self.configurations.clone();
            asked.disturbed.push(Disturbance { configurations, flag, why });
        };
        altered.into_iter().for_each(|why| disturbed(Flag::NotInForce, why));
        if let Some(pause) = self.pauses.poll_long() {
            let why = format!("this process or machine was paused for {} s", pause.as_secs());
            disturbed(Flag::Paused, why);
        }
        if let Some(why) = self.link.as_mut().map_or(Ok(None), |link| link.poll())? {
            disturbed(Flag::InterfaceChanged, why);
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
