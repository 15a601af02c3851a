//! `pathspider reference`: everything with a name, as Markdown, from the program's own tables.

mod named;

use std::fmt::Write as _;

use clap::CommandFactory as _;
use serde_json::Value;

use crate::chain::{self, Chain};
use crate::cli::manual::{ENVIRONMENT, FILES};
use crate::cli::{Cli, codes};
use crate::connect;
use crate::error::{Exit, Result};
use crate::field::FilledBy;
use crate::flags::Flag;
use crate::measurement::{self, Plan, SHIPPED};
use crate::privilege::needs::name_of;
use crate::record;
use crate::report::catalogue;
use crate::report::page;
use crate::rule::confirm::CONFIRMED;
use crate::rule::{COMPARE_RANKS, COMPARED, COMPARED_OK, INSUFFICIENT};
use crate::run::evidence;
use crate::signals::SIGNALS;
use crate::step::STEPS;

/// Print the reference as Markdown: every key of a measurement file, function, field, kind, step and code
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args) -> Result<Exit> {
    page::print_own(&reference())?;
    Ok(Exit::Done)
}

/// The whole page.
pub fn reference() -> String {
    let mut page = format!("# pathspider {}: reference\n", env!("CARGO_PKG_VERSION"));
    // Writing to a string cannot fail.
    let _ = commands(&mut page)
        .and_then(|()| named::options(&mut page))
        .and_then(|()| file(&mut page))
        .and_then(|()| functions(&mut page))
        .and_then(|()| fields(&mut page))
        .and_then(|()| kinds_and_steps(&mut page))
        .and_then(|()| labels(&mut page))
        .and_then(|()| measurements(&mut page))
        .and_then(|()| named::tools(&mut page))
        .and_then(|()| named::situations(&mut page))
        .and_then(|()| named::checks(&mut page))
        .and_then(|()| named::metadata(&mut page))
        .and_then(|()| exits(&mut page))
        .and_then(|()| signal_table(&mut page))
        .and_then(|()| surroundings(&mut page))
        .and_then(|()| mistakes(&mut page));
    page
}

type Written = std::fmt::Result;

fn commands(page: &mut String) -> Written {
    writeln!(page, "\n## Commands\n")?;
    writeln!(page, "`pathspider COMMAND --help` describes each in detail.\n")?;
    let rows = Cli::command();
    let rows = rows.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        [code(command.get_name()), about]
    });
    table(page, ["command", "does"], rows)
}

/// Every key of a measurement file: the schema's descriptions, a section for each of its tables.
fn file(page: &mut String) -> Written {
    let schema = measurement::schema();
    writeln!(page, "\n## The measurement file\n\n{}\n", words(&schema["description"]))?;
    keys(page, &schema)?;
    let tables = schema["$defs"].as_object().into_iter().flatten();
    for (name, definition) in tables {
        writeln!(page, "\n### {name}\n\n{}\n", words(&definition["description"]))?;
        keys(page, definition)?;
    }
    Ok(())
}

/// A table with one shape, or with one of several.
fn forms(definition: &Value) -> impl Iterator<Item = &Value> {
    let several = ["oneOf", "anyOf"].iter().filter_map(|key| definition[*key].as_array());
    std::iter::once(definition).chain(several.flatten())
}

/// The keys of a table, or the type of what is not a table.
fn keys(page: &mut String, definition: &Value) -> Written {
    let mut rows = Vec::new();
    collect("", definition, &mut rows);
    match rows.is_empty() {
        true => writeln!(page, "{}", kind_of(definition)),
        false => table(page, ["key", "value", "", "meaning"], rows.into_iter()),
    }
}

/// A row for each key of a table in any of its forms, and for the keys of inline tables.
fn collect(prefix: &str, definition: &Value, rows: &mut Vec<[String; 4]>) {
    for form in forms(definition) {
        let properties = form["properties"].as_object().into_iter().flatten();
        for (name, schema) in properties {
            let name = format!("{prefix}{name}");
            rows.push(key(&name, schema, form));
            collect(&format!("{name}."), schema, rows);
            collect(&format!("{name}[]."), &schema["items"], rows);
            // The tables in it have names of the author's choice.
            collect(&format!("{name}.NAME."), &schema["additionalProperties"], rows);
        }
    }
}

