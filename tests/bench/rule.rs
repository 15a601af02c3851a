//! What a rule costs: the conditions of `measurements/ecn.toml` over 100,000 records; and what it costs to plan each
//! shipped measurement.
//!
//! `cargo bench --bench rule` prints the time of all of them together; the throughput that
//! criterion gives (elements per second) counts a record once per rule.

#![expect(clippy::expect_used, reason = "a bench may stop where it fails")]

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray, new_null_array};
use arrow_schema::{DataType, Fields, Schema};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pathspider::measurement::{Plan, SHIPPED};

const RECORDS: usize = 100_000;

/// Booleans in a pattern that differs from column to column. Of the flows of `unobserved` per
/// thousand records, nothing is known.
fn table(fields: &Fields, unobserved: usize) -> StructArray {
    let lost = |row: usize| row * 7919 % 1000 < unobserved;
    let columns = fields.iter().enumerate().map(|(number, field)| -> ArrayRef {
        let bit = |row: usize| row.wrapping_mul(2_654_435_761 + 2 * number) >> 7 & 1 == 1;
        match (field.name().as_str(), field.data_type()) {
            ("state", _) => Arc::new(StringArray::from_iter_values((0..RECORDS).map(|_| "ok"))),
            ("ok" | "tcp_connected", _) => Arc::new(
                (0..RECORDS)
                    .map(|row| (field.name() == "ok" || !lost(row)).then_some(row % 20 > 0))
                    .collect::<BooleanArray>(),
            ),
            ("observed", _) => {
                Arc::new((0..RECORDS).map(|row| Some(!lost(row))).collect::<BooleanArray>())
            }
            (_, DataType::Boolean) => Arc::new(
                (0..RECORDS).map(|row| (!lost(row)).then_some(bit(row))).collect::<BooleanArray>(),
            ),
            (_, data_type) => new_null_array(data_type, RECORDS),
        }
    });
    StructArray::new(fields.clone(), columns.collect(), None)
}

fn records(schema: &Schema, unobserved: usize) -> RecordBatch {
    let tables = schema.fields().iter().map(|field| -> ArrayRef {
        match field.data_type() {
            DataType::Struct(fields) => Arc::new(table(fields, unobserved)),
            other => new_null_array(other, RECORDS),
        }
    });
    RecordBatch::try_new(Arc::new(schema.clone()), tables.collect()).expect("records")
}

fn judge(criterion: &mut Criterion) {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").expect("a measurement");
    let plan = Plan::load("ecn.toml", text, &Fields::empty()).expect("a plan");
    let rules = plan.rules.iter().count();
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements((RECORDS * rules) as u64)).sample_size(20);
    // In a good run nearly everything is observed; in a bad one half is not, and needs reasons.
    for unobserved in [1, 500] {
        let batch = records(&plan.record_schema(&Fields::empty()), unobserved);
        let id = BenchmarkId::new("ecn, not observed per thousand", unobserved);
        group.bench_with_input(id, &batch, |bencher, batch| {
            bencher.iter(|| plan.rules.judge(batch).expect("judged records"));
        });
    }
    group.finish();
}

/// An editor plans the file with every key.
fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for (name, text) in SHIPPED {
        group.bench_with_input(BenchmarkId::from_parameter(name), text, |bencher, text| {
            bencher.iter(|| Plan::load(name, text, &Fields::empty()).expect("a plan"));
        });
    }
    group.finish();
}

criterion_group!(benches, judge, plan);
criterion_main!(benches);
