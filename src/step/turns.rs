//! How configurations follow each other: derived from their steps, never declared.

use std::collections::BTreeSet;

use super::kind::Scope;
use super::kinds::Step;

/// How configurations follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// Every step is scoped to packets or a socket: all configurations are in force at once, and each target is probed under
    /// one after the other without a barrier.
    AtOnce,
    /// Configurations differ only in parameters that the kernel reads before the first packet of a connection and not
    /// again: a wave of targets under each configuration. A turn begins when all attempts of the one before have
    /// started; they may still be in flight. The barrier is at the end of the wave.
    Overlapping,
    /// Some step is for the namespace or the world: a wave of targets under each configuration,
    /// with a barrier between.
    Waves,
}

impl Turns {
    /// The order that the configurations allow, given as their steps and how often each target is probed under them.
    pub fn of<'a>(configurations: impl IntoIterator<Item = (&'a [Step], u32)>) -> Self {
        let (steps, repeats): (Vec<&[Step]>, Vec<u32>) = configurations.into_iter().unzip();
        if steps.iter().copied().flatten().all(|step| step.scope().shares()) {
            return Turns::AtOnce;
        }
        // An attempt is repeated when it has ended, and then under its own configuration.
        match repeats.iter().all(|repeat| *repeat == 1) && overlap(&steps) {
            true => Turns::Overlapping,
            false => Turns::Waves,
        }
    }

    /// Whether only one configuration is in force at a time.
    pub fn take_turns(self) -> bool {
        self != Turns::AtOnce
    }
}

/// The steps that all of these configurations have: with overlapping turns they are in force from the first turn of a wave
/// to its end.
pub(crate) fn common(configurations: &[&[Step]]) -> Vec<Step> {
    let Some((first, others)) = configurations.split_first() else { return Vec::new() };
    let common = |step: &&Step| changes_namespace(step) && others.iter().all(|o| o.contains(step));
    first.iter().filter(common).cloned().collect()
}

/// The steps of a configuration without those that are [`common`] to all.
pub(crate) fn own(steps: &[Step], common: &[Step]) -> Vec<Step> {
    steps.iter().filter(|step| !common.contains(step)).cloned().collect()
}

/// Whether attempts of one configuration may be in flight while another is in force.
fn overlap(configurations: &[&[Step]]) -> bool {
    let common = common(configurations);
    let each = |steps: &&[Step]| {
        let mut names = BTreeSet::new();
        steps.iter().all(|step| {
            step.scope() == Scope::Socket
                || (step.is_latched() || common.contains(step))
                    && names.insert(step.written().replace('/', "."))
        })
    };
    configurations.len() > 1 && configurations.iter().all(each)
}

/// Whether it is a step that only changes the namespace of this process.
fn changes_namespace(step: &Step) -> bool {
    matches!(step, Step::Sysctl(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(configurations: &[&[Step]], repeat: u32) -> Turns {
        Turns::of(configurations.iter().map(|steps| (*steps, repeat)))
    }

    #[test]
    fn turns_overlap_if_only_latched_parameters_differ() {
        let ecn = |value| Step::sysctl("net.ipv4.tcp_ecn", value);
        let fallback = |value| Step::sysctl("net.ipv4.tcp_ecn_fallback", value);
        let of = |configurations: &[&[Step]]| turns(configurations, 1);
        assert_eq!(of(&[&[], &[ecn("1")]]), Turns::Overlapping);
        assert_eq!(turns(&[&[], &[ecn("1")]], 2), Turns::Waves, "repeated");
        let both = |value| [ecn(value), fallback("0")];
        assert_eq!(of(&[&both("2"), &both("1")]), Turns::Overlapping);
        assert_eq!(of(&[&[ecn("2")], &both("1")]), Turns::Waves, "fallback differs");
        assert_eq!(of(&[&both("2"), &[ecn("1"), fallback("1")]]), Turns::Waves);
        assert_eq!(of(&[&[ecn("2")], &[ecn("1"), ecn("0")]]), Turns::Waves, "set twice");
        assert_eq!(of(&[&[ecn("1"), Step::HoldReset], &[]]), Turns::Waves);
        assert_eq!(of(&[&[Step::HoldReset], &[]]), Turns::AtOnce);
        assert_eq!(of(&[&[fallback("1")]]), Turns::Waves, "there is no other turn");
    }

    #[test]
    fn common_steps_and_own_ones_are_all() {
        let ecn = |value| Step::sysctl("net.ipv4.tcp_ecn", value);
        let fallback = Step::sysctl("net.ipv4.tcp_ecn_fallback", "0");
        let (zero, one) = ([ecn("2"), fallback.clone()], [fallback.clone(), ecn("1")]);
        let common = common(&[&zero, &one]);
        assert_eq!(common, [fallback]);
        assert_eq!([own(&zero, &common), own(&one, &common)], [vec![ecn("2")], vec![ecn("1")]]);
    }
}
