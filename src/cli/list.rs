//! `pathspider list`: lists the registries and the measurements.

use std::collections::HashSet;
use std::path::PathBuf;

use arrow_schema::Fields;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::chain::own::{Kind, PACKET_FIELDS};
use crate::chain::{self, Chain};
use crate::cli::check;
use crate::connect;
use crate::error::{Exit, Result};
use crate::measurement::{self, Plan, SHIPPED};
use crate::privilege::needs::name_of;
use crate::record;
use crate::report::catalogue;
use crate::report::format::Format;
use crate::report::page::{self, Page};
use crate::run::dictionary;
use crate::step::STEPS;

/// List measurements, chain functions, connection kinds, steps and fields
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is listed
    #[arg(value_enum)]
    what: What,

    /// Output format: text, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Measurements that can be run by name, from ./measurements, $PATHSPIDER_MEASUREMENTS,
    /// $XDG_CONFIG_HOME/pathspider/measurements and built in; the first one of a name is used
    Measurements,
    /// The functions that [observer] may list, by chain
    Chains,
    /// The kinds of connections, for `kind` in [connect]
    Kinds,
    /// The steps that a configuration may have
    Steps,
    /// The columns of the structs `zero` and `one` in a record
    Fields,
    /// The words of the column `answer`: answers other than the requested one
    Answers,
    /// The fields of packets that columns of one's own use, such as [observer.count.NAME]
    PacketFields,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let page = Page::of_stdout();
    let text = matches!(args.format, Format::Text);
    let (name, rows) = match args.what {
        What::Measurements if text => {
            let found = measurements()?;
            let rows = found.iter().map(|found| {
                let state = match found.mistakes {
                    0 => "ok".to_owned(),
                    1 => "1 mistake".to_owned(),
                    count => format!("{count} mistakes"),
                };
                [found.name.clone(), found.place.clone(), state, found.title.clone()]
            });
            page::print_page(&page.table(0, &rows.collect::<Vec<_>>()))?;
            return Ok(Exit::Done);
        }
        What::Chains if text => return page::print_page(&chains_text(&page)).map(|()| Exit::Done),
        What::Kinds if text => {
            let rows = connect::KINDS.iter().map(|kind| [kind.name.into(), kind.doc.into()]);
            page::print_page(&page.table(0, &rows.collect::<Vec<_>>()))?;
            return Ok(Exit::Done);
        }
        What::Steps if text => return page::print_page(&steps_text(&page)).map(|()| Exit::Done),
        What::Answers if text => {
            let rows = connect::ANSWERS.iter();
            let rows = rows.map(|row| [row.answer.as_str().into(), row.doc.into()]);
            page::print_page(&page.table(0, &rows.collect::<Vec<_>>()))?;
            return Ok(Exit::Done);
        }
        What::PacketFields if text => {
            let rows = PACKET_FIELDS.iter();
            let rows = rows.map(|row| [format!("{}.{}", row.header, row.name), row.doc.into()]);
            page::print_page(&page.table(0, &rows.collect::<Vec<_>>()))?;
            return Ok(Exit::Done);
        }
        What::Fields if text => return page::print_page(&fields_text(&page)).map(|()| Exit::Done),
        What::Measurements => {
            let rows = measurements()?.into_iter().map(|found| {
                json!({ "name": found.name, "title": found.title, "place": found.place,
                        "ok": found.mistakes == 0, "mistakes": found.mistakes })
            });
            ("measurements", rows.collect::<Vec<_>>())
        }
        What::Chains => ("chains", chains_json()),
        What::Kinds => {
            let rows = connect::KINDS.iter();
            let rows = rows.map(
                |kind| json!({ "name": kind.name, "doc": kind.doc, "options": kind.option_names(),
                               "versions": kind.versions, "columns": kind.columns, "port": kind.port }),
            );
            ("kinds", rows.collect())
        }
        What::Answers => {
            let rows = connect::ANSWERS.iter();
            let rows = rows.map(|row| json!({ "answer": row.answer.as_str(), "doc": row.doc }));
            ("answers", rows.collect())
        }
        What::Steps => ("steps", steps_json()),
        What::Fields => ("fields", fields_json()),
        What::PacketFields => {
            let rows = PACKET_FIELDS.iter().map(|row| {
                let kind = match row.kind {
                    Kind::Truth => "boolean",
                    Kind::Number => "int64",
                };
                json!({ "field": format!("{}.{}", row.header, row.name), "type": kind,
                        "doc": row.doc })
            });
            ("packet_fields", rows.collect())
        }
    };
    page::print_json(&json!({ name: rows }))?;
    Ok(Exit::Done)
}

