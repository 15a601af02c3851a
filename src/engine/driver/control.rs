//! Control waves: every configuration is like the baseline, so that whatever is told apart is none of the
//! experiment's doing.

use std::rc::Rc;

use super::{Engine, Settings, Way};
use crate::error::Result;

/// What an engine is like in waves of the other sort.
pub(super) struct Other {
    settings: Rc<Settings>,
    ways: Vec<Way>,
    is_control: bool,
}

impl Other {
    /// Of an engine with these settings: those of control waves.
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
    /// Whether the next wave is a control: its targets are asked under the baseline as often as there are
    /// configurations, in the turns and with the marks of all of them.
    ///
    /// # Errors
    /// When steps that are in force cannot be undone.
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
