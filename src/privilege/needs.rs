//! The capabilities a run needs and why: listed by `explain`, required before a run, and kept no longer than needed.

use rustix::thread::CapabilitySet;

use crate::measurement::Plan;
use crate::step::{self, Privilege, Step};

/// For capturing, and for sending raw packets.
pub const NET_RAW: &str = "CAP_NET_RAW";
/// For changing the network configuration.
pub const NET_ADMIN: &str = "CAP_NET_ADMIN";

/// The name of a step's privilege, as users know it.
pub fn name_of(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::None => "none",
        Privilege::NetAdmin => NET_ADMIN,
        Privilege::AllowCommands => "--allow-commands",
    }
}

/// A need with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// A capability, or an option.
    pub name: &'static str,
    /// The reason.
    pub why: String,
    /// Whether it is always required; else it depends on facts only known later.
    pub required: bool,
    /// Whether it is needed until the end, not only for opening sockets.
    lasts: bool,
    /// Whether started programs need it.
    programs: bool,
}

impl Need {
    fn new(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, why: why.into(), required: true, lasts: true, programs: false }
    }

    fn set(&self) -> CapabilitySet {
        match self.name {
            NET_RAW => CapabilitySet::NET_RAW,
            NET_ADMIN => CapabilitySet::NET_ADMIN,
            _ => CapabilitySet::empty(),
        }
    }
}

/// All that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs(Vec<Need>);

impl Needs {
    /// The needs of watching an interface.
    pub fn of_capture() -> Self {
        Self(vec![Need { lasts: false, ..Need::new(NET_RAW, "to capture packets") }])
    }

    /// The needs of a measurement.
    pub fn of(plan: &Plan) -> Self {
        let mut needs = Self::of_capture();
        if plan.configs.iter().any(|config| config.connection.options.packet.is_some()) {
            needs.add(Need::new(
                NET_RAW,
                "to send raw packets and receive the answers (kind forge)",
            ));
        }
        if plan.locate.is_some() {
            needs.add(Need::new(
                NET_RAW,
                "to send copies of packets and receive ICMP errors (--locate)",
            ));
        }
        for step in plan.configs.iter().flat_map(|config| &config.steps) {
            needs.step(step);
        }
        if plan.configs.iter().any(|config| config.connection.fast_open()) {
            let why =
                "to delete the kernel's TCP Fast Open cookies and round-trip times of the targets";
            needs.add(Need::new(NET_ADMIN, why));
        }
        needs
    }

    /// Adds the needs of sockets bound to an interface.
    #[must_use]
    pub fn bound(mut self) -> Self {
        let why = "to bind sockets to the interface, with -i before Linux 5.7";
        self.add(Need { required: false, ..Need::new(NET_RAW, why) });
        self
    }

    fn step(&mut self, step: &Step) {
        for need in step.needs() {
            let kind = step.def().name;
            let why = if need.why.is_empty() { String::new() } else { format!(": {}", need.why) };
            let why = format!("for steps of the kind {kind}{why}");
            let step::Need { privilege, required, programs, .. } = need;
            self.add(Need { required, programs, ..Need::new(name_of(privilege), why) });
        }
    }

    fn add(&mut self, need: Need) {
        if !self.0.contains(&need) {
            self.0.push(need);
        }
    }

    /// Each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Need> {
        self.0.iter()
    }

    /// Required needs that are not among the permitted capabilities.
    pub fn missing(&self, permitted: CapabilitySet) -> Vec<&Need> {
        self.iter().filter(|need| need.required && !permitted.contains(need.set())).collect()
    }

    /// Capabilities still needed when everything is open.
    pub fn lasting(&self) -> CapabilitySet {
        self.iter().filter(|need| need.lasts).map(Need::set).collect()
    }

    /// Capabilities needed by programs started later.
    pub fn of_programs(&self) -> CapabilitySet {
        self.iter().filter(|need| need.programs).map(Need::set).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Reader;

    fn needs(measurement: &str) -> Needs {
        let (origin, text) = crate::measurement::find(measurement).unwrap();
        let base = Reader::from_targets(Vec::new()).fields();
        Needs::of(&Plan::load(&origin, &text, &base).unwrap())
    }

    #[test]
    fn each_measurement_keeps_only_what_its_steps_need() {
        let (none, raw) = (CapabilitySet::empty(), CapabilitySet::NET_RAW);
        let admin = CapabilitySet::NET_ADMIN;
        for (measurement, lasting, programs) in [
            ("mss", none, none),
            ("dscp", admin, admin),
            ("udpzero", raw, none),
            ("ecn", admin, none),
            ("ecn-scoped", admin, admin),
            ("tfo", admin, none),
            ("evilbit", raw | admin, admin),
        ] {
            let needs = needs(measurement);
            assert_eq!(
                (needs.lasting(), needs.of_programs()),
                (lasting, programs),
                "{measurement}"
            );
            assert_eq!(needs.missing(CapabilitySet::all()), Vec::<&Need>::new());
            let unbound = needs.clone();
            assert_eq!(needs.bound().lasting(), unbound.lasting() | raw);
        }
    }

    #[test]
    fn only_required_needs_are_missing() {
        let mss = needs("mss");
        assert!(mss.missing(CapabilitySet::NET_RAW).is_empty());
        let ecn = needs("ecn");
        let missing = ecn.missing(CapabilitySet::NET_RAW);
        assert_eq!(missing.iter().map(|need| need.name).collect::<Vec<_>>(), [NET_ADMIN]);
    }
}
