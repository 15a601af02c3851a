//! The situation of the lab's prober.

use std::ops::RangeInclusive;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::error::Result;
use crate::lab::prober::{SITUATIONS, find};
use crate::lab::{Lab, Situation, Spec};
use crate::run::source_ports;
use crate::step::Slot;

/// The prober's situation.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Prober {
    /// Put the lab's prober into a situation: a firewall, NAT, busy processors (`lab list` shows all). In each of them
    /// conditions may be absent, but not wrong
    #[arg(long = "lab-prober", value_name = "NAME", value_parser = situations())]
    situation: Option<&'static Situation>,
}

impl Prober {
    /// The situation, if one was asked for.
    pub fn situation(self) -> Option<&'static Situation> {
        self.situation
    }

    /// The lab with the truth of this situation.
    pub fn truths(self, spec: Spec) -> Spec {
        self.situation.map_or_else(|| spec.clone(), |situation| situation.truths(&spec))
    }

    /// Builds a lab with its prober in this situation; `ports` are the source ports given to a run.
    pub fn build(self, spec: &Spec, ports: Option<&RangeInclusive<u16>>) -> Result<Lab> {
        let Some(situation) = self.situation else { return Lab::build(spec) };
        let ports = source_ports::pool(ports, Slot::default(), 1)?.bounds();
        Lab::build_in(spec, situation, ports)
    }
}

/// The names of all situations, with what each does.
fn situations() -> impl TypedValueParser<Value = &'static Situation> {
    let names = SITUATIONS.iter().map(|row| PossibleValue::new(row.name).help(row.title));
    PossibleValuesParser::new(names)
        .try_map(|name| find(&name).ok_or_else(|| format!("there is no situation {name}")))
}
