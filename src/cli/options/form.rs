//! `--format` of commands that write records: how their summary looks, and whether the records are ours or
//! upstream's.

use std::path::Path;

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::report::format::Format;
use crate::run::form;
use crate::sink;

/// What `--format` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// The summary for people.
    Text,
    /// The summary for programs: JSON.
    Json,
    /// Records as PATHspider 2 wrote them, in NDJSON; the summary for people.
    Pathspider,
}

/// How records and their summary are written.
#[derive(Debug, clap::Args)]
pub struct Form {
    /// How the summary is written; or `pathspider` for records as PATHspider 2 wrote them, in .ndjson
    #[arg(long, value_enum, default_value = "text")]
    format: Choice,

    /// With --format pathspider: put the facts of each flow into the records, too
    #[arg(long)]
    output_flows: bool,
}

impl Form {
    /// How the summary is written.
    pub fn summary(&self) -> Format {
        match self.format {
            Choice::Json => Format::Json,
            Choice::Text | Choice::Pathspider => Format::Text,
        }
    }

    /// How a file that the user gave no name for should end.
    pub fn extension(&self) -> &'static str {
        match self.format {
            Choice::Text | Choice::Json => "parquet",
            Choice::Pathspider => "ndjson",
        }
    }

    /// Whether the options go together with each other and with the output, if one is named.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn check(&self, path: Option<&Path>) -> Result<()> {
        match self.format {
            Choice::Pathspider => path.map_or(Ok(()), sink::check_upstream),
            _ if self.output_flows => Err(Error::Usage(
                "--output-flows goes with --format pathspider: other records have the facts of each \
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
