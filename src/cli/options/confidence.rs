//! Options about how certain the labels of a run are.

use crate::measurement::ROUNDS;
use crate::run::controls::Share;
use crate::run::spec::Spec;

/// How a run tells a lasting fault from a passing one, and a label from a false alarm.
#[derive(Debug, clap::Args)]
pub struct Confidence {
    /// Ask a target that looks broken or transient again N times, whatever the measurement says; 0 is never
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(ROUNDS))]
    confirm: Option<u16>,

    /// Ask this share of the targets, such as 5%, under the baseline alone, as often as the others under all
    /// configurations: a label that they are given is a false alarm
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    control: Option<Share>,
}

impl Confidence {
    /// Writes the options into a run's spec.
    pub fn fill(&self, spec: &mut Spec) {
        spec.confirm = self.confirm;
        spec.control = self.control;
    }
}
