//! Whether records are ours or upstream's.

use std::path::Path;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::record;
use crate::sink::{self, Sink};

/// How records are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As this program has them.
    #[default]
    Ours,
    /// As PATHspider 2 wrote them, with the facts of each flow if `flows`.
    Upstream {
        /// Whether the facts are written.
        flows: bool,
    },
}

/// The columns of our records, for the sink that writes upstream's.
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
