//! The tables of a report, in the order of the page.

use super::cell::Table;
use super::{
    Account, account_tables, dictionary, group_tables, label_tables, loss_tables, series_tables,
};

/// A kind of table: one or several tables of an account.
pub struct TableDef {
    /// Its section of the page, and the beginning of the tables' ids.
    pub name: &'static str,
    /// What it shows.
    pub doc: &'static str,
    /// Makes the tables; none where the results have nothing to show.
    pub make: fn(&Account) -> Vec<Table>,
}

/// Every kind of table about one result. Their SQL needs [`prelude`](super::sql::prelude).
pub static TABLES: &[TableDef] = &[
    TableDef {
        name: "account",
        doc: "From the lines of the target list to the targets that were judged: the denominators.",
        make: account_tables::account,
    },
    TableDef {
        name: "judged",
        doc: "To how many targets each condition applies, and for how many it has a label.",
        make: account_tables::judged,
    },
    TableDef {
        name: "labels",
        doc: "The labels of each condition with score intervals, next to those of the controls.",
        make: label_tables::labels,
    },
    TableDef {
        name: "confirmation",
        doc: "What the confirmation rounds said of targets that looked broken or transient.",
        make: label_tables::confirmation,
    },
    TableDef {
        name: "networks",
        doc: "The networks with the most affected targets.",
        make: group_tables::networks,
    },
    TableDef {
        name: "systems",
        doc: "The autonomous systems with the most affected targets.",
        make: group_tables::systems,
    },
    TableDef {
        name: "list",
        doc: "Affected targets by rank, and by other columns of the target list.",
        make: group_tables::list,
    },
    TableDef {
        name: "metrics",
        doc: "Distributions of round-trip times and of the measurement's metrics.",
        make: series_tables::metrics,
    },
    TableDef {
        name: "ends",
        doc: "How the attempts ended under each configuration.",
        make: loss_tables::ends,
    },
    TableDef {
        name: "lost",
        doc: "What the run counted as lost, disturbed or not observed.",
        make: loss_tables::lost,
    },
    TableDef {
        name: "flags",
        doc: "Records with a flag: some of their data may be missing.",
        make: loss_tables::flags,
    },
    TableDef {
        name: "bounds",
        doc: "What targets without a label could change at most.",
        make: loss_tables::bounds,
    },
    TableDef {
        name: "provenance",
        doc: "The metadata of the result.",
        make: dictionary::provenance,
    },
    TableDef {
        name: "dictionary",
        doc: "Every column of the records.",
        make: dictionary::dictionary,
    },
];

/// All tables about an account.
pub fn all(account: &Account) -> Vec<Table> {
    TABLES.iter().flat_map(|def| (def.make)(account)).collect()
}

/// The tables of one kind.
pub fn of(account: &Account, name: &str) -> Vec<Table> {
    TABLES.iter().filter(|def| def.name == name).flat_map(|def| (def.make)(account)).collect()
}
