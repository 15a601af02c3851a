//! Judges finished results again: computes the conditions of a measurement from stored facts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Fields, Schema, SchemaRef};

use super::origins::Origins;
use crate::chain::Selection;
use crate::error::{Error, Result};
use crate::files;
use crate::measurement;
use crate::rule::{ADDED, About, Columns, Rules};
use crate::sink::{self, Metadata};

/// The columns of results, read by a measurement with these functions.
pub struct FromFile<'a>(pub &'a Selection);

impl Columns for FromFile<'_> {
    fn elsewhere(&self, _: &str) -> Option<String> {
        Some("the results do not have it".to_owned())
    }

    fn about(&self, column: &str) -> About {
        measurement::about_with(self.0, column)
    }
}

/// A file of results; only its footer has been read.
pub struct Results {
    path: PathBuf,
    stored: sink::Stored,
    /// The schema without the columns that judging adds.
    pub facts: SchemaRef,
    /// The columns kept.
    kept: Vec<usize>,
    /// In the file's order, without the prefix.
    pub metadata: Metadata,
    /// Adds the origins of targets.
    origins: Option<Origins>,
}

impl Results {
    /// Opens a result that is intact.
    pub fn open(path: &Path) -> Result<Self> {
        // Folders of parts cannot be judged.
        files::regular(path).map_err(|why| files::unreadable(path, why))?;
        sink::check(path, &mut |_| ())?.require(
            "judge",
            "`pathspider verify` says more; for a run in parts, `run --resume` measures spoiled parts again",
        )?;
        let stored = sink::Stored::open(path)?;
        let metadata = stored.metadata();
        Self::new(path, stored, metadata)
    }

    /// Results with these metadata.
    pub fn new(path: &Path, stored: sink::Stored, metadata: Metadata) -> Result<Self> {
        let schema = stored.schema();
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|column| !ADDED.contains(&schema.field(*column).name().as_str()))
            .collect();
        let is_struct = |name: &str| {
            let field = schema.field_with_name(name).ok();
            field.is_some_and(|field| matches!(field.data_type(), DataType::Struct(_)))
        };
        if !is_struct("target") || !is_struct("zero") {
            return Err(Error::Usage(format!(
                "read {}: it is not a result of pathspider: no structs target and zero",
                path.display()
            )));
        }
        // The schema must not carry the metadata of the file.
        let facts: Fields = kept.iter().map(|column| schema.fields()[*column].clone()).collect();
        let facts = Arc::new(Schema::new(facts));
        Ok(Self { path: path.to_owned(), stored, facts, kept, metadata, origins: None })
    }

    /// Adds the ASes that originate each target's prefix, from a table.
    ///
    /// # Errors
    /// As [`Origins::open`].
    pub fn add_origins(&mut self, table: &Path) -> Result<()> {
        let origins = Origins::open(table, &self.facts)?;
        origins.describe(&mut self.metadata);
        self.facts = origins.schema().clone();
        self.origins = Some(origins);
        Ok(())
    }

    /// The values of the measurement's params.
    pub fn params(&self) -> Vec<(String, String)> {
        let text = self.metadata.iter().find(|(key, _)| key == "params").map(|(_, text)| text);
        let values: Option<BTreeMap<String, String>> =
            text.and_then(|text| serde_json::from_str(text).ok());
        values.unwrap_or_default().into_iter().collect()
    }

    /// The text of the embedded measurement.
    ///
    /// # Errors
    /// If there is none.
    pub fn measurement(&self) -> Result<String> {
        let found = self.metadata.iter().find(|(key, _)| key == "measurement");
        let missing = || {
            Error::Usage(format!(
                "read {}: the results carry no measurement; name one with --measurement",
                self.path.display()
            ))
        };
        found.map(|(_, text)| text.clone()).ok_or_else(missing)
    }

    /// The columns of the struct `target`.
    pub fn target_columns(&self) -> Fields {
        match self.facts.field_with_name("target").map(|field| field.data_type()) {
            Ok(DataType::Struct(fields)) => fields.clone(),
            _ => Fields::empty(),
        }
    }

    /// Reads and judges batch by batch; `each` gets the stored batch and the judged one.
    pub fn judge(
        self,
        rules: &Rules,
        mut each: impl FnMut(&RecordBatch, &RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let Self { path, stored, kept, origins, .. } = self;
        let stored_facts = stored.schema().project(&kept);
        let stored_facts = stored_facts
            .map_err(|error| Error::failed(format!("read {}", path.display()), error))?;
        // The schema must not carry the metadata of the file.
        let stored_facts = Arc::new(Schema::new(stored_facts.fields().clone()));
        stored.read(&[], |batch| {
            let columns = kept.iter().map(|column| batch.column(*column).clone());
            let columns = RecordBatch::try_new(stored_facts.clone(), columns.collect());
            let columns = columns
                .map_err(|error| Error::failed(format!("read {}", path.display()), error))?;
            let columns = match &origins {
                Some(origins) => origins.add(&columns)?,
                None => columns,
            };
            each(&batch, &rules.judge(&columns)?)
        })
    }
}