/// A measurement that can be run by name.
pub struct Found {
    /// The name.
    pub name: String,
    /// Its title, if the file can be read.
    pub title: String,
    /// Where it is.
    pub place: String,
    /// How many mistakes it has.
    pub mistakes: usize,
}

/// Every measurement, from folders and built in, by name; the first one found of each name.
pub fn measurements() -> Result<Vec<Found>> {
    let columns = check::target_columns(None, &Default::default())?;
    let mut names = HashSet::new();
    let mut found = Vec::new();
    for folder in measurement::folders() {
        // A folder of the search path may be missing.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let toml = path.extension().is_some_and(|extension| extension == "toml");
            let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            let (Some(name), true) = (stem, toml && path.is_file()) else { continue };
            if names.insert(name.clone()) {
                let place = path.display().to_string();
                let text = measurement::find(&place).map(|(_, text)| text);
                found.push(match text {
                    Ok(text) => look(name, place, &text, &columns),
                    Err(why) => Found { name, title: why.to_string(), place, mistakes: 1 },
                });
            }
        }
    }
    for (name, text) in SHIPPED {
        if names.insert((*name).to_owned()) {
            found.push(look((*name).into(), "compiled in".into(), text, &columns));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn look(name: String, place: String, text: &str, columns: &Fields) -> Found {
    match Plan::load(&place, text, columns) {
        Ok(plan) => Found { name, title: plan.title, place, mistakes: 0 },
        Err(report) => {
            let title = text.parse::<toml::Table>().ok().and_then(|table| {
                table.get("title").and_then(|title| title.as_str()).map(str::to_owned)
            });
            let title = title.unwrap_or_default();
            Found { name, title, place, mistakes: report.diagnostics.len() }
        }
    }
}

fn chains_text(page: &Page) -> String {
    let mut text = String::new();
    for chain in Chain::ALL {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &page.heading(&format!("{}: {}", chain.key(), chain.reads()));
        let fitting = chain::functions().filter(|(_, function)| function.chains.has(chain));
        let rows = fitting.map(|(_, function)| {
            let needs = function.setup.map_or(String::new(), |setup| format!("; needs {setup}"));
            [function.name.to_owned(), format!("{}{needs}", function.doc)]
        });
        text += &page.table(2, &rows.collect::<Vec<_>>());
    }
    text
}

fn chains_json() -> Vec<Value> {
    let rows = chain::functions().map(|(group, function)| {
        let fields = group.fields.iter().filter(|field| field.by == function.name);
        json!({ "name": function.name, "group": group.name,
                "chains": catalogue::chain_keys(function), "needs": function.setup,
                "doc": function.doc, "fields": fields.map(|field| field.name).collect::<Vec<_>>() })
    });
    rows.collect()
}

fn steps_text(page: &Page) -> String {
    let mut text = String::new();
    for step in STEPS {
        let affected = step.scope.doc();
        text += &page.heading(step.name);
        text += &page.table(
            2,
            &[
                ["does".to_owned(), step.doc.to_owned()],
                ["written".to_owned(), step.example.to_owned()],
                ["undo".to_owned(), step.undo.to_owned()],
                ["affects".to_owned(), affected.to_owned()],
                ["needs".to_owned(), name_of(step.privilege).to_owned()],
            ],
        );
    }
    text
}

fn steps_json() -> Vec<Value> {
    let rows = STEPS.iter().map(|step| {
        let (scope, affected) = (step.scope.as_str(), step.scope.doc());
        json!({ "name": step.name, "doc": step.doc, "example": step.example, "undo": step.undo,
                "scope": scope, "affects": affected, "privilege": name_of(step.privilege) })
    });
    rows.collect()
}

fn fields_text(page: &Page) -> String {
    let rows = record::fields().map(|field| {
        let word = catalogue::type_word(&(field.data_type)());
        let by = field.filled_by.as_str().to_owned();
        [field.name.to_owned(), word, by, field.by.to_owned(), field.doc.trim().to_owned()]
    });
    let head = ["COLUMN", "TYPE", "FILLED BY", "FUNCTION", "MEANING"].map(str::to_owned);
    page.table(0, &std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn fields_json() -> Vec<Value> {
    let rows = record::fields().map(|field| {
        json!({ "name": field.name, "type": catalogue::type_word(&(field.data_type)()),
                "unit": dictionary::unit_of(field), "by": field.by,
                "filled_by": field.filled_by.as_str(), "doc": dictionary::one_line(field.doc) })
    });
    rows.collect()
}
