//! A condition over records that selects some of them: the expressions of rules, with the columns of the record itself
//! (`control`) and of every struct.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{ArrowError, Schema};

use super::columns::{About, Columns};
use super::expr::Expr;
use super::parse::Sql;
use super::typing::Typer;
use crate::error::Diagnostic;
use crate::flags;

/// A checked condition.
#[derive(Debug, Clone)]
pub struct Filter {
    expr: Expr,
    /// The columns that it needs, as Parquet names them.
    columns: Vec<String>,
}

/// The same columns, also without a struct.
struct OfRecord<'a>(&'a dyn Columns);

impl Columns for OfRecord<'_> {
    fn elsewhere(&self, _: &str) -> Option<String> {
        None
    }

    fn about(&self, column: &str) -> About {
        self.0.about(column)
    }

    fn has_bare(&self) -> bool {
        true
    }
}

impl Filter {
    /// Checks a condition against the columns of records.
    ///
    /// # Errors
    /// Every mistake in it; places are bytes of the text.
    pub fn compile(
        text: &str,
        schema: &Schema,
        columns: &dyn Columns,
    ) -> Result<Self, Vec<Diagnostic>> {
        let sql = Sql { text: text.to_owned(), span: 0..text.len(), start: Some(0) };
        let mut mistakes = Vec::new();
        let columns = &OfRecord(columns);
        let mut typer = Typer { schema, one: None, columns, sql: &sql, mistakes: &mut mistakes };
        let expr = typer.condition();
        match expr.filter(|_| !mistakes.iter().any(Diagnostic::is_error)) {
            Some(expr) => Ok(Self { columns: needed(&expr), expr }),
            None => Err(mistakes),
        }
    }

    /// The columns that it reads.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Where it is TRUE; FALSE and unknown are not.
    ///
    /// # Errors
    /// If a column is missing.
    pub fn keeps(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        self.expr.truth(batch)
    }
}

/// The columns of an expression, with those that say what is known of them.
fn needed(expr: &Expr) -> Vec<String> {
    let mut names = vec![flags::COLUMN.to_owned()];
    for column in expr.columns() {
        match column.table.as_str() {
            "" => names.push(column.name),
            table => {
                let of_table = [column.name.as_str(), "state", "observed"];
                names.extend(of_table.map(|name| format!("{table}.{name}")));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray, StructArray};
    use arrow_schema::{DataType, Field};

    struct Nothing;

    impl Columns for Nothing {
        fn elsewhere(&self, _: &str) -> Option<String> {
            None
        }

        fn about(&self, _: &str) -> About {
            About::ALWAYS
        }
    }

    fn records() -> RecordBatch {
        let control: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, false]));
        let labels = StringArray::from(vec![Some("broken"), Some("broken"), None]);
        let field = Arc::new(Field::new("ecn", DataType::Utf8, true));
        let verdict: ArrayRef =
            Arc::new(StructArray::from(vec![(field, Arc::new(labels) as ArrayRef)]));
        RecordBatch::try_from_iter([("control", control), ("verdict", verdict)]).unwrap()
    }

    #[test]
    fn records_are_kept_where_it_is_true() {
        let records = records();
        for (text, expected) in [
            ("NOT control AND verdict.ecn = 'broken'", [false, true, false]),
            ("verdict.ecn IS NULL", [false, false, true]),
            ("verdict.ecn <> 'works'", [true, true, false]),
            ("control", [true, false, false]),
        ] {
            let filter = Filter::compile(text, records.schema_ref(), &Nothing).unwrap();
            let kept = filter.keeps(&records).unwrap();
            let kept: Vec<bool> = kept.iter().map(|kept| kept == Some(true)).collect();
            assert_eq!(kept, expected, "{text}");
        }
    }

    #[test]
    fn mistakes_have_their_place_and_a_remedy() {
        let schema = records().schema();
        for (text, place, help) in [
            ("verdict.ecm = 'broken'", 0..11, "did you mean `verdict.ecn`?"),
            ("contrl", 0..6, "did you mean `control`?"),
            ("control AND verdict.ecn", 12..23, ""),
        ] {
            let mistakes = Filter::compile(text, &schema, &Nothing).unwrap_err();
            assert_eq!(mistakes[0].span, place, "{text}: {mistakes:?}");
            let found = mistakes[0].help.clone().unwrap_or_default();
            assert!(found.contains(help), "{text}: {found}");
        }
    }
}
