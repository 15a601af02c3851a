//! `--format` of commands that write records: the format of the summary, and whether records are in upstream's format.

use std::path::Path;

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::report::format::Format;
use crate::run::form;
use crate::sink;

/// The values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Summary as text.
    Text,
    /// Summary as JSON.
    Json,
    /// Records in the format of PATHspider 2, as NDJSON; summary as text.
    Pathspider,
}

/// How records and their summary are written.
#[derive(Debug, clap::Args)]
pub struct Form {
    /// Format of the summary; or `pathspider` for records in the format of PATHspider 2, in .ndjson
    #[arg(long, value_enum, default_value = "text")]
    format: Choice,

    /// With --format pathspider: also write the facts of each flow to the records
    #[arg(long)]
    output_flows: bool,
}

impl Form {
    /// The format of the summary.
    pub fn summary(&self) -> Format {
        match self.format {
            Choice::Json => Format::Json,
            Choice::Text | Choice::Pathspider => Format::Text,
        }
    }

    /// The extension of the default output file.
    pub fn extension(&self) -> &'static str {
        match self.format {
            Choice::Text | Choice::Json => "parquet",
            Choice::Pathspider => "ndjson",
        }
    }

    /// Checks that the options fit together, and fit the output, if one is named.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn check(&self, path: Option<&Path>) -> Result<()> {
        match self.format {
            Choice::Pathspider => path.map_or(Ok(()), sink::check_upstream),
            _ if self.output_flows => Err(Error::Usage(
                "--output-flows needs --format pathspider: other records have the facts of each \
                 flow anyway"
                    .into(),
            )),
            _ => Ok(()),
        }
    }

    /// The form of the records.
    pub fn records(&self) -> form::Form {
        match self.format {
            Choice::Pathspider => form::Form::Upstream { flows: self.output_flows },
            Choice::Text | Choice::Json => form::Form::Ours,
        }
    }
}
