//! Rows of results as flat records: columns and records that a user chose, of one or several results.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use serde_json::{Value, json};

use super::embedded::Embedded;
use super::flat::{self, FlatColumn};
use super::input::Input;
use super::judge::FromFile;
use crate::chain::Selection;
use crate::error::{Error, Report, Result};
use crate::rule::Filter;
use crate::run::dictionary::{DESCRIPTION, Dictionary};
use crate::sink::{Metadata, RUN_ID};

/// The column of the result that a row is from, if there are several.
pub const RESULT: &str = "result";

/// Metadata that do not hold for flat records, or for some of the records only.
const DROPPED: [&str; 6] = [
    "conditions_sql",
    "metrics_sql",
    "whole_run",
    "targets_last_position",
    "targets_no_target",
    "targets_withheld",
];

/// What is exported.
pub struct Export<'a> {
    inputs: &'a [Input],
    columns: Vec<FlatColumn>,
    /// The condition over the columns of each result.
    filters: Vec<Option<Filter>>,
    filter_text: Option<&'a str>,
    schema: SchemaRef,
}

impl<'a> Export<'a> {
    /// Chooses columns (all if none is named) and records. Without `dictionaries`, texts are written out.
    ///
    /// # Errors
    /// [`Error::Usage`] if a column does not exist, or has several types; the mistakes of the condition.
    pub fn new(
        inputs: &'a [Input],
        wanted: &[String],
        condition: Option<&'a str>,
        dictionaries: bool,
    ) -> Result<Self> {
        let all = together(inputs)?;
        let columns = match wanted {
            [] => all,
            wanted => flat::choose(&all, wanted)?,
        };
        let dictionaries = dictionaries && inputs.len() == 1;
        check_types(inputs, &columns)?;
        let fields = columns.iter().map(|column| match dictionaries {
            true => column.field.clone(),
            false => {
                let plain = flat::plain_type(column.field.data_type()).clone();
                Arc::new(column.field.as_ref().clone().with_data_type(plain))
            }
        });
        let of_result = (inputs.len() > 1).then(|| {
            let doc = [(DESCRIPTION.to_owned(), "The result that the row is from.".to_owned())];
            Arc::new(Field::new(RESULT, DataType::Utf8, false).with_metadata(HashMap::from(doc)))
        });
        let schema = Schema::new(fields.chain(of_result).collect::<Fields>());
        let filters = inputs.iter().map(|input| filter(input, condition));
        let filters = filters.collect::<Result<_>>()?;
        let schema = Arc::new(schema);
        Ok(Self { inputs, columns, filters, filter_text: condition, schema })
    }

    /// The columns of the flat records.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads the records, batch by batch. `each` gets the flat batch and the number of records that were read for it.
    ///
    /// # Errors
    /// If a result cannot be read, and those of `each`.
    pub fn read(&self, mut each: impl FnMut(&RecordBatch, u64) -> Result<()>) -> Result<()> {
        for (input, filter) in self.inputs.iter().zip(&self.filters) {
            let failed = |why| Error::failed(format!("export {}", input.path.display()), why);
            let names = self.needed(filter.as_ref());
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let of_columns = Arc::new(Schema::new(
                self.schema.fields()[..self.columns.len()].iter().cloned().collect::<Fields>(),
            ));
            input.read(&names, |batch| {
                let read = batch.num_rows() as u64;
                let batch = match filter {
                    Some(filter) => {
                        let kept = filter.keeps(&batch).map_err(failed)?;
                        filter_record_batch(&batch, &kept).map_err(failed)?
                    }
                    None => batch,
                };
                let flat = flat::flatten(&batch, &self.columns, &of_columns).map_err(failed)?;
                let flat = self.with_result(flat, input).map_err(failed)?;
                each(&flat, read)
            })?;
        }
        Ok(())
    }

