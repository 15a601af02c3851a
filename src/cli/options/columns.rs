//! Options for commands that use the columns of a target list.

use crate::targets::{FixedColumn, Options};

/// Columns with fixed types, whatever the list contains.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FixedColumns {
    /// Fix the types of columns of the target list (bool, int, float, text), as in rank:int,asn:text; repeatable. Other
    /// types are inferred from the first thousand lines, and may differ between lists
    ///
    /// A fixed column exists even if the list does not have it. A value of another type is stored in `extra`.
    #[arg(long = "column", value_name = "NAME:TYPE,...", value_delimiter = ',', value_parser = FixedColumn::parse)]
    column: Vec<FixedColumn>,
}

impl FixedColumns {
    /// How to read a list; lines without a port get `default_port`.
    pub fn options(&self, default_port: Option<u16>) -> Options {
        Options { default_port, columns: self.column.clone(), ..Options::default() }
    }
}
