//! What expressions mean and what rules say, from the tables in `tests/rules.toml`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, cast::AsArray as _};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use pathspider::error::Diagnostic;
use pathspider::flags;
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::rule::{About, Choice, Columns, Known, Question, RuleSource, Rules, Sql};
use serde_json::{Value, json};

fn schema() -> Schema {
    let fields: Fields = [
        ("ok", DataType::Boolean),
        ("answer", DataType::Utf8),
        ("state", DataType::Utf8),
        ("observed", DataType::Boolean),
        ("started", DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()))),
        ("ended", DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()))),
        ("sip", DataType::Utf8),
        ("b", DataType::Boolean),
        ("c", DataType::Boolean),
        ("i", DataType::Int64),
        ("j", DataType::Int64),
        ("u", DataType::UInt8),
        ("d", DataType::UInt64),
        ("f", DataType::Float64),
        ("g", DataType::Float64),
        ("s", DataType::Utf8),
    ]
    .into_iter()
    .map(|(name, data_type)| Field::new(name, data_type, true))
    .collect();
    let table = |name| Field::new(name, DataType::Struct(fields.clone()), true);
    Schema::new(vec![table("target"), flags::field(), table("zero"), table("one")])
}

/// Who fills the columns, and what is said of those that are not there.
struct Sources(Option<&'static str>);

impl Columns for Sources {
    fn elsewhere(&self, _: &str) -> Option<String> {
        self.0.map(str::to_owned)
    }

    fn about(&self, column: &str) -> About {
        let known = match column {
            "state" | "observed" | "started" | "ended" => Known::Always,
            "ok" | "answer" | "g" => Known::Sent,
            "c" | "j" => Known::Added,
            _ => Known::Seen,
        };
        About { known, nanoseconds: column == "d", ..About::ALWAYS }
    }
}

/// A batch of records from the columns of zero and one that are not NULL.
fn batch(records: &[(Value, Value)]) -> RecordBatch {
    batch_of(schema(), records)
}

fn batch_of(schema: Schema, records: &[(Value, Value)]) -> RecordBatch {
    let full = |columns: &Value| {
        let mut all = json!({ "state": "ok", "observed": true });
        all.as_object_mut().unwrap().extend(columns.as_object().unwrap().clone());
        all
    };
    let rows = records.iter().map(|(z, o)| {
        let flags = if o["flags"].is_null() { json!([]) } else { o["flags"].clone() };
        json!({ "flags": flags, "zero": full(z), "one": full(o) })
    });
    let rows: Vec<Value> = rows.collect();
    let mut decoder = arrow_json::ReaderBuilder::new(Arc::new(schema)).build_decoder().unwrap();
    decoder.serialize(&rows).unwrap();
    decoder.flush().unwrap().unwrap()
}

fn sql(text: &str) -> Sql {
    Sql { text: text.to_owned(), span: 0..text.len(), start: Some(0) }
}

fn compile(name: &str, given: Option<&str>, question: Question<Sql>) -> Rules {
    let source = RuleSource { name: name.to_owned(), given: given.map(sql), question };
    let (rules, mut mistakes) = Rules::compile(&[source], &schema(), &Sources(None));
    mistakes.retain(Diagnostic::is_error);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    rules
}

/// The word and the reason that the only rule gives to each record.
fn judge(rules: &Rules, batch: &RecordBatch) -> Vec<(Option<String>, Option<String>)> {
    let judged = rules.judge(batch).unwrap();
    assert_eq!(judged.schema().as_ref(), &rules.schema(&batch.schema()));
    let text = |name: &str, row: usize| {
        let column = judged.column_by_name(name).unwrap().as_struct().column(0).clone();
        let column = pathspider::rule::words(&column).unwrap();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    (0..batch.num_rows()).map(|row| (text("verdict", row), text("insufficient", row))).collect()
}

fn value(expression: &str, records: &[(Value, Value)]) -> Vec<String> {
    let rules = compile("x", None, Question::Value(sql(expression)));
    let judged = judge(&rules, &batch(records)).into_iter();
    judged
        .map(|(word, why)| if why.is_some() { "NULL".to_owned() } else { word.unwrap() })
        .collect()
}

fn tables() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn expressions_mean_what_they_mean_in_sql() {
    let tables = tables();
    let mut wrong = Vec::new();
    for case in
        tables["expressions"].as_array().unwrap().iter().chain(tables["beyond"].as_array().unwrap())
    {
        let expression = case[0].as_str().unwrap();
        let is = value(expression, &[(json!({}), case[1].clone())]);
        if is[0] != case[2].as_str().unwrap() {
            wrong.push(format!("{expression} of {} is {}, not {}", case[1], is[0], case[2]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unknown_is_never_false() {
    let mut wrong = Vec::new();
    for case in tables()["unknown"].as_array().unwrap() {
        let expression = case[0].as_str().unwrap();
        let rules = compile("x", None, Question::Value(sql(expression)));
        let said = judge(&rules, &batch(&[(json!({}), case[1].clone())])).remove(0);
        let is = said.1.or(said.0).unwrap();
        if is != case[2].as_str().unwrap() {
            wrong.push(format!("{expression} of {} is {is}, not {}", case[1], case[2]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_databases_read_differently_is_refused() {
    let tables = tables();
    let schema = schema();
    let mut wrong = Vec::new();
    for case in tables["refused"].as_array().unwrap() {
        let [expression, place, words] = [0, 1, 2].map(|part| case[part].as_str().unwrap());
        let question = Question::Value(sql(expression));
        let source = RuleSource { name: "x".into(), given: None, question };
        let (_, mut mistakes) = Rules::compile(&[source], &schema, &Sources(None));
        mistakes.retain(Diagnostic::is_error);
        let said: Vec<String> = mistakes
            .iter()
            .map(|m| {
                let help = m.help.as_deref().unwrap_or_default();
                format!("{}: {}; {help}", &expression[m.span.clone()], m.message)
            })
            .collect();
        if !matches!(said.as_slice(), [one] if one.starts_with(&format!("{place}: ")) && one.contains(words))
        {
            wrong.push(format!("{expression}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A schema with these configurations, and a batch of one record: what `ok` is under each.
fn oks(of: &[(&str, bool)]) -> RecordBatch {
    let fields: Fields = [("ok", DataType::Boolean), ("state", DataType::Utf8)]
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type, true))
        .collect();
    let tables = ["target"].into_iter().chain(of.iter().map(|(name, _)| *name));
    let tables = tables
        .map(|name| Field::new(name, DataType::Struct(fields.clone()), true))
        .collect::<Fields>();
    let rows = of.iter().map(|(name, ok)| ((*name).to_owned(), json!({ "ok": ok, "state": "ok" })));
    let row = Value::Object(rows.collect());
    let mut decoder =
        arrow_json::ReaderBuilder::new(Arc::new(Schema::new(tables))).build_decoder().unwrap();
    decoder.serialize(&[row]).unwrap();
    decoder.flush().unwrap().unwrap()
}

/// One to eight configurations: two are compared, which ones can be said, and one is told as it is.
#[test]
fn any_configurations_are_compared() {
    let compare = || Question::Compare(sql("ok"));
    let between = |baseline: &str, experiment: &str| Question::CompareBetween {
        column: sql("ok"),
        baseline: baseline.into(),
        experiment: experiment.into(),
    };
    let three = [("zero", true), ("one", true), ("two", false)];
    for (records, one, question, expected) in [
        (&[("zero", true)][..], None, compare(), "online"),
        (&[("zero", false)], None, compare(), "offline"),
        (&three, None, compare(), "works"),
        (&three, Some("two"), compare(), "broken"),
        (&three, Some("two"), Question::Value(sql("one.ok")), "false"),
        (&three, None, between("one", "two"), "broken"),
        (&three, None, between("two", "zero"), "transient"),
    ] {
        let batch = oks(records);
        let source = RuleSource { name: "x".into(), given: None, question };
        let mut rules = Rules::default();
        let mistakes = rules.add(&source, one, &batch.schema(), &Sources(None));
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let words: Vec<_> =
            judge(&rules, &batch).into_iter().filter_map(|(word, _)| word).collect();
        assert_eq!(words, [expected], "{records:?} {one:?}");
        if let Some(one) = one {
            let sql = rules.iter().next().unwrap().sql();
            assert!(sql.contains(&format!("{one}.ok")) && !sql.contains("one.ok"), "{sql}");
        }
    }
    let source = RuleSource { name: "x".into(), given: None, question: between("zero", "three") };
    let (_, mistakes) = Rules::compile(&[source], &oks(&three).schema(), &Sources(None));
    assert!(mistakes[0].message.contains("`three`"), "{mistakes:?}");
}

/// Of `ok` an attempt is complete, answered or silent; any other column is true or false, whatever was answered.
#[test]
fn compare_ranks_what_was_answered() {
    let complete = json!({ "ok": true, "b": true });
    let silent = json!({ "ok": false, "b": false });
    let alert = json!({ "ok": false, "b": false, "answer": "tls_alert:handshake_failure" });
    let page = json!({ "ok": false, "b": true, "answer": "tls:plain_http" });
    let refused = json!({ "ok": true, "b": true, "answer": "dns:refused" });
    let unknown = json!({ "answer": "dns:refused" });
    let local = json!({ "ok": false, "b": true, "state": "local_error", "answer": "dns:refused" });
    let cases = [
        (&complete, &complete, "works", "works"),
        (&complete, &alert, "broken", "broken"),
        (&complete, &refused, "broken", "works"),
        (&complete, &silent, "broken", "broken"),
        (&alert, &alert, "works", "offline"),
        (&page, &page, "works", "works"),
        (&alert, &page, "broken", "transient"),
        (&page, &alert, "broken", "broken"),
        (&refused, &alert, "broken", "broken"),
        (&alert, &silent, "broken", "offline"),
        (&alert, &complete, "transient", "transient"),
        (&refused, &complete, "transient", "works"),
        (&silent, &alert, "transient", "offline"),
        (&silent, &complete, "transient", "transient"),
        (&silent, &silent, "offline", "offline"),
        (&unknown, &alert, "insufficient", "insufficient"),
        (&alert, &unknown, "insufficient", "insufficient"),
        (&alert, &local, "insufficient", "insufficient"),
    ];
    let records: Vec<_> =
        cases.iter().map(|(zero, one, ..)| ((*zero).clone(), (*one).clone())).collect();
    for column in ["ok", "b"] {
        let rules = compile("x", None, Question::Compare(sql(column)));
        for (said, (zero, one, of_ok, of_b)) in judge(&rules, &batch(&records)).iter().zip(&cases) {
            let expected = if column == "ok" { of_ok } else { of_b };
            assert_eq!(said.0.as_deref(), Some(*expected), "{column} of {zero} and {one}");
        }
    }
    let text = compile("x", None, Question::Compare(sql("ok"))).iter().next().unwrap().sql();
    let expected = "CASE WHEN zero.state = 'local_error' OR one.state = 'local_error' THEN 'insufficient' \
        WHEN zero.ok IS NULL OR one.ok IS NULL THEN 'insufficient' \
        WHEN zero.answer = one.answer OR (zero.ok AND zero.answer IS NULL AND one.ok AND one.answer IS NULL) \
        THEN 'works' \
        WHEN (zero.ok AND zero.answer IS NULL) \
        OR (zero.answer IS NOT NULL AND NOT (one.ok AND one.answer IS NULL)) THEN 'broken' \
        WHEN (one.ok AND one.answer IS NULL) OR one.answer IS NOT NULL THEN 'transient' ELSE 'offline' END";
    assert_eq!(text, expected);
}

/// With a single configuration whatever was answered is online.
#[test]
fn a_host_that_answers_otherwise_is_online() {
    let both = schema();
    let fields = both.fields().iter().filter(|field| field.name() != "one").cloned();
    let schema = Schema::new(fields.collect::<Fields>());
    let source =
        RuleSource { name: "x".into(), given: None, question: Question::Compare(sql("ok")) };
    let (rules, mistakes) = Rules::compile(&[source], &schema, &Sources(None));
    assert!(mistakes.is_empty() && !rules.lack_answers(), "{mistakes:?}");
    for (zero, expected) in [
        (json!({ "ok": true }), "online"),
        (json!({ "ok": false, "answer": "dns:bad_answer" }), "online"),
        (json!({ "ok": false }), "offline"),
        (json!({ "answer": "dns:bad_answer" }), "insufficient"),
    ] {
        let batch = batch_of(schema.clone(), &[(zero.clone(), json!({}))]);
        assert_eq!(judge(&rules, &batch)[0].0.as_deref(), Some(expected), "{zero}");
    }
    let sql = rules.iter().next().unwrap().sql();
    assert!(sql.contains("WHEN zero.ok OR zero.answer IS NOT NULL THEN 'online'"), "{sql}");
}

#[test]
fn records_without_answers_are_compared_by_what_they_have() {
    let source =
        RuleSource { name: "x".into(), given: None, question: Question::Compare(sql("ok")) };
    let batch = oks(&[("zero", true), ("one", false)]);
    let (rules, _) = Rules::compile(&[source], &batch.schema(), &Sources(None));
    assert!(rules.lack_answers());
    assert_eq!(judge(&rules, &batch)[0].0.as_deref(), Some("broken"));
}

#[test]
fn a_rule_is_checked_against_older_records() {
    let rules = compile("x", Some("one.b"), Question::Value(sql("one.i + zero.u")));
    assert!(rules.against(&schema(), &Sources(None)).is_ok());
    let older = oks(&[("zero", true), ("one", true)]).schema();
    let mistakes = rules.against(&older, &Sources(Some("it is not there"))).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|m| m.span.clone()).collect();
    assert_eq!(places, [0..5, 0..5, 8..14]);
    assert!(mistakes.iter().all(|m| m.help.as_deref() == Some("it is not there")));
}

/// The whole verdict as one expression.
#[test]
fn a_rule_is_one_expression_of_sql() {
    let rules = compile(
        "x",
        Some("one.b AND (one.s = '' OR NOT one.b)"),
        Question::FirstOf(vec![
            Choice { is: "big".into(), when: Some(sql("one.u + 255 > one.i")) },
            Choice { is: "other".into(), when: None },
        ]),
    );
    let expected = "CASE WHEN one.state = 'local_error' THEN 'insufficient' \
        WHEN (one.b AND (one.s = '' OR NOT one.b)) IS NULL THEN 'insufficient' \
        WHEN NOT (one.b AND (one.s = '' OR NOT one.b)) THEN NULL \
        WHEN (TRY(CAST(one.u AS BIGINT) + 255) > one.i) IS NULL THEN 'insufficient' \
        WHEN TRY(CAST(one.u AS BIGINT) + 255) > one.i THEN 'big' ELSE 'other' END";
    assert_eq!(rules.iter().next().unwrap().sql(), expected);
    let rules = compile("x", None, Question::Compare(sql("b")));
    let expected = "CASE WHEN zero.state = 'local_error' OR one.state = 'local_error' THEN 'insufficient' \
        WHEN zero.b IS NULL OR one.b IS NULL THEN 'insufficient' \
        WHEN zero.b AND one.b THEN 'works' WHEN zero.b THEN 'broken' \
        WHEN one.b THEN 'transient' ELSE 'offline' END";
    assert_eq!(rules.iter().next().unwrap().sql(), expected);
    let lossy = "list_has_any(flags, ['capture_dropped', 'flow_evicted', 'short_packet'])";
    for (value, expected) in [
        (
            "one.i IS NULL",
            "CASE WHEN one.i IS NOT NULL THEN FALSE WHEN NOT one.observed OR LOSSY THEN NULL ELSE TRUE END",
        ),
        (
            "one.ok IS TRUE",
            "COALESCE(one.ok, CASE WHEN one.state IN ('skipped', 'local_error') THEN NULL ELSE FALSE END)",
        ),
        ("one.started IS NULL", "epoch_ns(one.started) IS NULL"),
        ("one.c", "(one.c OR NULLIF(LOSSY, TRUE))"),
        (
            "COALESCE(target.i, zero.g, 0)",
            "COALESCE(CAST(target.i AS DOUBLE), COALESCE(zero.g, CASE WHEN zero.state IN ('skipped', 'local_error') THEN NULL ELSE 0e0 END))",
        ),
    ] {
        let rules = compile("x", None, Question::Value(sql(value)));
        let sql = rules.iter().next().unwrap().sql();
        assert!(sql.contains(&expected.replace("LOSSY", lossy)), "{value}: {sql}");
    }
}

#[test]
fn rules_say_what_they_should() {
    for rule in tables()["rules"].as_array().unwrap() {
        let text = |value: &Value| value.as_str().map(sql);
        let question = match (&rule["compare"], &rule["value"]) {
            (Value::String(column), _) => Question::Compare(sql(column)),
            (_, Value::String(value)) => Question::Value(sql(value)),
            _ => {
                let choices = rule["first_of"].as_array().unwrap().iter();
                let choice = |c: &Value| Choice {
                    is: c["is"].as_str().unwrap().to_owned(),
                    when: text(&c["when"]),
                };
                Question::FirstOf(choices.map(choice).collect())
            }
        };
        let name = rule["name"].as_str().unwrap();
        let is_value = matches!(question, Question::Value(_));
        let rules = compile(name, rule["given"].as_str(), question);
        let cases = rule["records"].as_array().unwrap();
        let records: Vec<_> = cases.iter().map(|case| (case[0].clone(), case[1].clone())).collect();
        let batch = batch(&records);
        let judged = rules.judge(&batch).unwrap();
        let conditions = judged.column_by_name("conditions").unwrap().as_list::<i32>().clone();
        for (row, (word, why)) in judge(&rules, &batch).into_iter().enumerate() {
            let case = &cases[row];
            let said = word.clone().unwrap_or_else(|| "not applicable".to_owned());
            assert_eq!(said, case[2].as_str().unwrap(), "{name}: {case}");
            assert_eq!(why.as_deref(), case.get(3).and_then(Value::as_str), "{name}: {case}");
            let labels = conditions.value(row);
            let labels: Vec<_> = labels.as_string::<i32>().iter().flatten().collect();
            let colon = if is_value && why.is_none() { ':' } else { '.' };
            let expected: Vec<_> = word.iter().map(|word| format!("{name}{colon}{word}")).collect();
            assert_eq!(labels, expected);
            if !is_value {
                let known = rules.iter().next().unwrap().labels();
                assert!(
                    labels.iter().all(|label| known.iter().any(|k| k == label)),
                    "{labels:?} {known:?}"
                );
            }
        }
    }
}

/// AND, OR and NOT over true, false and unknown, all combinations.
#[test]
fn logic_has_three_values() {
    let values = [Some(true), Some(false), None];
    let text = |value: Option<bool>| value.map_or("NULL".to_owned(), |value| value.to_string());
    let mut records = Vec::new();
    let mut expected = Vec::new();
    for b in values {
        for c in values {
            records.push((json!({}), json!({ "b": b, "c": c })));
            let and = match (b, c) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            let or = match (b, c) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
            expected.push([and, or, b.map(|b| !b), b.zip(c).map(|(b, c)| b == c)].map(text));
        }
    }
    let expressions = ["one.b AND one.c", "one.b OR one.c", "NOT one.b", "one.b = one.c"];
    for (column, expression) in expressions.into_iter().enumerate() {
        let is = value(expression, &records);
        let should: Vec<_> = expected.iter().map(|row| row[column].clone()).collect();
        assert_eq!(is, should, "{expression}");
    }
}

#[test]
fn a_batch_without_records_or_rules_is_judged() {
    let rules = compile("x", None, Question::Compare(sql("ok")));
    let some = batch(&[(json!({}), json!({}))]);
    assert_eq!(rules.judge(&some.slice(0, 0)).unwrap().num_rows(), 0);
    assert_eq!(Rules::default().judge(&some).unwrap().num_rows(), 1);
    let other = RecordBatch::new_empty(Arc::new(Schema::empty()));
    assert!(rules.judge(&other).unwrap_err().to_string().contains("no column zero."));
}

/// The schema with the time zone written as an offset: the JSON reader knows no other.
fn with_offset(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|table| match table.data_type() {
        DataType::Struct(columns) => {
            let columns: Fields = columns
                .iter()
                .map(|column| match column.data_type() {
                    DataType::Timestamp(unit, _) => {
                        let offset = DataType::Timestamp(*unit, Some("+00:00".into()));
                        Field::new(column.name(), offset, true)
                    }
                    other => Field::new(column.name(), other.clone(), true),
                })
                .collect();
            Field::new(table.name(), DataType::Struct(columns), true)
        }
        other => Field::new(table.name(), other.clone(), true),
    });
    Schema::new(fields.collect::<Fields>())
}

#[test]
fn the_ecn_measurement_concludes_what_it_should() {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
    let plan = Plan::load("ecn.toml", text, &Fields::empty()).unwrap();
    let schema = with_offset(&plan.record_schema(&Fields::empty()));
    for case in tables()["ecn"].as_array().unwrap() {
        let facts = |name: &str| {
            let mut facts = case.get(name).cloned().unwrap_or(json!({}));
            if facts["state"] != "local_error" && facts.get("ok").is_none_or(Value::is_null) {
                facts["ok"] = json!(true);
            }
            if facts["state"].is_null() {
                facts["state"] = json!("ok");
            }
            facts
        };
        let batch = batch_of(schema.clone(), &[(facts("zero"), facts("one"))]);
        let judged = plan.rules.judge(&batch).unwrap();
        let labels = judged.column_by_name("conditions").unwrap().as_list::<i32>().value(0);
        let labels: Vec<_> = labels.as_string::<i32>().iter().flatten().collect();
        let expected: Vec<_> =
            case["labels"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
        assert_eq!(labels, expected, "{}", case["host"]);
    }
}

/// Deep and long expressions of every kind, and words in no order, are answered, quickly.
#[test]
fn no_expression_is_a_panic() {
    let schema = schema();
    let records = batch(&[
        (json!({}), json!({})),
        (json!({ "b": true, "s": "x" }), json!({ "b": false, "i": 3, "f": 0.5 })),
    ]);
    let ask = |text: &str| {
        let source =
            RuleSource { name: "x".into(), given: None, question: Question::Value(sql(text)) };
        let (rules, mistakes) = Rules::compile(&[source], &schema, &Sources(None));
        if mistakes.is_empty() {
            rules.judge(&records).unwrap();
        }
        for mistake in mistakes {
            assert!(text.get(mistake.span.clone()).is_some(), "{mistake:?} is not inside {text}");
        }
    };
    let repeated = [
        ("", "(", "1"),
        ("", "NOT ", "one.b"),
        ("", "- ", "1"),
        ("1", " + 1", ""),
        ("1", " IS NULL", ""),
        ("one.b", " AND one.b", ""),
        ("1", "::int", ""),
        ("one", ".x", ""),
        ("one.i", "[1]", ""),
        ("", "CASE WHEN ", ""),
        ("", "CASE ", "1"),
        ("1", " IN (1", ""),
        ("1", " BETWEEN 1 AND 1", ""),
        ("", "COALESCE(", "1"),
        ("", "EXISTS(", ""),
        ("", "CAST(", ""),
        ("", "ARRAY[", "1"),
        ("", "{'a': ", "1"),
        ("", "(SELECT ", "1"),
        ("", "x -> ", "1"),
        ("", "f(", "1"),
        ("one.b", " = one.b", ""),
        ("", "INTERVAL ", "1"),
        ("", "(1, ", ""),
        ("1", " COLLATE x", ""),
        ("a", "'b'", ""),
        ("", "((1) + (", ""),
        ("", "NOT EXISTS (", ""),
        ("", "(x, y) -> ", "1"),
        ("1", " NOT IN ((1", ""),
        ("", "/*", ""),
    ];
    for (head, body, tail) in repeated {
        for times in [1, 39, 41, 300, 5000] {
            ask(&format!("{head}{}{tail}", body.repeat(times)));
        }
    }
    let words = [
        "one.b",
        "one.i",
        "zero.s",
        "one.f",
        "1",
        "0",
        "1.5",
        "'x'",
        "NULL",
        "TRUE",
        "NOT",
        "AND",
        "OR",
        "=",
        "<>",
        "<",
        "+",
        "-",
        "*",
        "/",
        "%",
        "&",
        "|",
        "(",
        ")",
        "(",
        ")",
        ",",
        "IN",
        "IN (",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "IS",
        "IS NULL",
        "COALESCE(",
        "--",
        "\n",
        "ä",
        "\u{1F980}",
        ".",
        "\"",
        "'",
        "$1",
        "::",
        "[",
        "]",
        "{",
        "}",
        "SELECT",
        "LIKE",
        "CAST(",
        "AS",
        "INTERVAL",
        "ANY(",
        "@",
        "x'40'",
        "0x1F",
        "E'\\'",
        "DATE",
        "EXTRACT(",
        "^",
        "!",
    ];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..state % 24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text += words[(state % words.len() as u64) as usize];
            text.push(' ');
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) | 1;
        ask(&text);
    }
}
