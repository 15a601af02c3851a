//! Random rules over random records, judged by us and by DuckDB: no difference in any row.
//!
//! DuckDB evaluates the SQL that a file carries in its metadata, and the expressions themselves as
//! a measurement has them; of the latter it may refuse some (its integers are narrower, and its
//! times of nanoseconds cannot be subtracted), but may never answer otherwise.
//!
//! Has no harness, so that it can count as skipped where there is no Python to ask.
//! `PATHSPIDER_DIFFERENTIAL=5000 cargo test --test differential` tries more rules than the few of
//! every day, `PATHSPIDER_SEED=7` others.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, UInt8Array, UInt16Array, UInt64Array,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use libtest_mimic::{Arguments, Completion, Trial};
use pathspider::error::Diagnostic;
use pathspider::flags::{self, Flag, Flags};
use pathspider::rule::confirm::{self, Counts};
use pathspider::rule::{
    About, Choice, Columns, Known, MetricSource, Question, RuleSource, Rules, Sql,
};
use pathspider::sink;
use serde_json::{Map, Value};

const ROWS: usize = 200;
const TABLES: [&str; 4] = ["target", "zero", "one", "two"];

/// A small generator of random numbers (xorshift), so that a seed means the same everywhere.
struct Random {
    state: u64,
    /// Whether expressions are without what DuckDB may refuse.
    plain: bool,
}

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % end
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    /// One in eight is NULL.
    fn cell<T: Clone>(&mut self, values: &[T]) -> Option<T> {
        (self.below(8) > 0).then(|| self.of(values))
    }

    /// Half are NULL, so that every pair of ranks comes.
    fn answer(&mut self) -> Option<&'static str> {
        (self.below(2) > 0).then(|| self.of(&["tls_alert:handshake_failure", "http:4xx"]))
    }

    fn column<T: Clone, A: FromIterator<Option<T>>>(&mut self, values: &[T]) -> A {
        (0..ROWS).map(|_| self.cell(values)).collect()
    }
}

const INTS: [i64; 10] = [0, 1, 2, 3, -1, -7, 1460, i64::MAX, i64::MIN, 1 << 53];
const FLOATS: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    1.5,
    -2.25,
    0.1,
    1e16,
    1e-5,
    1.7e308,
    1e300,
    f64::NAN,
    f64::NEG_INFINITY,
    f64::INFINITY,
    3.3e-310,
];
const TEXTS: [&str; 8] = ["", "a", "B", "it's", "ä", "--", "192.0.2.1", "2001:db8::1"];
/// 2026, around a second, and long ago.
const TIMES: [i64; 6] = [
    1_800_000_000_000_000_000,
    1_800_000_000_000_000_001,
    1_800_000_000_123_456_000,
    1_800_000_001_000_000_000,
    1_800_000_086_400_000_000,
    -1,
];

/// Nanoseconds: of a round trip, and those whose sums and multiples overflow.
const DURATIONS: [u64; 7] = [0, 1, 10_000, 100_000_000, 99_999_999, 3_600_000_000_000, 3 << 60];
const SIGNED: [i64; 7] = [0, -1, 10_000, 100_000_000, -99_999_999, 3_600_000_000_000, i64::MIN + 1];

fn table(random: &mut Random) -> StructArray {
    let times = |random: &mut Random| -> ArrayRef {
        Arc::new(random.column::<_, TimestampNanosecondArray>(&TIMES).with_timezone("UTC"))
    };
    let states = ["ok", "ok", "ok", "ok", "failed", "timeout", "skipped", "local_error"];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("state", Arc::new(random.column::<_, StringArray>(&states))),
        ("observed", Arc::new(random.column::<_, BooleanArray>(&[true, true, true, false]))),
        ("ok", Arc::new(random.column::<_, BooleanArray>(&[true, false]))),
        ("answer", Arc::new((0..ROWS).map(|_| random.answer()).collect::<StringArray>())),
        ("b", Arc::new(random.column::<_, BooleanArray>(&[true, false]))),
        ("c", Arc::new(random.column::<_, BooleanArray>(&[true, false]))),
        ("i", Arc::new(random.column::<_, Int64Array>(&INTS))),
        ("j", Arc::new(random.column::<_, Int64Array>(&INTS[..7]))),
        ("u", Arc::new(random.column::<_, UInt8Array>(&[0, 1, 2, 66, 192, 255]))),
        ("v", Arc::new(random.column::<_, UInt16Array>(&[0, 1, 80, 65535]))),
        ("w", Arc::new(random.column::<_, UInt64Array>(&[0, 1, 3, 1 << 40]))),
        ("d", Arc::new(random.column::<_, Int64Array>(&SIGNED))),
        // As earlier versions stored durations.
        ("e", Arc::new(random.column::<_, UInt64Array>(&DURATIONS))),
        ("f", Arc::new(random.column::<_, Float64Array>(&FLOATS))),
        ("g", Arc::new(random.column::<_, Float64Array>(&FLOATS))),
        ("s", Arc::new(random.column::<_, StringArray>(&TEXTS))),
        ("ip", Arc::new(random.column::<_, StringArray>(&TEXTS))),
        ("started", times(random)),
        ("ended", times(random)),
    ];
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, c)| (Field::new(name, c.data_type().clone(), true), c))
        .unzip();
    StructArray::new(fields.into(), columns, None)
}

