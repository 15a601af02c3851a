//! Records without structs: a column `zero.tcp_handshake_rtt` for the field of that name of the struct `zero`.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, RecordBatch, RecordBatchOptions, cast::AsArray as _, make_array,
    new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::take::take;

use crate::error::{Error, Result, did_you_mean};

/// A column of flat records.
#[derive(Debug, Clone, PartialEq)]
pub struct FlatColumn {
    /// The names on the way to it.
    path: Vec<String>,
    /// The flat field, with the metadata of the nested one.
    pub field: FieldRef,
}

impl FlatColumn {
    /// Its name: those on the way to it, with dots.
    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// Its values in a batch, NULL where a struct on the way is; `None` if the batch does not have it.
    ///
    /// # Errors
    /// Those of Arrow.
    pub fn values(&self, batch: &RecordBatch) -> Result<Option<ArrayRef>, ArrowError> {
        let [first, rest @ ..] = &self.path[..] else { return Ok(None) };
        let Some(mut array) = batch.column_by_name(first).cloned() else { return Ok(None) };
        let mut nulls: Option<NullBuffer> = None;
        for name in rest {
            let Some(of) = array.as_struct_opt() else { return Ok(None) };
            nulls = NullBuffer::union(nulls.as_ref(), of.nulls());
            let Some(inside) = of.column_by_name(name).cloned() else { return Ok(None) };
            array = inside;
        }
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => Ok(Some(array)),
            Some(nulls) => {
                let nulls = NullBuffer::union(Some(&nulls), array.nulls());
                let data = array.to_data().into_builder().nulls(nulls).build()?;
                Ok(Some(make_array(data)))
            }
        }
    }
}

/// The columns of flat records, in order.
pub fn columns(schema: &Schema) -> Vec<FlatColumn> {
    let mut found = Vec::new();
    schema.fields().iter().for_each(|field| add(&[], field, &mut found));
    found
}

fn add(above: &[String], field: &FieldRef, found: &mut Vec<FlatColumn>) {
    let path = [above, &[field.name().clone()]].concat();
    if let DataType::Struct(inside) = field.data_type() {
        inside.iter().for_each(|inside| add(&path, inside, found));
        return;
    }
    let flat = Field::new(path.join("."), field.data_type().clone(), true);
    let field = Arc::new(flat.with_metadata(field.metadata().clone()));
    found.push(FlatColumn { path, field });
}

/// The columns that a user wants: names, structs (`zero`), or patterns (`*.ok`, `zero.tcp_*`), in this order.
///
/// # Errors
/// [`Error::Usage`] with a word that no column fits, and a similar one.
pub fn choose(all: &[FlatColumn], wanted: &[String]) -> Result<Vec<FlatColumn>> {
    let mut chosen: Vec<FlatColumn> = Vec::new();
    for word in wanted {
        let fitting: Vec<&FlatColumn> =
            all.iter().filter(|column| fits(column.name(), word)).collect();
        if fitting.is_empty() {
            let names = all.iter().map(FlatColumn::name);
            let help = did_you_mean(word, names).map_or_else(
                || "; `pathspider describe` lists the columns".to_owned(),
                |near| format!("; {near}"),
            );
            return Err(Error::Usage(format!("--columns {word}: there is no such column{help}")));
        }
        for column in fitting {
            if !chosen.iter().any(|known| known.name() == column.name()) {
                chosen.push(column.clone());
            }
        }
    }
    Ok(chosen)
}

/// Whether a name fits a word: it is it, it is in the struct of that name, or it fits the pattern.
fn fits(name: &str, word: &str) -> bool {
    let inside = || name.strip_prefix(word).is_some_and(|rest| rest.starts_with('.'));
    match word.split_once('*') {
        None => name == word || inside(),
        Some((begin, rest)) => {
            let Some(mut name) = name.strip_prefix(begin) else { return false };
            let mut parts: Vec<&str> = rest.split('*').collect();
            let end = parts.pop().unwrap_or_default();
            for part in parts {
                let Some(at) = name.find(part) else { return false };
                name = &name[at + part.len()..];
            }
            name.ends_with(end)
        }
    }
}

