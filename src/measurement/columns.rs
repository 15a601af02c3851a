//! What rules have to know of the columns of a configuration: who fills each, and so when its value is known.

use super::selection::provider;
use crate::chain::Selection;
use crate::field::{FieldDef, FilledBy};
use crate::record;
use crate::rule::{About, Columns, Known};

/// The columns of a measurement that observes by these functions.
pub(super) struct Chosen<'a>(pub(super) &'a Selection);

impl Columns for Chosen<'_> {
    fn elsewhere(&self, column: &str) -> Option<String> {
        provider(column, self.0)
    }

    fn about(&self, column: &str) -> About {
        about(column)
    }
}

/// What is known of a column of a configuration's struct. Swept values, and whatever has no row in a registry, are
/// known in every record.
pub fn about(column: &str) -> About {
    let Some(field) = record::field(column) else { return About::ALWAYS };
    let known = match field.filled_by {
        // The engine knows what it did; but whether it worked only if there was anything to do.
        FilledBy::Engine if ["ok", "answer"].contains(&column) => Known::Sent,
        FilledBy::Engine | FilledBy::Sweep => Known::Always,
        FilledBy::Reply => Known::Sent,
        FilledBy::Observer if field.optional => Known::Seen,
        FilledBy::Observer => Known::Added,
    };
    let FieldDef { optional, bounds, .. } = *field;
    About { known, optional, bounds, nanoseconds: field.is_nanoseconds() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_knows_when_it_is_known() {
        for (column, known) in [
            ("state", Known::Always),
            ("stage", Known::Always),
            ("ip_version", Known::Always),
            ("error", Known::Always),
            ("observed", Known::Always),
            ("codepoint", Known::Always),
            ("ok", Known::Sent),
            ("answer", Known::Sent),
            ("http_status", Known::Sent),
            ("tcp_synack_ece", Known::Seen),
            ("icmp_too_big_mtu", Known::Seen),
            ("ecn_ce_data_rev", Known::Added),
            ("pkt_rev", Known::Added),
        ] {
            assert_eq!(about(column).known, known, "{column}");
        }
        let rtt = about("tcp_handshake_rtt");
        assert!(rtt.nanoseconds && rtt.optional && rtt.bounds.is_some());
        assert!(!about("icmp_too_big_mtu").nanoseconds);
    }
}
