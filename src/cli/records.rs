//! `--format` of commands that write records: how their summary looks, and whether the records are ours or
//! upstream's.

use std::path::Path;

use arrow::datatypes::SchemaRef;
use clap::ValueEnum;

use super::Format;
use crate::error::{Error, Result};
use crate::record;
use crate::sink::{self, Sink};

/// The columns of our records, for the sink that writes upstream's.
const KNOWN: sink::Known =
    sink::Known { configurations: &record::CONFIGURATIONS, filled_by: record::filled_by };

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

    /// Whether the records are upstream's.
    pub fn is_upstream(&self) -> bool {
        self.format == Choice::Pathspider
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

    /// Opens the sink that `path` names.
    ///
    /// # Errors
    /// As [`sink::open`], and as [`Form::check`].
    pub fn open(&self, path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
        self.check(Some(path))?;
        match self.format {
            Choice::Pathspider => sink::open_upstream(path, self.output_flows, KNOWN),
            Choice::Text | Choice::Json => sink::open(path, schema),
        }
    }
}
