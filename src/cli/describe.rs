//! `pathspider describe`: the dictionary of a result.

use std::path::PathBuf;

use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use super::signals;
use crate::error::{Exit, Result};
use crate::record::CONFIGURATIONS;
use crate::report::format::Format;
use crate::report::meter::Meter;
use crate::report::page::{self, Page};
use crate::report::{numbers, plan};
use crate::results::describe::{Column, Description};
use crate::results::embedded::Embedded;
use crate::results::input::Input;
use crate::run::keys::KEYS;
use crate::words::counted;

/// Describe a result: its columns with type, unit, meaning and share of NULL, and its labels with meaning and counts
///
/// What the file says of its columns takes precedence; for results of earlier versions, which say nothing, the meanings
/// are those of this program.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A result: a folder of parts, or a .parquet file
    #[arg(value_name = "RESULT")]
    result: PathBuf,

    /// Output format: text, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    signals::catch(false)?;
    let input = Input::open(&args.result, "describe", false)?;
    let total = input.records()?;
    let mut meter = Meter::new("records", quiet);
    let described = Description::of(&input, |read| {
        signals::check(|| "describe: it was not read to its end".to_owned())?;
        meter.show(read, (read, Some(total)), "");
        Ok(())
    });
    meter.end();
    let described = described?;
    match args.format {
        Format::Json => page::print_json(&as_json(&input, &described))?,
        Format::Text => page::print_page(&text(&input, &described, &Page::of_stdout()))?,
    }
    Ok(Exit::Done)
}

/// A share in percent: `0 %` only if there is none, `100 %` only if it is all.
fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".to_owned(),
        100.0 => "100 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share if share > 99.9 => "> 99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

fn text(input: &Input, of: &Description, page: &Page) -> String {
    let records = of.totals.records;
    let mut text = page.heading(&input.path.display().to_string());
    let mut about = vec![["records".to_owned(), HumanCount(records).to_string()]];
    if of.totals.controls.records > 0 {
        about.push(["controls".to_owned(), HumanCount(of.totals.controls.records).to_string()]);
    }
    if let Some(Embedded { plan, .. }) = &of.embedded {
        about.push(["measurement".to_owned(), format!("{}: {}", plan.name, plan.title)]);
    }
    let shown = ["vantage", "host", "started", "ended", "complete", "version", "run_id"];
    let shown =
        shown.iter().filter_map(|key| Some([(*key).to_owned(), input.value(key)?.to_owned()]));
    about.extend(shown);
    text += &page.table(2, &about);
    text += &columns(of, page);
    text += &conditions(of, page);
    text
}

