//! Slots: what concurrent runs in one network namespace do not share.
//!
//! Each run has a slot of its own, with firewall marks, routing tables and an nftables table; the engine gives each slot
//! its own source ports. A run that changes the whole namespace holds all slots, so that no other run is active at the
//! same time (`lock`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The mark of configuration number 0 of the first slot. The last octet is the configuration, the lower half of the first
/// one the slot. All avoid the bits that other programs test separately (Kubernetes 0x4000 and 0x8000, Cilium 0xf00,
/// mwan3 0x3f00, Calico 0xf0000), and the values that Tailscale looks for in 0xff0000.
const MARKS: u32 = 0x5050_0000;

/// The largest number of concurrent runs in a network namespace: there are source ports for this many.
pub const SLOTS: u8 = 3;

/// The place of a run among the concurrent runs in its network namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot(u8);

impl Slot {
    /// Every slot, the first one first.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(Slot)
    }

    /// Its number, from 0.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The firewall mark of a configuration (of at most 256), by its number: also the number of its routing table.
    pub fn mark(self, configuration: usize) -> u32 {
        MARKS | u32::from(self.0) << 24 | (configuration as u32 & 0xff)
    }

    /// The nftables table of the program's rules, with its family.
    pub fn table(self) -> String {
        match self.0 {
            0 => "inet pathspider".into(),
            number => format!("inet pathspider_{number}"),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The firewall mark of a configuration in the first slot.
pub fn mark(configuration: usize) -> u32 {
    Slot::default().mark(configuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_differ_and_avoid_the_bits_of_other_programs() {
        let mut seen = std::collections::HashSet::new();
        for slot in Slot::all() {
            for configuration in 0..256 {
                let mark = slot.mark(configuration);
                assert_eq!(mark & 0xf_ff00, 0, "{mark:#x}");
                assert!(seen.insert(mark), "{mark:#x}");
            }
        }
    }

    #[test]
    fn tables_differ() {
        let tables: Vec<String> = Slot::all().map(Slot::table).collect();
        assert_eq!(tables, ["inet pathspider", "inet pathspider_1", "inet pathspider_2"]);
    }
}
