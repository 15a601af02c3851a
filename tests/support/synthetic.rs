//! Results that no run has measured: of any size, with faults in known networks, and with the same octets every time.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, UInt8Array, UInt16Array, UInt64Array, new_null_array,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use pathspider::flags;
use pathspider::measurement::{Overrides, Plan, SHIPPED};
use pathspider::results::judge::FromFile;
use pathspider::rule::confirm::{self, Counts};
use pathspider::rule::{ADDED, Rules};
use pathspider::run::{about, record};
use pathspider::sink::{self, Sink};

/// Records that are made at a time.
const BATCH: usize = 50_000;
/// 2026-11-28 at 12:00 UTC.
const START: i64 = 1_795_867_200_000_000_000;

/// A result to make.
#[derive(Debug, Clone)]
pub struct Synthetic {
    /// Targets.
    pub targets: usize,
    /// Networks: a target is in the network of its position modulo this.
    pub networks: usize,
    /// Networks with a fault, by number.
    pub faulty: Vec<usize>,
    /// Of a thousand targets elsewhere, how many look broken at first; half of them are not confirmed.
    pub sporadic: usize,
    /// Changes what is random.
    pub seed: u64,
    /// Every how many targets one is a control.
    pub controls: usize,
    /// Seconds after the usual start.
    pub later: i64,
    /// Texts for the column `country` of the list, and for errors.
    pub words: Vec<&'static str>,
    /// More metadata, or other values.
    pub metadata: Vec<(&'static str, String)>,
    /// Whether IPv6 addresses are among the targets.
    pub v6: bool,
}

impl Synthetic {
    /// Of this many targets in that many networks, without faults.
    pub fn new(targets: usize, networks: usize) -> Self {
        Self {
            targets,
            networks,
            faulty: Vec::new(),
            sporadic: 2,
            seed: 1,
            controls: 20,
            later: 0,
            words: vec!["CH", "DE", "NL", "SG"],
            metadata: Vec::new(),
            v6: true,
        }
    }

    /// The name of a network.
    pub fn network(&self, number: usize) -> String {
        match self.v6 && number % 5 == 4 {
            true => format!("2001:db8:{number:x}::/48"),
            false => format!("{}.{}.{}.0/24", 20 + (number >> 16), number >> 8 & 255, number & 255),
        }
    }

    /// An address in a network.
    fn address(&self, number: usize, host: usize) -> String {
        match self.v6 && number % 5 == 4 {
            true => format!("2001:db8:{number:x}::{:x}", host + 1),
            false => {
                format!(
                    "{}.{}.{}.{}",
                    20 + (number >> 16),
                    number >> 8 & 255,
                    number & 255,
                    host % 255
                )
            }
        }
    }

    /// Random numbers of a row, below 1000.
    fn dice(&self, row: usize, which: u64) -> usize {
        let mut x = (row as u64) << 8 ^ which ^ self.seed << 56;
        for factor in [0xbf58_476d_1ce4_e5b9u64, 0x94d0_49bb_1331_11eb] {
            x = (x ^ x >> 30).wrapping_mul(factor);
        }
        ((x ^ x >> 31) % 1000) as usize
    }

    fn is_control(&self, row: usize) -> bool {
        self.controls > 0 && row % self.controls == 7
    }

    fn is_faulty(&self, row: usize) -> bool {
        self.faulty.contains(&(row % self.networks)) && self.dice(row, 1) < 950
    }

    /// Whether it looks broken at first, with no fault on its path.
    fn is_sporadic(&self, row: usize) -> bool {
        self.dice(row, 2) < self.sporadic
    }

    fn is_offline(&self, row: usize) -> bool {
        self.dice(row, 3) < 5
    }

    /// Whether this host failed.
    fn is_local(&self, row: usize) -> bool {
        self.dice(row, 4) < 3
    }

    fn works(&self, row: usize, one: bool) -> bool {
        let broken = self.is_faulty(row) && !self.is_control(row) || self.is_sporadic(row);
        !(self.is_offline(row) || one && broken)
    }

    /// Writes the result.
    pub fn write(&self, path: &Path) {
        let ecn = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap().1;
        let own: Fields = vec![
            Field::new("rank", DataType::Int64, true),
            Field::new("country", DataType::Utf8, true),
        ]
        .into();
        let overrides = Overrides::new([]).rounds(Some(2));
        let plan = Plan::load_with("ecn.toml", ecn, &own, &overrides).unwrap();
        let facts = narrow(&record::schema(&plan, &own));
        let rules = plan.rules.against(&facts, &FromFile(&plan.selection)).unwrap();
        let mut sink = sink::open(path, Arc::new(rules.schema(&facts))).unwrap();
        for first in (0..self.targets).step_by(BATCH) {
            let rows: Vec<usize> = (first..self.targets.min(first + BATCH)).collect();
            self.batch(&facts, &rules, &rows, &mut *sink);
        }
        sink.finish(&self.metadata(ecn, &rules)).unwrap();
    }