fn key(name: &str, schema: &Value, form: &Value) -> [String; 4] {
    let last = name.rsplit('.').next().unwrap_or(name);
    let mut required = form["required"].as_array().into_iter().flatten();
    let must = if required.any(|word| word == last) { "required" } else { "" };
    // A form with one key, as for steps, has its description next to the key.
    let about = |what: &str| [&schema[what], &form[what]].into_iter().find(|text| !text.is_null());
    let mut meaning = about("description").map(words).unwrap_or_default();
    let default = &schema["default"];
    // An empty list or table equals a missing key.
    let empty = default.as_array().is_some_and(Vec::is_empty)
        || default.as_object().is_some_and(serde_json::Map::is_empty);
    if !default.is_null() && !empty {
        meaning += &format!(" Default: {}.", code(&toml_text(default)));
    }
    let examples = about("examples").and_then(Value::as_array).into_iter().flatten();
    let examples: Vec<String> = examples.map(|value| code(&toml_text(value))).collect();
    if !examples.is_empty() {
        meaning += &format!(" Example: {}.", examples.join(", "));
    }
    [code(name), kind_of(schema), must.to_owned(), meaning]
}

/// The type of a value, with links to tables that have sections.
fn kind_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| code(&toml_text(word))).collect();
        return format!("one of {}", words.join(", "));
    }
    if let Some(forms) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        return forms.iter().map(kind_of).collect::<Vec<_>>().join(" or ");
    }
    match &schema["type"] {
        Value::Array(types) => {
            let types: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
            types.join(" or ")
        }
        Value::String(word) if word == "array" => format!("list of {}", kind_of(&schema["items"])),
        Value::String(word) if word == "object" => match &schema["additionalProperties"] {
            Value::Object(_) => {
                format!("table of {}", kind_of(&schema["additionalProperties"]))
            }
            _ => "table".into(),
        },
        Value::String(word) => match schema["pattern"].as_str() {
            Some(pattern) => format!("{word} {}", code(pattern)),
            None => word.clone(),
        },
        _ => "anything".into(),
    }
}