/// Who fills the columns: each kind of source is there.
struct Sources;

impl Columns for Sources {
    fn elsewhere(&self, _: &str) -> Option<String> {
        None
    }

    fn about(&self, column: &str) -> About {
        let known = match column {
            "state" | "observed" | "started" | "ended" | "g" | "v" => Known::Always,
            "ok" | "answer" | "s" | "u" => Known::Sent,
            "c" | "j" | "f" => Known::Added,
            _ => Known::Seen,
        };
        About { known, nanoseconds: matches!(column, "d" | "e"), ..About::ALWAYS }
    }
}

fn records(random: &mut Random) -> RecordBatch {
    let tables = TABLES.map(|name| (name, table(random)));
    let fields: Fields = tables
        .iter()
        .map(|(name, t)| Field::new(*name, DataType::Struct(t.fields().clone()), false))
        .chain([flags::field()])
        .collect();
    let flags: Vec<Flags> = (0..ROWS)
        .map(|_| (0..random.below(4) / 2).map(|_| random.of(&Flag::ALL).0).collect())
        .collect();
    let columns = tables.into_iter().map(|(_, table)| Arc::new(table) as ArrayRef);
    let columns = columns.chain([flags::column(&flags)]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Time,
    Duration,
}

const KINDS: [Kind; 6] =
    [Kind::Bool, Kind::Int, Kind::Float, Kind::Text, Kind::Time, Kind::Duration];

impl Random {
    fn kind(&mut self) -> Kind {
        let kinds = if self.plain { &KINDS[..4] } else { &KINDS };
        self.of(kinds)
    }

    fn expression(&mut self, kind: Kind, depth: usize) -> String {
        if depth == 0 || self.below(6) == 0 {
            return self.leaf(kind);
        }
        let deep = depth - 1;
        if self.below(7) == 0 {
            let (when, a, b) = (
                self.expression(Kind::Bool, deep),
                self.expression(kind, deep),
                self.expression(kind, deep),
            );
            return match self.below(4) {
                0 => format!("COALESCE({a}, {b})"),
                1 => format!("CASE WHEN {when} THEN {a} END"),
                2 => {
                    let other = self.kind();
                    let (x, y, z) = (
                        self.expression(other, deep),
                        self.expression(other, deep),
                        self.expression(other, deep),
                    );
                    format!("CASE {x} WHEN {y} THEN {a} WHEN {z} THEN {b} END")
                }
                _ => format!("CASE WHEN {when} THEN {a} ELSE {b} END"),
            };
        }
        match kind {
            Kind::Bool => self.truth(deep),
            Kind::Int => {
                let ops: &[&str] = match self.plain {
                    true => &["+", "-", "*", "&", "|"],
                    false => &["+", "-", "*", "%", "&", "|"],
                };
                let op = self.of(ops);
                let (a, b) = (self.expression(kind, deep), self.expression(kind, deep));
                match self.below(8) {
                    0 => format!("-({a})"),
                    1 => format!("+({a})"),
                    2 => format!("{a} {op} {b}"),
                    _ => format!("({a}) {op} ({b})"),
                }
            }
            Kind::Float => {
                let other = self.of(&[Kind::Int, Kind::Float]);
                let (a, b) = (self.expression(kind, deep), self.expression(other, deep));
                let op = self.of(&["+", "-", "*", "/", "%"]);
                match self.below(7) {
                    0 => format!("-({a})"),
                    1 => format!("({b}) / ({})", self.expression(Kind::Int, deep)),
                    6 if !self.plain => {
                        let [a, b] = [deep; 2].map(|deep| self.expression(Kind::Duration, deep));
                        format!("({a}) / ({b})")
                    }
                    2 => format!("({b}) {op} ({a})"),
                    _ => format!("({a}) {op} ({b})"),
                }
            }
            Kind::Text => self.leaf(kind),
            Kind::Time => {
                let (a, b) = (self.expression(kind, deep), self.expression(Kind::Duration, deep));
                match self.below(3) {
                    0 => format!("({a}) + ({b})"),
                    1 => format!("({b}) + ({a})"),
                    _ => format!("({a}) - ({b})"),
                }
            }
            Kind::Duration => {
                let (a, b) = (self.expression(kind, deep), self.expression(kind, deep));
                match self.below(8) {
                    0 => format!("({a}) + ({b})"),
                    1 => format!("-({b})"),
                    2 => format!("({a}) - ({b})"),
                    3 => format!("({a}) % ({b})"),
                    4 => format!("({a}) * ({})", self.expression(Kind::Int, deep)),
                    5 => format!("({}) * ({a})", self.expression(Kind::Int, deep)),
                    _ => {
                        let (a, b) =
                            (self.expression(Kind::Time, deep), self.expression(Kind::Time, deep));
                        format!("({a}) - ({b})")
                    }
                }
            }
        }
    }

    fn truth(&mut self, deep: usize) -> String {
        let (a, b) = (self.expression(Kind::Bool, deep), self.expression(Kind::Bool, deep));
        let kind = self.kind();
        let (x, y, z) =
            (self.expression(kind, deep), self.expression(kind, deep), self.expression(kind, deep));
        let not = self.of(&["", "NOT "]);
        match self.below(10) {
            0 => format!("{a} AND ({b})"),
            1 => format!("({a}) OR {b}"),
            2 => format!("NOT ({a})"),
            3 => format!("({x}) IS {not}NULL"),
            4 => format!("({a}) IS {not}{}", self.of(&["TRUE", "FALSE"])),
            5 => format!("({x}) {not}IN ({y}, {z})"),
            6 if kind != Kind::Text => format!("({x}) {not}BETWEEN ({y}) AND ({z})"),
            7 if !self.plain => {
                let x = self.expression(Kind::Duration, deep);
                let y = self.of(&["'100ms'", "'1 s'", "100000000", "2 * 50000000", "0", "1e8"]);
                let factor = self.of(&["", " * 1.5e0", " / 3"]);
                format!("({x}){factor} {} {y}", self.of(&["=", "<>", "<", "<=", ">", ">="]))
            }
            _ => format!("({x}) {} ({y})", self.of(&["=", "<>", "<", "<=", ">", ">="])),
        }
    }

    fn leaf(&mut self, kind: Kind) -> String {
        let columns: &[&str] = match kind {
            Kind::Bool => &["ok", "b", "c"],
            Kind::Int if self.plain => &["j"],
            Kind::Int => &["i", "j", "j", "u", "v", "w"],
            Kind::Float => &["f", "g"],
            Kind::Text => &["s", "s", "s", "ip"],
            Kind::Time => &["started", "ended"],
            Kind::Duration => &["d", "e"],
        };
        if !columns.is_empty() && self.below(3) > 0 {
            let tables: &[&str] = match kind {
                // A column of the list has no unit.
                Kind::Duration => &["zero", "one"],
                _ => &TABLES,
            };
            return format!("{}.{}", self.of(tables), self.of(columns));
        }
        match kind {
            Kind::Bool => self.of(&["TRUE", "FALSE", "NULL"]).to_owned(),
            Kind::Int => {
                self.of(&["0", "1", "3", "192", "255", "-1", "70000", "2147483647"]).into()
            }
            Kind::Float => self.of(&["1.5e0", "0e0", "-1e-3", "1e300", "2.5e0"]).into(),
            Kind::Text => {
                let text = self.of(&TEXTS);
                format!("'{}'", text.replace('\'', "''"))
            }
            Kind::Time => self
                .of(&[
                    "TIMESTAMP '2027-01-15 08:00:00.123456'",
                    "TIMESTAMP '2027-01-15 08:00:00'",
                    "TIMESTAMPTZ '2027-01-15 09:00:00+01'",
                ])
                .into(),
            Kind::Duration => self
                .of(&[
                    "INTERVAL '1 second'",
                    "INTERVAL '100 milliseconds'",
                    "INTERVAL '-1.5 hours'",
                    "INTERVAL '1' DAY",
                    "INTERVAL 0 SECONDS",
                ])
                .into(),
        }
    }

    /// A rule, and its verdict in SQL made from the text of the expressions, where that is easy.
    fn rule(&mut self, number: usize) -> (RuleSource, Option<String>) {
        let name = format!("r.n{number}");
        self.plain = self.below(3) > 0;
        let given = (self.below(3) == 0).then(|| self.expression(Kind::Bool, 2));
        let mut raw = None;
        let question = match self.below(6) {
            0 => Question::Compare(sql("ok")),
            1 => Question::CompareBetween {
                column: sql(self.of(&["b", "ok"])),
                baseline: "one".into(),
                experiment: self.of(&["two", "zero"]).into(),
            },
            2 => {
                let kind = self.of(&KINDS);
                Question::Value(sql(&self.expression(kind, 3)))
            }
            _ => {
                let whens: Vec<String> =
                    (0..=self.below(3)).map(|_| self.expression(Kind::Bool, 4)).collect();
                let mut text = String::from("CASE ");
                if let Some(given) = &given {
                    write!(text, "WHEN ({given}) IS NULL THEN 'insufficient' ").unwrap();
                    write!(text, "WHEN NOT ({given}) THEN NULL ").unwrap();
                }
                for (word, when) in whens.iter().enumerate() {
                    write!(text, "WHEN ({when}) IS NULL THEN 'insufficient' ").unwrap();
                    write!(text, "WHEN {when} THEN 'w{word}' ").unwrap();
                }
                // Rounds have a say in these words, which the text alone does not know.
                let compares = self.below(3) == 0;
                raw = (!compares).then(|| text + "END");
                let words = ["broken", "works", "transient", "offline"];
                let is = |word: usize| match compares {
                    true => words[word].to_owned(),
                    false => format!("w{word}"),
                };
                let choices = whens
                    .iter()
                    .enumerate()
                    .map(|(word, when)| Choice { is: is(word), when: Some(sql(when)) });
                Question::FirstOf(choices.collect())
            }
        };
        (RuleSource { name, given: given.map(|text| sql(&text)), question }, raw)
    }
}

fn sql(text: &str) -> Sql {
    Sql { text: text.to_owned(), span: 0..text.len(), start: Some(0) }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

const NAME: &str = "duckdb_agrees_in_every_row";

fn main() -> ExitCode {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let trial = Trial::ignorable_test(NAME, move || {
        if !python.exists() {
            let why = format!("there is no {} (make test-setup)", python.display());
            return Ok(Completion::ignored_with(why));
        }
        duckdb_agrees_in_every_row(Path::new(env!("CARGO_MANIFEST_DIR")), &python);
        Ok(Completion::Completed)
    });
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

/// The records with how rounds went, of some of them.
fn with_rounds(batch: &RecordBatch, rules: &Rules, random: &mut Random) -> RecordBatch {
    let field = confirm::field(rules.comparing()).unwrap();
    let words = ["works", "broken", "transient", "offline", "insufficient", "none"];
    let mut counts = || {
        let mut counts = Counts::default();
        (0..random.below(4)).for_each(|_| counts.add(Some(random.of(&words))));
        counts
    };
    let rules = rules.comparing().count();
    let rounds: Vec<Option<Vec<Counts>>> = (0..batch.num_rows())
        .map(|row| (row % 3 > 0).then(|| (0..rules).map(|_| counts()).collect()))
        .collect();
    let rounds: Vec<Option<&[Counts]>> = rounds.iter().map(Option::as_deref).collect();
    let mut columns = batch.columns().to_vec();
    columns.push(confirm::column(&field, &rounds).unwrap());
    let fields =
        batch.schema().fields().iter().cloned().chain([Arc::new(field)]).collect::<Fields>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn duckdb_agrees_in_every_row(root: &Path, python: &Path) {
    let seed = number("PATHSPIDER_SEED", 20_261_122);
    eprintln!("PATHSPIDER_SEED={seed}");
    let mut random = Random { state: seed.wrapping_mul(0x9E37_79B9) | 1, plain: false };
    let wanted = usize::try_from(number("PATHSPIDER_DIFFERENTIAL", 400)).unwrap();
    let batch = records(&mut random);
    let mut rules = Rules::default();
    let (mut raws, mut refused) = (Map::new(), 0);
    let mut sources = Vec::new();
    let mut number = 0;
    while rules.iter().count() < wanted {
        number += 1;
        let (source, raw) = random.rule(number);
        let mut mistakes = rules.add(&source, None, &batch.schema(), &Sources);
        mistakes.retain(Diagnostic::is_error);
        sources.push(source.clone());
        if let Some(mistake) = mistakes.first() {
            // Nothing but what is refused for a reason.
            let known = [
                "letter by letter",
                "a comparison inside",
                "number is needed",
                "too much",
                "never true",
            ];
            assert!(
                known.iter().any(|text| mistake.message.contains(text)),
                "{mistake:?} {source:?}"
            );
            refused += 1;
            continue;
        }
        // DuckDB has 128 bits for what comes of unsigned and signed 64: a number where we have none.
        let raw = raw.filter(|raw| !raw.contains(".w") && !raw.contains(".e"));
        if let (Some(raw), Some(rule)) = (raw, rules.iter().last()) {
            let local = rule.configurations().iter();
            let local: Vec<String> =
                local.map(|name| format!("{name}.state = 'local_error'")).collect();
            // The text alone does not know what was not observed, or may have been missed.
            let whole = rule.configurations().iter().map(|name| {
                format!("{name}.observed IS NOT FALSE AND {name}.state IS DISTINCT FROM 'skipped'")
            });
            let whole: Vec<String> = whole.chain(["len(flags) = 0".to_owned()]).collect();
            let verdict = format!("verdict.{}", rule.column());
            let raw = match local.is_empty() {
                true => raw,
                false => raw.replacen(
                    "CASE ",
                    &format!("CASE WHEN {} THEN 'insufficient' ", local.join(" OR ")),
                    1,
                ),
            };
            let raw = format!("CASE WHEN {} THEN {raw} ELSE {verdict} END", whole.join(" AND "));
            raws.insert(source.name, raw.into());
        }
    }
    let batch = with_rounds(&batch, &rules, &mut random);
    // Once more, for records that have rounds.
    let mut rules = Rules::default();
    for source in &sources {
        rules.add(source, None, &batch.schema(), &Sources);
    }
    assert!(rules.confirmed().count() > 20, "{}", rules.confirmed().count());
    let (mut metrics, mut units) = (Vec::new(), 0);
    for number in 0..wanted / 4 {
        random.plain = false;
        let kind = random.of(&[Kind::Int, Kind::Float, Kind::Duration, Kind::Duration]);
        let unit = (kind == Kind::Duration).then(|| random.of(&["ns", "us", "ms", "s", "min"]));
        let given = (random.below(4) == 0).then(|| sql(&random.expression(Kind::Bool, 2)));
        let value = sql(&random.expression(kind, 4));
        let metric =
            MetricSource { name: format!("m.n{number}"), given, value, unit: unit.map(sql) };
        let mistakes = rules.add_metrics(std::slice::from_ref(&metric), &batch.schema(), &Sources);
        if !mistakes.iter().any(Diagnostic::is_error) {
            units += usize::from(unit.is_some());
            metrics.push(metric);
        }
    }
    assert!(metrics.len() > wanted / 6 && units > wanted / 20, "{} {units}", metrics.len());
    let judged = rules.judge(&batch).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judged.parquet");
    let mut sink = sink::open(&path, judged.schema()).unwrap();
    sink.write(&judged).unwrap();
    let conditions: Map<String, Value> =
        rules.iter().map(|rule| (rule.name().to_owned(), rule.sql().into())).collect();
    let json = |map: Map<String, Value>| Value::Object(map).to_string();
    let metrics: Map<String, Value> =
        rules.metrics().map(|metric| (metric.name().to_owned(), metric.sql().into())).collect();
    let metadata = [
        ("conditions_sql", json(conditions)),
        ("metrics_sql", json(metrics)),
        ("raw_sql", json(raws)),
    ];
    sink.finish(&metadata.map(|(key, value)| (key.to_owned(), value))).unwrap();
    let script = root.join("tests/python/differential.py");
    let output = Command::new(python).arg(script).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}{refused} random rules were refused by us");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
