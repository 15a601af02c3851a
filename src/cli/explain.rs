//! `pathspider explain`: describes what a run would do, or what a code means.

use std::path::PathBuf;

use arrow_schema::Fields;
use indicatif::{HumanBytes, HumanDuration};
use serde_json::json;

use crate::cli::check;
use crate::cli::codes::{self, Explained};
use crate::cli::options::columns::FixedColumns;
use crate::cli::words::Word;
use crate::cost;
use crate::error::{Error, Exit, Result};
use crate::measurement::{self, Overrides, Plan};
use crate::printable;
use crate::report::format::Format;
use crate::report::page::{self, Page};
use crate::report::plan;
use crate::rule::COMPARE_RANKS;
use crate::words::counted;

/// Explain what a run of a measurement would do, or what a code such as E0202 or a column means
///
/// For a measurement: its configurations with every step, its undo and scope; whether configurations
/// take turns; the privileges needed; the maximum sent to a target; the columns of the record; every
/// label that a condition can give. Runs nothing, changes nothing and opens no socket.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A measurement (a file, or a name such as `ecn`), the code of a mistake, or the name of a column, a function, a
    /// group, a kind of connection or a kind of step
    target: String,

    /// A target list whose columns are passed on to the record
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    #[command(flatten)]
    columns: FixedColumns,

    /// Override the default of a param of the measurement; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = Overrides::assignment)]
    set: Vec<(String, String)>,

    /// Output format: text, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let target = &args.target;
    if codes::is_code(target) {
        let Some(explained) = codes::find(target) else {
            let near = codes::nearest(target);
            let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            let why =
                format!("there is no code {target}; `pathspider reference` lists them all{near}");
            return Err(Error::Usage(why));
        };
        match args.format {
            Format::Text => page::print_page(&code_text(&explained, &Page::of_stdout()))?,
            Format::Json => page::print_json(&json!({
                "code": explained.code, "title": explained.title, "meaning": explained.meaning,
                "wrong": explained.wrong, "right": explained.right,
            }))?,
        }
        return Ok(Exit::Done);
    }
    let columns = check::target_columns(args.targets.as_deref(), &args.columns)?;
    let (origin, text) = match (measurement::find(target), Word::find(target)) {
        // A measurement takes precedence: some have the name of a group.
        (Ok(found), _) => found,
        (Err(_), Some(word)) => {
            match args.format {
                Format::Text => page::print_page(&word_text(&word, &Page::of_stdout()))?,
                Format::Json => page::print_json(&word.to_json())?,
            }
            return Ok(Exit::Done);
        }
        (Err(error), None) => return Err(error),
    };
    let overrides = Overrides::new(args.set.clone());
    let plan = match Plan::load_with(&origin, &text, &columns, &overrides) {
        Ok(plan) => plan,
        Err(error) => {
            crate::cli::report_as(&error, args.format)?;
            return Ok(error.exit());
        }
    };
    if args.format == Format::Text {
        crate::cli::warn(&plan, &origin);
    }
    match args.format {
        Format::Text => page::print_page(&plan_text(&plan, &origin, &columns, &Page::of_stdout()))?,
        Format::Json => page::print_json(&plan::to_json(&plan, &origin, &columns))?,
    }
    Ok(Exit::Done)
}

fn word_text(word: &Word, page: &Page) -> String {
    let Word { name, is, doc, facts } = word;
    let mut text = page.heading(&format!("{name}: {is}"));
    text += &format!("\n{}\n", page.prose(0, doc));
    text + &page.table(2, facts)
}

fn code_text(explained: &Explained, page: &Page) -> String {
    let Explained { code, title, meaning, wrong, right } = explained;
    let example = |text: &str| {
        let lines = text.lines().map(|line| match line.is_empty() {
            true => "\n".to_owned(),
            false => format!("    {line}\n"),
        });
        lines.collect::<String>()
    };
    let mut text = page.heading(&format!("{code}: {title}"));
    text += &format!("\n{}\n", page.prose(0, meaning));
    text += &format!("{}\n{}\n", page.heading("Wrong").trim_end(), example(wrong));
    text + &format!("{}\n{}", page.heading("Right").trim_end(), example(right))
}

fn plan_text(plan: &Plan, origin: &str, target_columns: &Fields, page: &Page) -> String {
    let mut text = page.heading(&format!("{}: {}", plan.name, plan.title));
    let mut about = vec![["file".to_owned(), origin.to_owned()]];
    let bases: Vec<&str> = plan.sources.bases().collect();
    if !bases.is_empty() {
        about.push(["extends".to_owned(), bases.join(", ")]);
    }
    if !plan.references.is_empty() {
        about.push(["see".to_owned(), plan.references.join(", ")]);
    }
    text += &page.table(2, &about);
    if !plan.description.trim().is_empty() {
        text.push('\n');
        // Unwrapped: it may contain lists.
        for line in plan.description.trim().lines() {
            text += format!("  {}", printable::line(line)).trim_end();
            text.push('\n');
        }
    }
    text += &params(plan, page);
    text += &configurations(plan, page);
    text += &sent(plan, page);
    text += &memory(page, plan);
    text += &columns(plan, target_columns, page);
    text += &conditions(plan, page);
    text += &metrics(plan, page);
    text + &origins(plan, page)
}

