//! Options about the confidence in the labels of a run.

use crate::measurement::ROUNDS;
use crate::run::controls::Share;
use crate::run::spec::Spec;

/// How a run distinguishes lasting from transient faults, and labels from false alarms.
#[derive(Debug, clap::Args)]
pub struct Confidence {
    /// Re-probe a target that looks broken or transient N times, overriding the measurement; 0 is never
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(ROUNDS))]
    confirm: Option<u16>,

    /// Search for the hops between which the path changes or drops what leads to a label: those that the measurement lists in
    /// [locate], and LABEL; repeatable
    #[arg(long, value_name = "LABEL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    locate: Option<Vec<String>>,

    /// Probe this share of the targets, such as 5%, under the baseline alone, as often as the others under all
    /// configurations: any label that they get is a false alarm
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    control: Option<Share>,
}

impl Confidence {
    /// Writes the options into a run's spec.
    pub fn fill(&self, spec: &mut Spec) {
        spec.confirm = self.confirm;
        spec.control = self.control;
        let labels = self.locate.as_ref();
        spec.locate =
            labels.map(|labels| labels.iter().filter(|l| !l.is_empty()).cloned().collect());
    }
}
