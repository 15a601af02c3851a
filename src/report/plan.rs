//! What a run of a measurement would do, derived from its plan.

use std::time::Duration;

use arrow_schema::{DataType, Fields};
use serde_json::{Value, json};

use super::catalogue;
use crate::cost::{self, Cost, Sum};
use crate::measurement::{Configuration, Plan};
use crate::privilege::needs::{Needs, name_of};
use crate::run::memory::{self, CONCURRENCY, MOST_RING, USUAL_PORTS};
use crate::run::record as run_record;

use crate::rule::confirm::CONFIRMED;
use crate::rule::{COMPARED, COMPARED_OK};
use crate::run::dictionary::Dictionary;
use crate::step::{self, Family, Step, Turns};

/// A column of the record.
pub struct Column {
    /// Its struct: `target`, `zero`, `conditions`; several if they are equal.
    pub tables: Vec<String>,
    /// Its name in the struct; empty if the column is not a struct.
    pub name: String,
    /// The name of its type.
    pub type_word: String,
    /// Its meaning.
    pub doc: String,
}

/// Whether configurations run at once, and why.
pub fn turns(plan: &Plan) -> (bool, String) {
    let mut wide: Vec<&str> = Vec::new();
    for step in plan.configs.iter().flat_map(|config| &config.steps) {
        if !step.scope().shares() && !wide.contains(&step.def().name) {
            wide.push(step.def().name);
        }
    }
    match plan.turns() {
        Turns::AtOnce if plan.configs.len() == 1 => {
            let how = "each target is probed under it alone; there is nothing to compare with, so that a compare says \
                       whether a target is online";
            (true, how.to_owned())
        }
        Turns::AtOnce => {
            let how = "each target is probed under one after the other, independently of other targets. Why: every \
                       step is for this configuration's own packets or sockets";
            (true, how.to_owned())
        }
        Turns::Overlapping => {
            let how = "a wave of targets is probed under one configuration; when all its attempts have started the \
                       next configuration takes its turn, with the same targets; a wave ends when all its attempts \
                       have ended. Why: the configurations differ only in kernel parameters that a connection reads \
                       before its first packet and never again";
            (false, how.to_owned())
        }
        Turns::Waves => {
            let how = "a wave of targets is probed under one configuration; when all its attempts have ended the \
                       steps are undone and the next configuration takes its turn, with the same targets";
            let wide = wide.join(", ");
            let why = format!(
                "{wide} changes more than this configuration's own packets, so that no connection of another \
                 configuration may be open meanwhile"
            );
            (false, format!("{how}. Why: {why}"))
        }
    }
}

/// The privileges needed, with the reasons.
pub fn privileges(plan: &Plan) -> Vec<(String, String)> {
    let needs = Needs::of(plan).bound();
    needs.iter().map(|need| (need.name.to_owned(), need.why.clone())).collect()
}

/// The distinct connection kinds of the plan's configurations, with descriptions.
pub fn kinds(plan: &Plan) -> Vec<(&'static str, &'static str)> {
    let mut kinds = Vec::new();
    for config in &plan.configs {
        let row = (config.connection.kind.name, config.connection.kind.doc);
        if !kinds.contains(&row) {
            kinds.push(row);
        }
    }
    kinds
}

/// How a configuration connects, if it has settings of its own or the kind's name does not suffice.
pub fn connection(plan: &Plan, config: &Configuration) -> Option<String> {
    let connection = &config.connection;
    let mut words = vec![format!("{} within {}", connection.kind.name, time(connection.timeout))];
    words.extend(connection.options.describe());
    let plain = words.len() == 1 && connection.timeout == plan.timeout && kinds(plan).len() == 1;
    (!plain).then(|| words.join(", "))
}

/// The targets skipped under a configuration, if any.
pub fn skips(config: &Configuration) -> Option<String> {
    let left_out = step::left_out(&config.steps)?;
    let steps: Vec<String> = config
        .steps
        .iter()
        .filter(|step| step.only() == Some(left_out.other()))
        .map(Step::written)
        .collect();
    Some(format!(
        "targets of {}: nothing would differ for them ({} is for {} only)",
        left_out.as_str(),
        steps.join(", "),
        left_out.other().as_str(),
    ))
}

