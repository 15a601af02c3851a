//! Control waves: every configuration is like the baseline, so that a difference between them is not an effect of the
//! experiment.

use std::rc::Rc;

use super::{Engine, Settings, Way};
use crate::error::Result;

/// The settings of an engine in waves of the other sort.
pub(super) struct Other {
    settings: Rc<Settings>,
    ways: Vec<Way>,
    is_control: bool,
}

impl Other {
    /// The settings of control waves, for an engine with these settings.
    pub(super) fn control(settings: &Settings) -> Self {
        let mut configurations = settings.configurations.clone();
        if let Some((first, others)) = configurations[settings.measured()].split_first_mut() {
            others.fill(first.clone());
        }
        let settings = Settings { configurations, ..settings.clone() };
        Self { ways: Way::all(&settings), settings: Rc::new(settings), is_control: true }
    }
}

impl Engine<'_> {
    /// Makes the next wave a control wave, or a normal one: the targets of a control wave are probed under the baseline once
    /// for each configuration, in the turns and with the marks of all of them.
    ///
    /// # Errors
    /// If steps that are in force cannot be undone.
    pub fn control(&mut self, is_control: bool) -> Result<()> {
        if self.other.is_control != is_control {
            return Ok(());
        }
        self.finish()?;
        self.scheduler.handle_undone();
        self.raw.forget_senders();
        std::mem::swap(&mut self.settings, &mut self.other.settings);
        std::mem::swap(&mut self.ways, &mut self.other.ways);
        self.other.is_control = !is_control;
        Ok(())
    }
}
