//! What an attempt sends to a target, and how that number comes about.

use crate::connect::cost::Part;
use crate::measurement::{Connection, Plan};

/// What one attempt sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// By sort of packet.
    pub parts: Vec<Part>,
}

/// Packets and octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Packets.
    pub packets: u64,
    /// Octets of IP packets.
    pub octets: u64,
}

impl Cost {
    /// To a target that answers in one segment and closes, over a path that loses nothing; fewer where
    /// ACKs fall together or go with something else.
    pub fn usual(&self) -> Sum {
        self.sum(|part| (part.usual, part.octets.0))
    }

    /// To a target that does whatever costs most.
    pub fn most(&self) -> Sum {
        self.sum(|part| (part.most, part.octets.1))
    }

    fn sum(&self, of: impl Fn(&Part) -> (u64, u64)) -> Sum {
        let parts = self.parts.iter().map(of);
        parts.map(|(packets, octets)| Sum { packets, octets: packets * octets }).sum()
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Sum>>(sums: I) -> Sum {
        sums.fold(Sum { packets: 0, octets: 0 }, |all, one| Sum {
            packets: all.packets + one.packets,
            octets: all.octets + one.octets,
        })
    }
}

/// What the attempts of a configuration send to one target.
pub fn cost(connection: &Connection) -> Cost {
    let Connection { kind, timeout, options, .. } = connection;
    let mut parts = (kind.cost)(options, *timeout);
    let times = u64::from(options.repeat());
    for part in &mut parts {
        (part.usual, part.most) = (part.usual * times, part.most * times);
    }
    Cost { parts }
}

/// What a target is sent under all configurations, and by a probe before them, usually and at most, each time that it
/// is asked.
pub fn in_all(plan: &Plan) -> (Sum, Sum) {
    let probe = plan.probe().map(|probe| cost(&probe.connection));
    let all: Vec<Cost> = costs(plan).chain(probe).collect();
    (all.iter().map(Cost::usual).sum(), all.iter().map(Cost::most).sum())
}

/// What it is sent at most, with the rounds of one that looks broken or transient.
pub fn with_rounds(plan: &Plan) -> Sum {
    let (_, most) = in_all(plan);
    let times = 1 + u64::from(plan.confirm.rounds);
    Sum { packets: most.packets * times, octets: most.octets * times }
}

/// What each configuration sends a target.
pub fn costs(plan: &Plan) -> impl Iterator<Item = Cost> {
    plan.configs.iter().map(|config| cost(&config.connection))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connect::{Options, kind};

    #[test]
    fn a_target_that_answers_and_closes_gets_five_packets() {
        let kind = kind("tcp").unwrap();
        let cost = Cost { parts: (kind.cost)(&Options::default(), Duration::from_secs(3)) };
        assert_eq!(cost.usual(), Sum { packets: 5, octets: 60 + 4 * 52 });
        assert_eq!(cost.most(), Sum { packets: 72, octets: 7_200 });
    }
}
