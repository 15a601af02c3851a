//! The columns of the struct `locate`.

use std::net::IpAddr;

use crate::field::fields;

/// The name of the struct.
pub const LOCATE: &str = "locate";

fields! {
    /// The findings of `[locate]`: the struct `locate` of a record. All of it is NULL for a target that had no label of
    /// `[locate]`.
    pub struct Located, LocatedColumns: Engine;
    "locate" {
        /// The label that the search is about.
        label: Option<String>,
        /// The beginning of the labels about the place: the condition without its last part.
        subject: Option<String>,
        /// The configuration whose packets were copied, besides those of the baseline.
        experiment: Option<&'static str>,
        /// The packet that was copied: `syn`, `packet` or `data`.
        copied: Option<&'static str>,
        /// How the search ended: `located`, `unlocated`, `gone` (the experiment's copies came through now), `clean` (they came
        /// unchanged as far as the target), `undone` (a hop further up does not show the change), `offline` (the target did not
        /// answer the baseline), `ended` (the target was excluded, or this host could not send).
        outcome: Option<&'static str>,
        /// What happens to the experiment's packet: `changed`, `dropped`, `reset`, `rejected` (an ICMP error says so) or
        /// `intercepted` (something before the target answered).
        fault: Option<&'static str>,
        /// The fields in which the experiment's packet differs from the baseline's, joined by commas: `ecn`, `dscp`, `evil`,
        /// `flags`, `window`, `options`, `checksum`, `data`.
        fields: Option<String>,
        /// The smallest TTL that shows the fault: the hop that did it is this one or lies after hop_before.
        hop: Option<u8>,
        /// The largest TTL below it at which the packet was as sent; 0 is this host.
        hop_before: Option<u8>,
        /// The address that answers at hop, which may be the target's; NULL if none does. For a packet that is dropped, it answers
        /// the baseline.
        changed_from: Option<IpAddr>,
        /// The address that answered at hop_before.
        same_from: Option<IpAddr>,
        /// The probability that the fault is between hop_before and hop, given the answers.
        sure: Option<f64>,
        /// Whether hop_before was asked for other targets only, with which this one shares its first hops.
        shared: Option<bool>,
        /// The smallest TTL with which the target itself answered the baseline.
        reached_zero: Option<u8>,
        /// The same for the experiment.
        reached_one: Option<u8>,
        /// The largest TTL at which a hop quoted the baseline's packet.
        far_zero: Option<u8>,
        /// The same for the experiment.
        far_one: Option<u8>,
        /// How many hops quoted the baseline's packet.
        answered_zero: Option<u8>,
        /// The same for the experiment.
        answered_one: Option<u8>,
        /// How many TTLs were asked and not answered.
        silent: Option<u8>,
        /// How many TTLs were not asked, because too many searches ask the hop there.
        limited: Option<u8>,
        /// The largest number of addresses that answered copies of one configuration with one TTL: more than 1 if packets
        /// of a flow take more than one way.
        branches: Option<u8>,
        /// The fewest octets of the transport that a quote of the experiment's packet has; if there is none, of the baseline's.
        quote_min: Option<u16>,
        /// The octets of the transport's header in that packet; without a quote, in the experiment's.
        header: Option<u16>,
        /// The copies that were sent to the target.
        packets: Option<u16>,
        /// The resets that followed its answers.
        resets: Option<u16>,
        /// The number of the autonomous system that announces this host's address; NULL without an AS table.
        source_as: Option<u32>,
        /// The same for the target.
        target_as: Option<u32>,
        /// The same for same_from.
        same_as: Option<u32>,
        /// The same for changed_from.
        changed_as: Option<u32>,
    }
}
