//! Columns without what a file says of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, Fields, Schema, SchemaRef};

/// The same columns without any metadata: two versions of the program describe the same column in different words.
pub fn plain(schema: &Schema) -> SchemaRef {
    fn bare(field: &FieldRef) -> FieldRef {
        let data_type = match field.data_type() {
            DataType::Struct(inside) => DataType::Struct(inside.iter().map(bare).collect()),
            DataType::List(item) => DataType::List(bare(item)),
            other => other.clone(),
        };
        let bare = field.as_ref().clone().with_data_type(data_type);
        Arc::new(bare.with_metadata(HashMap::new()))
    }
    Arc::new(Schema::new(schema.fields().iter().map(bare).collect::<Fields>()))
}