/// What is done once per target before all configurations, and what is kept afterwards.
pub fn around(plan: &Plan) -> Vec<[String; 2]> {
    let mut rows = Vec::new();
    if plan.prepare.resolve {
        rows.push([
            "before".to_owned(),
            "a target with a name only is looked up, once for all configurations".to_owned(),
        ]);
    }
    if let Some(probe) = plan.prepare.probe {
        let why = format!("a connection of the kind {} checks whether it is up", probe.name);
        rows.push(["before".to_owned(), why]);
    }
    let kept: Vec<&str> = plan.reply_columns().iter().map(|field| field.name).collect();
    if !kept.is_empty() {
        rows.push(["after".to_owned(), format!("kept of the reply: {}", kept.join(", "))]);
    }
    rows
}

/// A duration as files have it.
pub fn time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

/// The cost of an attempt, if known for its kind; that of the most expensive configuration.
pub fn cost(plan: &Plan) -> Option<Cost> {
    cost::costs(plan).max_by_key(|cost| (cost.most().packets, cost.most().octets, cost.read))
}

/// The confirmation rounds of a target that looks broken or transient.
pub fn rounds(plan: &Plan) -> Option<String> {
    let confirm = &plan.confirm;
    let times = match confirm.rounds {
        0 => return None,
        1 => "once".to_owned(),
        rounds => format!("{rounds} times"),
    };
    Some(format!(
        "a target that looks broken or transient is re-probed {times}, each time under every configuration and {} after the \
         last at least",
        time(confirm.spread)
    ))
}

/// Every column of the record, in its order.
pub fn columns(plan: &Plan, target_columns: &Fields) -> Vec<Column> {
    let schema = run_record::schema(plan, target_columns);
    let dictionary = Dictionary::of(plan);
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |table: &str, name: &str, data_type: &DataType, doc: String| {
        let type_word = catalogue::type_word(data_type);
        let like = |column: &&mut Column| {
            table != "target" && column.name == name && column.doc == doc && !name.is_empty()
        };
        match columns.iter_mut().find(like) {
            Some(column) => column.tables.push(table.to_owned()),
            None => columns.push(Column {
                tables: vec![table.to_owned()],
                name: name.to_owned(),
                type_word,
                doc,
            }),
        }
    };
    for field in schema.fields() {
        let table = field.name();
        match field.data_type() {
            DataType::Struct(inside) => {
                for field in inside {
                    let doc = dictionary.doc(table, field.name());
                    add(table, field.name(), field.data_type(), doc);
                }
            }
            other => {
                add(table, "", other, dictionary.doc("", table));
            }
        }
    }
    columns
}

/// The meaning of a rule's label, if its word is built in.
///
/// `compares` is the column that the rule compares, if it does.
pub fn label_meaning(label: &str, compares: Option<&str>) -> &'static str {
    let word = label.rsplit('.').next().unwrap_or_default();
    let of_ok = COMPARED.iter().zip(COMPARED_OK).map(|((word, _), meaning)| (*word, meaning));
    let compared: Vec<(&str, &str)> = match compares {
        Some("ok") => of_ok.collect(),
        Some(_) => COMPARED.to_vec(),
        None => Vec::new(),
    };
    match compared.into_iter().chain(CONFIRMED).find(|(known, _)| *known == word) {
        Some((_, meaning)) => meaning,
        None if word == crate::rule::INSUFFICIENT => "a fact that it needs was not observed",
        None => "",
    }
}

/// The conditions as written in the file: expressions by key.
pub struct Written(toml::Table);

impl Written {
    /// The conditions of a plan's file.
    pub fn of(plan: &Plan) -> Self {
        Self(plan.text.parse().unwrap_or_default())
    }

    /// The condition of a name; `None` if the name in the file is not exactly the rule's.
    fn condition(&self, name: &str) -> Option<&toml::Table> {
        let conditions = self.0.get("conditions")?.as_array()?;
        let mut tables = conditions.iter().filter_map(toml::Value::as_table);
        tables.find(|table| text(table, "name") == Some(name))
    }

    /// When it applies, if limited.
    pub fn given(&self, name: &str) -> Option<String> {
        text(self.condition(name)?, "given").map(one_line)
    }

    /// The column that it compares, if it does.
    pub fn compares(&self, name: &str) -> Option<&str> {
        text(self.condition(name)?, "compare")
    }

    /// The expression whose value it yields, if it does.
    pub fn value(&self, name: &str) -> Option<String> {
        text(self.condition(name)?, "value").map(one_line)
    }

    /// The expression of the answer that ends with this word; `None` if it has none.
    pub fn when(&self, name: &str, word: &str) -> Option<String> {
        let answers = self.condition(name)?.get("first_of")?.as_array()?;
        let mut answers = answers.iter().filter_map(toml::Value::as_table);
        let answer = answers.find(|answer| text(answer, "is") == Some(word))?;
        Some(text(answer, "when").map_or_else(|| "otherwise".to_owned(), one_line))
    }
}

