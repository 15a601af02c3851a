//! The parts of a lab that a situation of the prober changes.

use std::ops::RangeInclusive;

use crate::lab::namespace::Namespace;
use crate::lab::spec::Spec;
use crate::lab::worker::Stop;

/// The router's device towards the prober.
pub(crate) const TOWARDS_PROBER: &str = "prober";

/// The lab parts that a situation changes.
pub(crate) struct Site<'a> {
    pub(crate) prober: &'a Namespace,
    pub(crate) router: &'a Namespace,
    pub(crate) spec: &'a Spec,
    /// The source ports of a run.
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) stop: &'a mut Stop,
    /// Namespaces that must live as long as the lab.
    pub(crate) namespaces: &'a mut Vec<Namespace>,
}