/// The type of a column without a dictionary.
pub fn plain_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// The values without a dictionary.
fn plain(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.as_any_dictionary_opt() {
        Some(of) => take(of.values(), of.keys(), None),
        None => Ok(array),
    }
}

/// The batch with these columns; one that it does not have is NULL. The schema has the fields of the columns.
///
/// # Errors
/// Those of Arrow.
pub fn flatten(
    batch: &RecordBatch,
    columns: &[FlatColumn],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let arrays = columns.iter().zip(schema.fields()).map(|(column, field)| {
        let values = column.values(batch)?;
        let values = values.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()));
        match field.data_type() {
            DataType::Dictionary(..) => Ok(values),
            _ => plain(values),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let arrays = arrays.collect::<Result<Vec<_>, ArrowError>>()?;
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow_array::{Int64Array, StringArray, StructArray};

    fn records() -> RecordBatch {
        let number = Arc::new(Field::new("n", DataType::Int64, true));
        let inner = StructArray::from(vec![(
            number.clone(),
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None])) as ArrayRef,
        )]);
        let fields = vec![Arc::new(Field::new("in", inner.data_type().clone(), true))];
        let nulls = NullBuffer::from(vec![true, false, true]);
        let outer = StructArray::new(fields.into(), vec![Arc::new(inner)], Some(nulls));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        RecordBatch::try_from_iter_with_nullable([
            ("out", Arc::new(outer) as ArrayRef, true),
            ("text", text, false),
        ])
        .unwrap()
    }

    #[test]
    fn null_structs_are_null_in_each_of_their_columns() {
        let records = records();
        let columns = columns(records.schema_ref());
        let names: Vec<&str> = columns.iter().map(FlatColumn::name).collect();
        assert_eq!(names, ["out.in.n", "text"]);
        let fields: Vec<FieldRef> = columns.iter().map(|column| column.field.clone()).collect();
        let flat = flatten(&records, &columns, &Arc::new(Schema::new(fields))).unwrap();
        let numbers: Vec<Option<i64>> =
            flat.column(0).as_primitive::<arrow_array::types::Int64Type>().iter().collect();
        assert_eq!(numbers, [Some(1), None, None]);
    }

    #[test]
    fn words_choose_columns() {
        let all: Vec<FlatColumn> = ["position", "zero.ok", "zero.tcp_a", "one.ok", "one.tcp_a"]
            .map(|name| FlatColumn {
                path: name.split('.').map(str::to_owned).collect(),
                field: Arc::new(Field::new(name, DataType::Boolean, true)),
            })
            .into();
        for (words, expected) in [
            ("one.ok,position", "one.ok,position"),
            ("zero", "zero.ok,zero.tcp_a"),
            ("*.ok", "zero.ok,one.ok"),
            ("one.tcp_*,one", "one.tcp_a,one.ok"),
            ("*", "position,zero.ok,zero.tcp_a,one.ok,one.tcp_a"),
            ("*e*.*_a", "zero.tcp_a,one.tcp_a"),
        ] {
            let words: Vec<String> = words.split(',').map(str::to_owned).collect();
            let chosen = choose(&all, &words).unwrap();
            let names: Vec<&str> = chosen.iter().map(FlatColumn::name).collect();
            assert_eq!(names.join(","), expected, "{words:?}");
        }
        let why = choose(&all, &["zero.tcp_b".to_owned()]).unwrap_err().to_string();
        assert!(why.contains("did you mean `zero.tcp_a`?"), "{why}");
        let why = choose(&all, &["*.nothing*".to_owned()]).unwrap_err().to_string();
        assert!(why.contains("pathspider describe"), "{why}");
    }
}