    fn batch(&self, facts: &Schema, rules: &Rules, rows: &[usize], sink: &mut dyn Sink) {
        let columns =
            facts.fields().iter().map(|field| match (field.name().as_str(), field.data_type()) {
                ("target", DataType::Struct(fields)) => {
                    self.columns(fields, rows, |name, row| self.target(name, row))
                }
                ("position", data_type) => {
                    column(data_type, rows, |row| Value::Whole(row as i64 + 1))
                }
                ("control", _) => bools(rows, |row| Some(self.is_control(row))),
                (flags::COLUMN, _) => self.flags(rows),
                (confirm::CONFIRM, _) => self.rounds(field, rows),
                (name, DataType::Struct(fields)) => {
                    let one = name == "one";
                    self.columns(fields, rows, |column, row| self.fact(column, row, one))
                }
                (name, _) => panic!("column {name}"),
            });
        let columns = columns.collect();
        let batch = RecordBatch::try_new(Arc::new(facts.clone()), columns).unwrap();
        sink.write(&rules.judge(&batch).unwrap()).unwrap();
    }

    fn columns(
        &self,
        fields: &Fields,
        rows: &[usize],
        value: impl Fn(&str, usize) -> Value,
    ) -> ArrayRef {
        let columns = fields
            .iter()
            .map(|field| column(field.data_type(), rows, |row| value(field.name(), row)));
        Arc::new(StructArray::new(fields.clone(), columns.collect(), None))
    }

    fn target(&self, name: &str, row: usize) -> Value {
        match name {
            "ip" => Value::Text(self.address(row % self.networks, row / self.networks)),
            "port" => Value::Whole(443),
            "name" => Value::Text(format!("t{row}.example")),
            "rank" => Value::Whole(row as i64 + 1),
            "country" => Value::Text(self.words[row % self.words.len()].to_owned()),
            "prefix" => Value::Text(self.network(row % self.networks)),
            _ => Value::Null,
        }
    }

    fn fact(&self, name: &str, row: usize, one: bool) -> Value {
        let works = self.works(row, one);
        let local = self.is_local(row);
        let truth = |truth: bool| if local { Value::Null } else { Value::Truth(truth) };
        match name {
            "ok" | "tcp_connected" => truth(works),
            "state" if local => Value::Text("local_error".into()),
            "state" => Value::Text(if works { "ok" } else { "timeout" }.into()),
            "stage" if !works || local => Value::Text("connect".into()),
            "error" if local => Value::Text(self.words[row % self.words.len()].to_owned()),
            "started" => Value::Whole(START + (self.later + row as i64 / 1000) * 1_000_000_000),
            "ended" => {
                Value::Whole(START + (self.later + row as i64 / 1000) * 1_000_000_000 + 30_000_000)
            }
            "observed" => Value::Truth(!local),
            "tcp_synack_ece" if works => truth(one && self.dice(row, 5) < 850),
            "tcp_synack_cwr" if works => truth(false),
            "tcp_handshake_rtt" if works && !local => {
                let base = 8_000_000 + 300_000 * self.dice(row, 6) as i64;
                Value::Whole(base + if one { 500 * self.dice(row, 7) as i64 } else { 0 })
            }
            _ if name.starts_with("ecn_") && works => truth(name == "ecn_notect_data_rev"),
            _ => Value::Null,
        }
    }

    fn flags(&self, rows: &[usize]) -> ArrayRef {
        let item = Field::new_list_field(DataType::Utf8, false);
        let mut list = ListBuilder::new(StringBuilder::new()).with_field(item);
        for row in rows {
            if self.is_local(*row) {
                list.values().append_value("starved");
            }
            list.append(true);
        }
        Arc::new(list.finish())
    }

    /// Faults are broken in both rounds; others work in them, or only in one.
    fn rounds(&self, field: &Field, rows: &[usize]) -> ArrayRef {
        let counts: Vec<Option<[Counts; 1]>> = rows
            .iter()
            .map(|row| {
                let broken =
                    self.works(*row, false) && !self.works(*row, true) && !self.is_local(*row);
                broken.then(|| {
                    let fault = self.is_faulty(*row) && !self.is_control(*row);
                    let again = fault || self.dice(*row, 8) < 300;
                    let mut counts = Counts::default();
                    for word in [again, fault] {
                        counts.add(Some(if word { "broken" } else { "works" }));
                    }
                    [counts]
                })
            })
            .collect();
        let counts: Vec<Option<&[Counts]>> =
            counts.iter().map(|c| c.as_ref().map(|c| &c[..])).collect();
        confirm::column(field, &counts).unwrap()
    }

