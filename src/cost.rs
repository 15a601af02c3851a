//! The cost of an attempt: packets and octets sent to a target.

use crate::connect::Transport;
use crate::connect::cost::Part;
use crate::measurement::{Connection, Plan};

/// The cost of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// By sort of packet.
    pub parts: Vec<Part>,
    /// Octets that are read of what the target sends, at most: then it gets a reset. 0 for kinds without a connection.
    pub read: u64,
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
    /// The cost with a target that answers in one segment and closes, over a path without loss. Fewer packets if ACKs are
    /// combined.
    pub fn usual(&self) -> Sum {
        self.sum(|part| (part.usual, part.octets.0))
    }

    /// The maximum, whatever the target does.
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

/// The cost of a configuration's attempts to one target.
pub fn cost(connection: &Connection) -> Cost {
    let Connection { kind, timeout, options, .. } = connection;
    let mut parts = (kind.cost)(options, *timeout);
    let times = u64::from(options.repeat());
    for part in &mut parts {
        (part.usual, part.most) = (part.usual * times, part.most * times);
    }
    let read = match kind.transport {
        Transport::Tcp | Transport::Mptcp => (kind.most_read)(options) as u64,
        Transport::Udp | Transport::Raw => 0,
    };
    Cost { parts, read: read * times }
}

/// Usual and maximum cost of probing a target once under all configurations, with its preparatory probe.
pub fn in_all(plan: &Plan) -> (Sum, Sum) {
    let probe = plan.probe().map(|probe| cost(&probe.connection));
    let all: Vec<Cost> = costs(plan).chain(probe).collect();
    (all.iter().map(Cost::usual).sum(), all.iter().map(Cost::most).sum())
}

/// Octets that are read of what a target sends, at most, when it is probed once under all configurations.
pub fn read_in_all(plan: &Plan) -> u64 {
    let probe = plan.probe().map(|probe| cost(&probe.connection));
    costs(plan).chain(probe).map(|cost| cost.read).sum()
}

/// The maximum including confirmation rounds and the search for the place of a label.
pub fn with_rounds(plan: &Plan) -> Sum {
    let (_, most) = in_all(plan);
    let times = 1 + u64::from(plan.confirm.rounds);
    let rounds = Sum { packets: most.packets * times, octets: most.octets * times };
    [rounds, of_locate(plan)].into_iter().sum()
}

/// The maximum of the search for the place of a label.
pub fn of_locate(plan: &Plan) -> Sum {
    let packets = plan.locate.as_ref().map_or(0, |locate| u64::from(locate.limits.packets));
    let parts = costs(plan).flat_map(|cost| cost.parts);
    // Only the first packet of an attempt is copied.
    let first = parts.filter(|part| FIRST.contains(&part.packet)).map(|part| part.octets.1).max();
    Sum { packets, octets: packets * first.unwrap_or(LARGEST_SYN) }
}

/// The sorts of packets that come first.
const FIRST: [&str; 3] = ["SYN", "crafted packet", "query"];
/// The octets of a SYN over IPv6 with all options.
const LARGEST_SYN: u64 = 100;

/// The cost of each configuration.
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
        let parts = (kind.cost)(&Options::default(), Duration::from_secs(3));
        let cost = Cost { parts, read: 0 };
        assert_eq!(cost.usual(), Sum { packets: 5, octets: 60 + 4 * 52 });
        assert_eq!(cost.most(), Sum { packets: 72, octets: 7_200 });
    }
}