/// Where each part is written, if there are several files.
fn origins(plan: &Plan, page: &Page) -> String {
    if plan.origins.is_empty() {
        return String::new();
    }
    let rows = plan.origins.iter().map(|origin| {
        [origin.part.clone(), format!("{}:{}", printable::line(&origin.file), origin.line)]
    });
    let heading = page.heading("Its parts are written in");
    format!("\n{heading}{}", page.table(2, &rows.collect::<Vec<_>>()))
}

fn params(plan: &Plan, page: &Page) -> String {
    if plan.params.is_empty() {
        return String::new();
    }
    let rows = plan.params.iter().map(|param| {
        let (value, default) = (param.value.to_string(), param.default.to_string());
        let usually =
            if value == default { String::new() } else { format!(" (default {default})") };
        [param.name.clone(), format!("{value}{usually}"), param.help.clone()]
    });
    let heading = page.heading("Params, set with --set NAME=VALUE");
    format!("\n{heading}{}", page.table(2, &rows.collect::<Vec<_>>()))
}

fn configurations(plan: &Plan, page: &Page) -> String {
    let mut text = format!("\n{}", page.heading("Each target is probed under each configuration"));
    for config in &plan.configs {
        let title = Some(&config.title).filter(|title| *title != config.name);
        let title = title.map_or(String::new(), |title| format!(": {title}"));
        text += &page.prose(2, &format!("{}{title}", config.name));
        if config.steps.is_empty() {
            text += "    changes nothing\n";
        }
        if let Some(how) = plan::connection(plan, config) {
            text += &page.table(4, &[["connects".to_owned(), how]]);
        }
        if let Some(skipped) = plan::skips(config) {
            text += &page.table(4, &[["skips".to_owned(), skipped]]);
        }
        for step in &config.steps {
            let affected = step.scope().doc();
            text += &page.table(
                4,
                &[
                    ["step".to_owned(), step.describe()],
                    ["undo".to_owned(), step.describe_undo()],
                    ["affects".to_owned(), affected.to_owned()],
                ],
            );
        }
    }
    let around = plan::around(plan);
    if !around.is_empty() {
        text += &format!("\n{}{}", page.heading("Before and after"), page.table(2, &around));
    }
    let (at_once, why) = plan::turns(plan);
    let how = match (plan.configs.len(), at_once) {
        (1, _) => "One configuration",
        (_, true) => "Configurations run at once",
        (_, false) => "Configurations take turns",
    };
    text += &format!("\n{}{}", page.heading(how), page.prose(2, &why));
    let rows = plan::privileges(plan).into_iter().map(|(name, why)| [name, why]);
    text += &format!("\n{}", page.heading("It needs (with --lab: no privilege)"));
    text + &page.table(2, &rows.collect::<Vec<_>>())
}

fn sent(plan: &Plan, page: &Page) -> String {
    let mut text = String::new();
    for (kind, doc) in plan::kinds(plan) {
        text += &format!("\n{}", page.heading(&format!("Each attempt is of the kind {kind}")));
        text += &page.prose(2, &format!("{doc}; within {}", seconds(plan)));
    }
    // Every plan has a configuration.
    let Some(cost) = plan::cost(plan) else { return text };
    let (usual, most) = cost::in_all(plan);
    let all = cost::with_rounds(plan);
    let heading = format!(
        "A target receives at most {} and {}",
        counted(all.packets, "packet[s]"),
        counted(all.octets, "octet[s]")
    );
    text += &format!("\n{}", page.heading(&heading));
    text += &page.prose(
        2,
        &format!(
            "One that answers in one segment and closes receives {} and {}; fewer if ACKs are combined. \
             Octets are those of IP packets: \
             usually IPv4 with the kernel's options, at most IPv6 with all the options that fit. Answers to \
             what the target itself repeats are not counted.",
            counted(usual.packets, "packet[s]"),
            counted(usual.octets, "octet[s]")
        ),
    );
    if cost.read > 0 {
        let in_all = cost::read_in_all(plan) * (1 + u64::from(plan.confirm.rounds));
        text += &page.prose(
            2,
            &format!(
                "It may send as much as it likes: at most {} are read in an attempt, {} in all, and the rest is answered \
                 with a reset.",
                HumanBytes(cost.read),
                HumanBytes(in_all)
            ),
        );
    }
    let mut rows = vec![["PACKET", "USUAL", "MOST", "WHY"].map(str::to_owned)];
    for part in &cost.parts {
        let (usual, most) = (part.usual.to_string(), part.most.to_string());
        rows.push([part.packet.to_owned(), usual, most, part.why.clone()]);
    }
    let attempt = (cost.usual(), cost.most());
    rows.push([
        "together".into(),
        attempt.0.packets.to_string(),
        attempt.1.packets.to_string(),
        format!("{} to {} octets", attempt.0.octets, attempt.1.octets),
    ]);
    rows.push([
        "in all".into(),
        usual.packets.to_string(),
        most.packets.to_string(),
        format!("under {}", counted(plan.configs.len() as u64, "configuration[s]")),
    ]);
    if let Some(rounds) = plan::rounds(plan) {
        let (usual, most) = (usual.packets.to_string(), all.packets.to_string());
        rows.push(["with rounds".into(), usual, most, rounds]);
    }
    if let Some(locate) = plan.locatable.as_ref().filter(|_| plan.locate.is_none()) {
        let packets = u64::from(locate.limits.packets);
        let (usual, most) = (usual.packets.to_string(), (all.packets + packets).to_string());
        let labels: Vec<&str> = locate.labels.iter().map(|sought| sought.label.as_str()).collect();
        let why = format!(
            "at most {} for a target with {}: copies that expire at a hop, and resets",
            counted(packets, "packet[s]"),
            labels.join(" or ")
        );
        rows.push(["with --locate".into(), usual, most, why]);
    }
    text + &page.table(2, &rows)
}