    fn metadata(&self, measurement: &str, rules: &Rules) -> Vec<(String, String)> {
        let targets = self.targets.to_string();
        let refused = r#"{"bad_line":3,"other_shard":0,"resumed":0,"reserved":12,"excluded":32}"#;
        let read = (self.targets + 47).to_string();
        let mut all: Vec<(&str, String)> = vec![
            ("version", "0.1.0".into()),
            ("measurement", measurement.into()),
            ("measurement_sha256", about::sha256(measurement)),
            ("params", "{}".into()),
            ("conditions_sql", about::conditions_sql(rules)),
            ("metrics_sql", about::metrics_sql(rules)),
            (
                "command_line",
                "pathspider run ecn --targets list.csv --confirm 2 --control 5%".into(),
            ),
            ("kernel", "Linux 6.18.0".into()),
            ("interface", "eth0".into()),
            ("started", "2026-11-28T12:00:00Z".into()),
            ("ended", "2026-11-28T13:00:00Z".into()),
            ("complete", "true".into()),
            ("confirm_rounds", "2".into()),
            ("control_share", "0.05".into()),
            ("order", "random".into()),
            ("seed", "7".into()),
            ("rate", "500".into()),
            ("rate_per_prefix", "none".into()),
            ("clock_started", r#"{"synchronised":true}"#.into()),
            ("clock_ended", r#"{"synchronised":false}"#.into()),
            ("exclude", format!(r#"[{{"sha256":"{}"}}]"#, about::sha256("none"))),
            ("contact", "https://example.org/measurements".into()),
            ("targets_read", read),
            ("targets_asked", targets.clone()),
            ("targets_refused", refused.into()),
            ("targets_unfinished", "0".into()),
            ("targets_sha256", about::sha256(&targets)),
            ("records", targets),
            ("packets_seen", (self.targets * 14).to_string()),
            ("packets_dropped", "0".into()),
            ("packets_dropped_by_interface", "0".into()),
            ("packets_not_understood", "4".into()),
            ("attempts_local_error", "120".into()),
            ("waves_repeated", "1".into()),
        ];
        for (key, value) in &self.metadata {
            all.retain(|(known, _)| known != key);
            all.push((key, value.clone()));
        }
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// A value of any type.
enum Value {
    Null,
    Truth(bool),
    Whole(i64),
    Text(String),
}

/// The columns that have values here, so the files stay small and the same when others are added.
const COLUMNS: [&str; 20] = [
    "ok",
    "state",
    "stage",
    "error",
    "answer",
    "started",
    "ended",
    "observed",
    "ip_version",
    "tcp_connected",
    "tcp_synack_ece",
    "tcp_synack_cwr",
    "tcp_handshake_rtt",
    "ecn_notect_data_rev",
    "ecn_ect0_data_rev",
    "ecn_ect1_data_rev",
    "ecn_ce_data_rev",
    "ecn_ect0_syn_rev",
    "ecn_ect1_syn_rev",
    "ecn_ce_syn_rev",
];

/// The schema of the facts, with few columns for each configuration.
fn narrow(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().filter(|field| !ADDED.contains(&field.name().as_str()));
    let fields = fields.map(|field| match field.data_type() {
        DataType::Struct(columns) if ["zero", "one"].contains(&field.name().as_str()) => {
            let few = columns.iter().filter(|column| COLUMNS.contains(&column.name().as_str()));
            Field::new(field.name(), DataType::Struct(few.cloned().collect()), field.is_nullable())
        }
        DataType::Struct(columns) if field.name() == "target" => {
            // Columns that are made of the address may be there or not.
            let own = columns
                .iter()
                .filter(|column| !["prefix", "asn", "extra"].contains(&column.name().as_str()));
            Field::new(field.name(), DataType::Struct(own.cloned().collect()), field.is_nullable())
        }
        _ => field.as_ref().clone(),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn bools(rows: &[usize], value: impl Fn(usize) -> Option<bool>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| value(*row)).collect::<BooleanArray>())
}

fn column(data_type: &DataType, rows: &[usize], value: impl Fn(usize) -> Value) -> ArrayRef {
    let wholes = || {
        rows.iter().map(|row| match value(*row) {
            Value::Whole(number) => Some(number),
            _ => None,
        })
    };
    match data_type {
        DataType::Boolean => bools(rows, |row| match value(row) {
            Value::Truth(truth) => Some(truth),
            _ => None,
        }),
        DataType::Utf8 => {
            let texts = rows.iter().map(|row| match value(*row) {
                Value::Text(text) => Some(text),
                _ => None,
            });
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Int64 => Arc::new(wholes().collect::<Int64Array>()),
        DataType::UInt64 => {
            Arc::new(wholes().map(|n| Some(n?.unsigned_abs())).collect::<UInt64Array>())
        }
        DataType::UInt16 => {
            Arc::new(wholes().map(|n| u16::try_from(n?).ok()).collect::<UInt16Array>())
        }
        DataType::UInt8 => {
            Arc::new(wholes().map(|n| u8::try_from(n?).ok()).collect::<UInt8Array>())
        }
        DataType::Timestamp(..) => {
            Arc::new(wholes().collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        other => new_null_array(other, rows.len()),
    }
}
