//! Columns without what a file says of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, ListArray, RecordBatch, StructArray, cast::AsArray as _};
use arrow_schema::{ArrowError, DataType, FieldRef, Fields, Schema, SchemaRef};

/// The same columns without any metadata: two versions of the program describe the same column in different words.
pub fn plain(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(bare).collect::<Fields>()))
}

fn bare(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(inside) => DataType::Struct(inside.iter().map(bare).collect()),
        DataType::List(item) => DataType::List(bare(item)),
        other => other.clone(),
    };
    let bare = field.as_ref().clone().with_data_type(data_type);
    Arc::new(bare.with_metadata(HashMap::new()))
}

/// The same records without any metadata, so that records of parts with and without it can be joined.
pub(super) fn plain_records(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(plain_column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(plain(batch.schema_ref()), columns)
}

fn plain_column(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Struct(fields) => {
            let of = column.as_struct();
            let members = of.columns().iter().map(plain_column).collect::<Result<_, _>>()?;
            let fields = fields.iter().map(bare).collect();
            let nulls = of.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields, members, nulls, of.len())?)
        }
        DataType::List(item) => {
            let (_, offsets, items, nulls) = column.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(bare(item), offsets, plain_column(&items)?, nulls)?)
        }
        _ => column.clone(),
    })
}