fn memory(page: &Page, plan: &Plan) -> String {
    let heading = format!("A run uses at most {} of memory", HumanBytes(plan::memory(plan)));
    let about = "With the default --concurrency and the kernel's usual source ports, whatever targets and other hosts \
                 send; lists of targets and exclusions, and records that wait for confirmation rounds, come on top of \
                 that.";
    format!("\n{}{}", page.heading(&heading), page.prose(2, about))
}

/// The columns of the record; equal structs are described once.
fn columns(plan: &Plan, target_columns: &Fields, page: &Page) -> String {
    let columns = plan::columns(plan, target_columns);
    let mut text = format!("\n{}", page.heading("A record has, for each target"));
    for alike in columns.chunk_by(|a, b| a.tables == b.tables) {
        let Some(first) = alike.first() else { continue };
        let tables = first.tables.join(" and ");
        let rows = alike.iter().map(|column| {
            let name = if column.name.is_empty() { tables.clone() } else { column.name.clone() };
            [name, column.type_word.clone(), column.doc.clone()]
        });
        let rows: Vec<_> = rows.collect();
        if first.name.is_empty() {
            text += &page.table(2, &rows);
        } else {
            text += &page.prose(2, &format!("{tables}:"));
            text += &page.table(4, &rows);
        }
    }
    text
}

/// `3 seconds`, `500ms`.
fn seconds(plan: &Plan) -> String {
    match plan.timeout.subsec_millis() {
        0 => HumanDuration(plan.timeout).to_string(),
        _ => format!("{}ms", plan.timeout.as_millis()),
    }
}

fn conditions(plan: &Plan, page: &Page) -> String {
    let mut text = String::new();
    let written = plan::Written::of(plan);
    for rule in plan.rules.iter() {
        let name = rule.name();
        let (given, compares) = (written.given(name), written.compares(name));
        let mut heading = format!("Condition {name}");
        if let Some(column) = compares {
            heading += &format!(" compares {column} under zero and one");
        }
        text += &format!("\n{}", page.heading(&heading));
        if let Some(given) = given {
            text += &page.table(2, &[["only if".to_owned(), given]]);
        }
        let rows = rule.labels().into_iter().map(|label| {
            let word = label.rsplit('.').next().unwrap_or_default();
            let when = written.when(name, word);
            let value = written.value(name).filter(|_| label.ends_with(":..."));
            let meaning = plan::label_meaning(&label, compares).to_owned();
            let meaning = when.or(value).unwrap_or(meaning);
            [label, meaning]
        });
        text += &page.table(2, &rows.collect::<Vec<_>>());
        if compares == Some("ok") {
            text += &page.prose(2, COMPARE_RANKS);
        }
    }
    text
}

fn metrics(plan: &Plan, page: &Page) -> String {
    let mut text = String::new();
    for metric in plan.rules.metrics() {
        let unit = metric.unit().map_or(String::new(), |unit| format!(", in {unit}"));
        text += &format!("\n{}", page.heading(&format!("Metric {}{unit}", metric.name())));
        let summary = match metric.is_paired() {
            true => {
                "a number for each target, from both configurations; the summary has the interval of the median"
            }
            false => "a number for each target",
        };
        let mut rows = vec![[
            metric.written().split_whitespace().collect::<Vec<_>>().join(" "),
            summary.to_owned(),
        ]];
        if let Some(given) = metric.given() {
            rows.insert(0, ["only if".to_owned(), given.to_owned()]);
        }
        text += &page.table(2, &rows);
    }
    text
}