/// A value as TOML.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let quoted = |key: &str| match key.contains('.') {
                true => format!("\"{key}\""),
                false => key.to_owned(),
            };
            let pairs =
                map.iter().map(|(key, value)| format!("{} = {}", quoted(key), toml_text(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn functions(page: &mut String) -> Written {
    writeln!(page, "\n## Functions of the chains\n")?;
    for chain in Chain::ALL {
        writeln!(page, "* `{}`: {}", chain.key(), chain.reads())?;
    }
    for group in chain::GROUPS {
        writeln!(page, "\n### Group {}\n\n{}\n", code(group.name), sentence(group.doc))?;
        let rows = group.functions.iter().map(|function| {
            let chains: Vec<String> =
                catalogue::chain_keys(function).into_iter().map(code).collect();
            let needs = function.setup.map(code).unwrap_or_default();
            [code(function.name), chains.join(", "), needs, function.doc.to_owned()]
        });
        table(page, ["function", "listed in", "needs", "does"], rows)?;
    }
    Ok(())
}

fn fields(page: &mut String) -> Written {
    writeln!(page, "\n## Columns of a record\n\n### `target`\n")?;
    let rows = catalogue::TARGET.iter().map(|(name, data_type, doc)| {
        [code(name), catalogue::type_word(data_type), (*doc).to_owned()]
    });
    table(page, ["column", "type", "meaning"], rows)?;
    writeln!(page, "\nFurther columns of the target list follow.")?;
    writeln!(page, "\n### `zero`, `one` and further configurations\n")?;
    let rows = record::fields().map(|field| {
        let word = catalogue::type_word(&(field.data_type)());
        let by = field.filled_by.as_str().to_owned();
        [code(field.name), word, by, code(field.by), field.doc.trim().to_owned()]
    });
    table(page, ["column", "type", "filled by", "function", "meaning"], rows)?;
    writeln!(page, "\nValues of a sweep follow, each in a column with its own name.\n")?;
    let rows = FilledBy::ALL.map(|by| [by.as_str().to_owned(), by.doc().to_owned()]);
    table(page, ["filled by", "meaning"], rows.into_iter())?;
    writeln!(page, "\n### Words of `answer`\n")?;
    writeln!(
        page,
        "Answers other than the requested one. Kinds `tcp`, `tcp_fastopen` and `mptcp` have none: \
         a reset or a refusal by TCP is not an answer of a higher layer. The kind `forge` has one only where its packet is a \
         DNS question.\n"
    )?;
    let rows = connect::ANSWERS.iter().map(|row| [code(row.answer.as_str()), row.doc.to_owned()]);
    table(page, ["answer", "meaning"], rows)?;
    writeln!(page, "\n### Of the record itself\n")?;
    let rows =
        catalogue::RECORD.map(|(name, word, doc)| [code(name), word.to_owned(), doc.to_owned()]);
    table(page, ["column", "type", "meaning"], rows.into_iter())?;
    writeln!(page)?;
    let rows = Flag::ALL.map(|(_, word, doc)| [code(word), doc.to_owned()]);
    table(page, ["flag", "meaning"], rows.into_iter())?;
    writeln!(page, "\n### `evidence`, with --evidence\n")?;
    let rows = evidence::COLUMNS.iter().map(|(name, data_type, doc)| {
        [code(name), catalogue::type_word(data_type), (*doc).to_owned()]
    });
    table(page, ["column", "type", "meaning"], rows)?;
    writeln!(page, "\n### Conclusions\n")?;
    let rows = [
        ["`conditions`", "list of text", "All labels of the record."],
        [
            "`verdict`",
            "struct",
            "A column per condition: the last word of its label, or its value; NULL where it does not apply.",
        ],
        [
            "`insufficient`",
            "struct",
            "A column per condition: why it is insufficient; NULL where it is not.",
        ],
    ];
    table(page, ["column", "type", "meaning"], rows.map(|row| row.map(str::to_owned)).into_iter())
}

fn kinds_and_steps(page: &mut String) -> Written {
    writeln!(page, "\n## Kinds of connections\n")?;
    let codes = |words: &[&str]| words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ");
    let rows = connect::KINDS.iter().map(|kind| {
        let (takes, columns) = (codes(&kind.option_names()), codes(kind.columns));
        let versions = codes(kind.versions);
        let (doc, port) = (kind.doc.to_owned(), kind.port.to_string());
        let memory = format!("{} KiB", kind.memory.div_ceil(1024));
        [code(kind.name), doc, port, takes, versions, columns, memory]
    });
    table(page, ["kind", "does", "port", "options", "versions", "columns", "memory"], rows)?;
    writeln!(
        page,
        "\nEvery kind takes `timeout` and `repeat`. `memory` is what a hostile target can make one attempt hold at most; \
         reading one answer may take up to {} MiB more for a moment, once for all attempts.\n",
        connect::MOST_TRANSIENT >> 20
    )?;
    for (option, words) in connect::OPTIONS.iter().filter_map(|row| Some((row, row.words()?))) {
        let rows = words.iter().map(|(word, meaning)| [code(word), (*meaning).to_owned()]);
        table(page, [option.name, "meaning"], rows)?;
        writeln!(page)?;
    }
    writeln!(page, "## Steps\n")?;
    let rows = STEPS.iter().map(|step| {
        let affected = step.scope.doc();
        [
            code(step.name),
            step.doc.to_owned(),
            step.undo.to_owned(),
            affected.to_owned(),
            name_of(step.privilege).to_owned(),
            code(step.example),
        ]
    });
    table(page, ["step", "does", "undo", "affects", "needs", "written"], rows)
}

fn labels(page: &mut String) -> Written {
    writeln!(page, "\n## Words of labels\n\n{COMPARE_RANKS}\n\nA `compare` says of its column:\n")?;
    let rows = COMPARED.iter().zip(COMPARED_OK);
    let rows =
        rows.map(|((word, meaning), of_ok)| [code(word), of_ok.to_owned(), (*meaning).to_owned()]);
    table(page, ["word", "of `ok`", "of another boolean column"], rows)?;
    writeln!(
        page,
        "\nIf targets that look broken or transient are re-probed (`[confirm]`), also:\n"
    )?;
    let rows = CONFIRMED.iter().map(|(word, meaning)| [code(word), (*meaning).to_owned()]);
    table(page, ["word", "meaning"], rows)?;
    writeln!(page, "\nA condition is `{INSUFFICIENT}` if a fact that it needs was not observed.")
}

fn measurements(page: &mut String) -> Written {
    writeln!(page, "\n## Built-in measurements\n")?;
    let rows = SHIPPED.iter().map(|(name, text)| {
        let title = Plan::load(name, text, &Default::default()).map(|plan| plan.title);
        [code(name), title.unwrap_or_default()]
    });
    table(page, ["name", "title"], rows)
}

fn exits(page: &mut String) -> Written {
    writeln!(page, "\n## Exit codes\n")?;
    let rows =
        Exit::ALL.iter().map(|(exit, meaning)| [(*exit as u8).to_string(), (*meaning).to_owned()]);
    table(page, ["code", "meaning"], rows)
}

/// Files and variables.
fn surroundings(page: &mut String) -> Written {
    let tables = [("Files", "file", FILES), ("Environment variables", "variable", ENVIRONMENT)];
    tables.into_iter().try_for_each(|(heading, name, rows)| {
        writeln!(page, "\n## {heading}\n")?;
        let rows = rows.iter().map(|row| [code(row.name), row.about.to_owned()]);
        table(page, [name, "what it is"], rows)
    })
}

fn signal_table(page: &mut String) -> Written {
    writeln!(page, "\n## Signals\n")?;
    let rows = SIGNALS.iter().map(|row| [row.name.to_owned(), row.doc.to_owned()]);
    table(page, ["signal", "what the program does"], rows)
}

fn mistakes(page: &mut String) -> Written {
    writeln!(page, "\n## Codes of mistakes\n")?;
    for explained in codes::all() {
        writeln!(page, "### {}: {}\n\n{}\n", explained.code, explained.title, explained.meaning)?;
        writeln!(page, "Wrong:\n\n```toml\n{}\n```\n", explained.wrong)?;
        writeln!(page, "Right:\n\n```toml\n{}\n```\n", explained.right)?;
    }
    // One newline at the end of the page.
    page.truncate(page.trim_end().len());
    writeln!(page)
}

/// A Markdown table.
fn table<const N: usize>(
    page: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Written {
    writeln!(page, "| {} |", head.join(" | "))?;
    writeln!(page, "|{}", " --- |".repeat(N))?;
    for row in rows {
        // A bar ends a cell, even in code.
        let row = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        writeln!(page, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A description on one line.
fn words(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A fragment of the registry as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CODES;

    #[test]
    fn every_name_is_in_the_reference() {
        let page = reference();
        let mut names: Vec<String> = Vec::new();
        names.extend(chain::functions().map(|(_, function)| code(function.name)));
        names.extend(chain::GROUPS.iter().map(|group| code(group.name)));
        names.extend(Chain::ALL.map(|chain| code(chain.key())));
        names.extend(record::fields().map(|field| format!("| {} |", code(field.name))));
        names.extend(connect::ANSWERS.iter().map(|row| code(row.answer.as_str())));
        names.extend(connect::KINDS.iter().map(|kind| code(kind.name)));
        names.extend(STEPS.iter().map(|step| code(step.name)));
        names.extend(CODES.iter().map(|(code, title)| format!("### {code}: {title}")));
        names.extend(SHIPPED.iter().map(|(name, _)| code(name)));
        names.extend(Exit::ALL.iter().map(|(exit, text)| format!("| {} | {text} |", *exit as u8)));
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        names.extend(shown.map(|c| format!("| `{}` |", c.get_name())));
        keys_of(&measurement::schema(), &mut names);
        assert!(names.len() > 100, "{}", names.len());
        // A key may follow that of its table.
        let there = |name: &&String| {
            page.contains(*name) || page.contains(&name.replacen('`', ".", 1).replacen("| ", "", 1))
        };
        let missing: Vec<_> = names.iter().filter(|name| !there(name)).collect();
        assert!(missing.is_empty(), "not in the reference: {missing:?}");
    }

    /// Every key anywhere in a schema.
    fn keys_of(schema: &Value, names: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                    names.extend(properties.keys().map(|key| format!("| {} |", code(key))));
                }
                map.values().for_each(|value| keys_of(value, names));
            }
            Value::Array(items) => items.iter().for_each(|value| keys_of(value, names)),
            _ => {}
        }
    }

    #[test]
    fn cells_have_no_bars() {
        let mut page = String::new();
        table(&mut page, ["a"], [["x|y\nz".to_owned()]].into_iter()).unwrap();
        assert_eq!(page, "| a |\n| --- |\n| x\\|y z |\n");
    }
}
