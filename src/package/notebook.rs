//! The notebook: the SQL of every table, for DuckDB over the records next to it (nbformat 4.5). It has no outputs.

use serde_json::{Value, json};

use super::Description;
use crate::analysis::Table;
use crate::printable;

/// The notebook as JSON.
pub(super) fn of(description: &Description<'_>, tables: &[Table]) -> String {
    let mut cells = Vec::new();
    let title = printable::line(&description.title).into_owned();
    cells.push(markdown(&format!("# {title}\n\n{}", printable::lines(&description.text))));
    let prelude = format!(
        "# pip install duckdb\nimport duckdb\n\ncon = duckdb.connect()\nfor statement in con.extract_statements({}):\n    \
         con.execute(statement)",
        python(&description.account.prelude)
    );
    cells.push(code(&prelude));
    for table in tables {
        let Some(sql) = &table.sql else { continue };
        cells.push(markdown(&format!("## {}", printable::line(&table.caption))));
        cells.push(code(&format!("con.sql({}).show(max_rows=100)", python(sql))));
    }
    let cells: Vec<Value> = cells
        .into_iter()
        .enumerate()
        .map(|(number, mut cell)| {
            cell["id"] = format!("cell-{number}").into();
            cell
        })
        .collect();
    let kernel = json!({ "display_name": "Python 3", "language": "python", "name": "python3" });
    let notebook = json!({
        "cells": cells,
        "metadata": { "kernelspec": kernel, "language_info": { "name": "python" } },
        "nbformat": 4,
        "nbformat_minor": 5,
    });
    format!("{notebook:#}\n")
}

fn markdown(text: &str) -> Value {
    json!({ "cell_type": "markdown", "metadata": {}, "source": text })
}

fn code(text: &str) -> Value {
    json!({ "cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [], "source": text })
}

/// A text as a literal of Python, on several lines if it can be.
fn python(text: &str) -> String {
    let is_plain = !text.contains("\"\"\"") && !text.ends_with(['"', '\\']);
    match is_plain && text.chars().all(|c| c == '\n' || printable::is_plain(c)) {
        true => format!("r\"\"\"{text}\"\"\""),
        // A literal of JSON is one of Python, too.
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_says_the_text() {
        assert_eq!(python("SELECT 'a\\b'\nFROM x"), "r\"\"\"SELECT 'a\\b'\nFROM x\"\"\"");
        assert_eq!(python("SELECT \"x\""), "\"SELECT \\\"x\\\"\"");
        assert_eq!(python("a\u{202e}\"\"\"b"), "\"a\u{202e}\\\"\\\"\\\"b\"");
    }
}