    /// The batch with the column of its result, if there are several.
    fn with_result(&self, flat: RecordBatch, input: &Input) -> Result<RecordBatch, ArrowError> {
        if self.inputs.len() == 1 {
            return Ok(flat);
        }
        let path = input.path.display().to_string();
        let rows = std::iter::repeat_n(path.as_str(), flat.num_rows());
        let result: ArrayRef = Arc::new(StringArray::from_iter_values(rows));
        let columns = flat.columns().iter().cloned().chain([result]);
        RecordBatch::try_new(self.schema.clone(), columns.collect())
    }

    /// The columns to read, as Parquet names them.
    fn needed(&self, filter: Option<&Filter>) -> Vec<String> {
        let of_filter = filter.into_iter().flat_map(Filter::columns).cloned();
        self.columns.iter().map(|column| column.name().to_owned()).chain(of_filter).collect()
    }

    /// The metadata as far as they are known before the rows are.
    pub fn metadata_before(&self) -> Metadata {
        let mut known = self.metadata(0);
        known.retain(|(key, _)| key != "records");
        known
    }

    /// The metadata of the flat records: what holds for all results, and where the rows are from.
    pub fn metadata(&self, rows: u64) -> Metadata {
        let Some((first, others)) = self.inputs.split_first() else { return Metadata::new() };
        let shared = first.metadata.iter().filter(|(key, value)| {
            let same = |other: &Input| other.value(key) == Some(value);
            !DROPPED.contains(&key.as_str()) && others.iter().all(same)
        });
        let from: Vec<Value> = self
            .inputs
            .iter()
            .map(|input| {
                json!({ "path": input.path.display().to_string(), "run_id": input.value(RUN_ID),
                    "vantage": input.value("vantage"), "records": input.number("records") })
            })
            .collect();
        let shared = shared.map(|(key, value)| (key.clone(), value.clone()));
        let mut all: Metadata = shared.filter(|(key, _)| key != "records").collect();
        all.push(("records".into(), rows.to_string()));
        all.push(("exported_from".into(), Value::Array(from).to_string()));
        all.extend(self.filter_text.map(|text| ("exported_where".into(), text.to_owned())));
        all
    }
}

/// The columns of all results, in the order of the first that has each.
fn together(inputs: &[Input]) -> Result<Vec<FlatColumn>> {
    let mut all: Vec<FlatColumn> = Vec::new();
    for input in inputs {
        for column in flat::columns(&Dictionary::default().describe(&input.described)) {
            if !all.iter().any(|known| known.name() == column.name()) {
                all.push(column);
            }
        }
    }
    if inputs.len() > 1 && all.iter().any(|column| column.name() == RESULT) {
        return Err(Error::Usage(format!(
            "export: the results have a column `{RESULT}`, which is that of their path; export each on its own"
        )));
    }
    Ok(all)
}

/// Fails if a column has another type in some result.
fn check_types(inputs: &[Input], columns: &[FlatColumn]) -> Result<()> {
    for input in inputs {
        let of_input = flat::columns(&input.schema);
        for column in columns {
            let here = of_input.iter().find(|known| known.name() == column.name());
            let Some(here) = here.map(|here| flat::plain_type(here.field.data_type())) else {
                continue;
            };
            let there = flat::plain_type(column.field.data_type());
            if !here.equals_datatype(there) {
                let name = column.name();
                return Err(Error::Usage(format!(
                    "export {}: the column {name} is of type {here} there and {there} in another result; leave it out \
                     with --columns, or export each result on its own",
                    input.path.display()
                )));
            }
        }
    }
    Ok(())
}

/// The condition over the columns of a result.
fn filter(input: &Input, text: Option<&str>) -> Result<Option<Filter>> {
    let Some(text) = text else { return Ok(None) };
    // Its measurement says what is known of columns that it defines itself.
    let embedded = Embedded::of(input).ok().flatten();
    let everything = Selection::everything();
    let selection = embedded.as_ref().map_or(&everything, |embedded| &embedded.plan.selection);
    let filter = Filter::compile(text, &input.schema, &FromFile(selection));
    let filter = filter.map_err(|mistakes| {
        Error::from(Report::new(format!("--where over {}", input.path.display()), text, mistakes))
    });
    filter.map(Some)
}