fn text<'a>(table: &'a toml::Table, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The whole explanation as JSON.
pub fn to_json(plan: &Plan, origin: &str, target_columns: &Fields) -> Value {
    let configurations = plan.configs.iter().map(|config| {
        let steps = config.steps.iter().map(|step| {
            json!({ "step": step.def().name, "does": step.describe(), "undo": step.describe_undo(),
                    "scope": step.scope().as_str(), "privilege": name_of(step.privilege()) })
        });
        let connection = &config.connection;
        let skips = step::left_out(&config.steps).map(Family::as_str);
        json!({ "name": config.name, "title": config.title, "steps": steps.collect::<Vec<_>>(),
                "skips": skips,
                "connect": { "kind": connection.kind.name, "timeout_ms": milliseconds(connection.timeout),
                             "options": connection.options.describe() } })
    });
    let (at_once, why) = turns(plan);
    let privileges = privileges(plan);
    let privileges = privileges.iter().map(|(name, why)| json!({ "name": name, "why": why }));
    let columns = columns(plan, target_columns);
    let columns = columns.iter().map(|column| {
        json!({ "tables": column.tables, "name": Some(&column.name).filter(|name| !name.is_empty()),
                "type": column.type_word, "doc": column.doc })
    });
    let conditions = plan.rules.iter().map(|rule| {
        json!({ "name": rule.name(), "labels": rule.labels(), "column": rule.column(),
                "sql": rule.sql() })
    });
    let metrics = plan.rules.metrics().map(|metric| {
        json!({ "name": metric.name(), "column": metric.column(), "value": metric.written(),
                "unit": metric.unit(), "paired": metric.is_paired(), "sql": metric.sql() })
    });
    let kinds = kinds(plan);
    let kinds = kinds.iter().map(|(kind, doc)| json!({ "kind": kind, "doc": doc }));
    let params = plan.params.iter().map(|param| {
        json!({ "name": param.name, "value": param.value.to_string(),
                "default": param.default.to_string(), "help": param.help })
    });
    json!({
        "params": params.collect::<Vec<_>>(),
        "prepare": { "resolve": plan.prepare.resolve, "probe": plan.prepare.probe.map(|kind| kind.name) },
        "keep": plan.reply_columns().iter().map(|field| field.name).collect::<Vec<_>>(),
        "measurement": plan.name, "title": plan.title, "description": plan.description,
        "references": plan.references, "file": origin,
        "extends": plan.sources.bases().collect::<Vec<_>>(),
        "origins": plan.origins.iter().map(|origin| {
            json!({ "part": origin.part, "file": origin.file, "line": origin.line })
        }).collect::<Vec<_>>(),
        "configurations": configurations.collect::<Vec<_>>(),
        "at_once": at_once, "turns": why,
        "privileges": privileges.collect::<Vec<_>>(),
        "connect": { "kinds": kinds.collect::<Vec<_>>(), "timeout_ms": milliseconds(plan.timeout) },
        "confirm": { "rounds": plan.confirm.rounds, "spread_ms": milliseconds(plan.confirm.spread) },
        "sent": cost(plan).map(|cost| sent(&cost, cost::in_all(plan), cost::with_rounds(plan))),
        "memory_bound": memory(plan),
        "columns": columns.collect::<Vec<_>>(),
        "conditions": conditions.collect::<Vec<_>>(),
        "metrics": metrics.collect::<Vec<_>>(),
    })
}

/// The maximum memory of a run with default settings, in octets.
pub fn memory(plan: &Plan) -> u64 {
    let wave = USUAL_PORTS / 2 / plan.configs.len().max(1);
    memory::bound(plan, CONCURRENCY, USUAL_PORTS, wave, MOST_RING)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn sent(cost: &Cost, (usual, most): (Sum, Sum), with_rounds: Sum) -> Value {
    let sum = |sum: Sum| json!({ "packets": sum.packets, "octets": sum.octets });
    let parts = cost.parts.iter().map(|part| {
        json!({ "packet": part.packet, "usual": part.usual, "most": part.most,
                "octets_usual": part.octets.0, "octets_most": part.octets.1, "why": part.why })
    });
    json!({
        "per_attempt": { "usual": sum(cost.usual()), "most": sum(cost.most()),
                         "parts": parts.collect::<Vec<_>>() },
        "per_asking": { "usual": sum(usual), "most": sum(most) },
        "per_target": { "usual": sum(usual), "most": sum(with_rounds) },
        "read_per_attempt": cost.read,
    })
}