/// Columns of structs that have the same ones are shown once, with the share of NULL in each.
fn columns(of: &Description, page: &Page) -> String {
    let mut text = String::new();
    let is_configuration = |table: &str| CONFIGURATIONS.contains(&table);
    let mut tables: Vec<&str> = of.columns.iter().map(|column| &*column.table).collect();
    tables.dedup();
    let own = |column: &Column| column.name.rsplit('.').next().unwrap_or_default().to_owned();
    let names = |table: &str| -> Vec<String> {
        of.columns.iter().filter(|column| column.table == table).map(own).collect()
    };
    let mut done: Vec<&str> = Vec::new();
    for table in &tables {
        if done.contains(table) {
            continue;
        }
        let alike: Vec<&str> = match is_configuration(table) {
            false => vec![table],
            true => {
                let here = names(table);
                let others = tables.iter().copied();
                others.filter(|other| is_configuration(other) && names(other) == here).collect()
            }
        };
        done.extend(&alike);
        let heading = match *table {
            "" => "Columns of the record".to_owned(),
            _ => format!("Columns of {}", listed(&alike)),
        };
        text += &format!("\n{}", page.heading(&heading));
        let head = ["COLUMN", "TYPE", "UNIT", "NULL", "FILLED BY", "MEANING"].map(str::to_owned);
        let rows = of.columns.iter().filter(|column| column.table == *table).map(|column| {
            let name = own(column);
            let same = |other: &&Column| alike.contains(&&*other.table) && own(other) == name;
            let nulls: Vec<u64> = of.columns.iter().filter(same).map(|c| c.nulls).collect();
            let meaning = column.meaning.as_ref();
            [
                name,
                column.type_word.clone(),
                meaning.and_then(|meaning| meaning.unit.clone()).unwrap_or_default(),
                shares(of, &nulls),
                meaning.map(|meaning| meaning.filled_by.clone()).unwrap_or_default(),
                meaning.map(|meaning| meaning.description.clone()).unwrap_or_default(),
            ]
        });
        text += &page.table(2, &std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    text
}

/// `zero and one`; the first and the last of many.
fn listed(tables: &[&str]) -> String {
    match tables {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, second] => format!("{first} and {second}"),
        [first, .., last] => format!("{first} to {last}"),
    }
}

/// The shares of NULL under each configuration; the smallest and the largest of many.
fn shares(of: &Description, nulls: &[u64]) -> String {
    let share = |nulls: u64| percent(of.share(nulls));
    match (nulls.iter().min(), nulls.iter().max()) {
        (Some(least), Some(most)) if least == most => share(*least),
        (Some(least), Some(most)) if nulls.len() > 2 => {
            format!("{} to {}", share(*least), share(*most))
        }
        _ => nulls.iter().map(|nulls| share(*nulls)).collect::<Vec<_>>().join(", "),
    }
}

/// A label with its meaning and how often it was given, controls excluded.
struct Label {
    label: String,
    count: u64,
    meaning: String,
}

/// The labels of each condition, by its name; a `value` condition has those that were given.
fn labels(of: &Description) -> Vec<(String, Vec<Label>)> {
    let Some(Embedded { plan, rules }) = &of.embedded else { return Vec::new() };
    let written = plan::Written::of(plan);
    let given = &of.totals.labels;
    let of_rule = |rule: &crate::rule::Rule| {
        let name = rule.name();
        let compares = written.compares(name);
        let mut labels = Vec::new();
        for label in rule.labels() {
            if let Some(begin) = label.strip_suffix("...") {
                let meaning = written.value(name).unwrap_or_default();
                let values = given.iter().filter(|(label, _)| label.starts_with(begin));
                labels.extend(values.map(|(label, count)| Label {
                    label: label.clone(),
                    count: *count,
                    meaning: meaning.clone(),
                }));
                continue;
            }
            let word = label.rsplit('.').next().unwrap_or_default();
            let built_in = plan::label_meaning(&label, compares).to_owned();
            let meaning = written.when(name, word).unwrap_or(built_in);
            labels.push(Label { count: given.get(&label).copied().unwrap_or(0), label, meaning });
        }
        (name.to_owned(), labels)
    };
    rules.iter().map(of_rule).collect()
}

fn conditions(of: &Description, page: &Page) -> String {
    let records = of.totals.records - of.totals.controls.records;
    let mut text = String::new();
    for (name, labels) in labels(of) {
        text += &format!("\n{}", page.heading(&format!("Condition {name}")));
        let none = labels.iter().map(|label| label.count).sum::<u64>();
        let head = ["LABEL", "RECORDS", "SHARE", "MEANING"].map(str::to_owned);
        let rows = labels.into_iter().map(|label| {
            let share = percent(label.count as f64 / records.max(1) as f64);
            [label.label, HumanCount(label.count).to_string(), share, label.meaning]
        });
        text += &page.table(2, &std::iter::once(head).chain(rows).collect::<Vec<_>>());
        let none = records.saturating_sub(none);
        if none > 0 {
            let what = counted(none, "record[s] without a label: it does not apply");
            text += &page.prose(2, &what);
        }
    }
    if let Some(Embedded { rules, .. }) = &of.embedded {
        let lines = numbers::lines(rules, &of.totals);
        if !lines.is_empty() {
            text += &format!("\n{}{}\n", page.heading("Metrics"), lines.join("\n"));
        }
    }
    text
}

fn as_json(input: &Input, of: &Description) -> Value {
    let columns = of.columns.iter().map(|column| {
        let meaning = column.meaning.as_ref();
        json!({
            "name": column.name, "type": column.type_word,
            "unit": meaning.and_then(|meaning| meaning.unit.as_deref()),
            "description": meaning.map(|meaning| &meaning.description),
            "filled_by": meaning.map(|meaning| &meaning.filled_by),
            "nulls": column.nulls, "null_share": of.share(column.nulls),
        })
    });
    let records = of.totals.records - of.totals.controls.records;
    let conditions = labels(of).into_iter().map(|(name, labels)| {
        let labels = labels.into_iter().map(|label| {
            json!({ "label": label.label, "records": label.count, "meaning": label.meaning,
                    "share": label.count as f64 / records.max(1) as f64 })
        });
        json!({ "name": name, "labels": labels.collect::<Vec<_>>() })
    });
    let metadata: Map<String, Value> = KEYS
        .iter()
        .filter_map(|key| Some((key.name.to_owned(), input.value(key.name)?.into())))
        .collect();
    let embedded = of.embedded.as_ref();
    json!({
        "result": input.path.display().to_string(),
        "records": of.totals.records, "controls": of.totals.controls.records,
        "measurement": embedded.map(|embedded| &embedded.plan.name),
        "title": embedded.map(|embedded| &embedded.plan.title),
        "columns": columns.collect::<Vec<_>>(),
        "conditions": conditions.collect::<Vec<_>>(),
        "metrics": embedded.map(|embedded| numbers::metrics_json(&embedded.rules, &of.totals)),
        "metadata": metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_none_or_all_only_if_it_is() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.00001, "< 0.1 %"),
            (0.5, "50.0 %"),
            (0.99999, "> 99.9 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
