//! The format of records: this program's or upstream's.

use std::path::Path;

use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::record;
use crate::sink::{self, Sink};

/// The format of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// This program's own.
    #[default]
    Ours,
    /// That of PATHspider 2, with the facts of each flow if `flows`.
    Upstream {
        /// Whether to write the facts.
        flows: bool,
    },
}

/// The columns of this program's records, for the sink that writes upstream's format.
const KNOWN: sink::Known =
    sink::Known { configurations: &record::CONFIGURATIONS, filled_by: record::filled_by };

impl Form {
    /// Opens the sink that `path` names.
    ///
    /// # Errors
    /// As [`sink::open`], and if the path cannot hold records of this form.
    pub fn open(self, path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
        match self {
            Form::Upstream { flows } => {
                sink::check_upstream(path)?;
                sink::open_upstream(path, flows, KNOWN)
            }
            Form::Ours => sink::open(path, schema),
        }
    }
}
