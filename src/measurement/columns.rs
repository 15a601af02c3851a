//! What rules need to know about the columns of a configuration: the source of each, and thus when its value is known.

use super::selection::provider;
use crate::chain::Selection;
use crate::chain::own::Of;
use crate::field::{FieldDef, FilledBy};
use crate::record;
use crate::rule::{About, Columns, Known};

/// The columns of a measurement with these functions.
pub(super) struct Chosen<'a>(pub(super) &'a Selection);

impl Columns for Chosen<'_> {
    fn elsewhere(&self, column: &str) -> Option<String> {
        provider(column, self.0)
    }

    fn about(&self, column: &str) -> About {
        about_with(self.0, column)
    }
}

/// What a rule may conclude from a column, also from one that a measurement defines itself.
pub fn about_with(selection: &Selection, column: &str) -> About {
    match selection.own().iter().find(|own| own.name == column) {
        Some(own) => {
            // Any packet that was missed may have been the smallest, or the first.
            let bounds = (own.of == Of::Count).then_some((0, i64::MAX));
            About { known: Known::Added, optional: !own.fold.adds_up(), bounds, ..About::ALWAYS }
        }
        None => about(column),
    }
}

/// The facts about a column of a configuration's struct. Swept values and columns without a row in a registry
/// are known in every record.
pub fn about(column: &str) -> About {
    let Some(field) = record::field(column) else { return About::ALWAYS };
    let known = match field.filled_by {
        // The engine knows its own columns; the result of an attempt exists only if something was sent.
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
    fn when_columns_are_known() {
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
