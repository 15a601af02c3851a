//! Options for commands that take a list's columns into account.

use crate::targets::{FixedColumn, Options};

/// Columns whose types do not depend on what a list looks like.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FixedColumns {
    /// Fix the types of columns of the target list (bool, int, float, text), as in rank:int,asn:text; repeatable. Types
    /// are found in the first thousand lines otherwise, and may differ from day to day
    ///
    /// A fixed column is there even if the list does not have it. A value that does not fit goes into `extra`.
    #[arg(long = "column", value_name = "NAME:TYPE,...", value_delimiter = ',', value_parser = FixedColumn::parse)]
    column: Vec<FixedColumn>,
}

impl FixedColumns {
    /// How a list is read whose lines without a port have this one.
    pub fn options(&self, default_port: Option<u16>) -> Options {
        Options { default_port, columns: self.column.clone(), ..Options::default() }
    }
}
