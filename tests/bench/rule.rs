//! What a rule costs: the conditions of `measurements/ecn.toml` over 100,000 records; and what it costs to plan each
//! shipped measurement; and what an expression over a packet costs.
//!
//! `cargo bench --bench rule` prints the time of all of them together; the throughput that
//! criterion gives (elements per second) counts a record once per rule.

#![expect(clippy::expect_used, reason = "a bench may stop where it fails")]

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray, new_null_array};
use arrow_schema::{DataType, Fields, Schema};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pathspider::field::Timestamp;
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::packet::{Link, dissect};
use pathspider::rule::{Sql, packet_value};

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

/// What one column of one's own costs for a packet: at most 100 ns.
fn packet(criterion: &mut Criterion) {
    let frame = [
        &[2; 12][..],
        &[8, 0, 0x45, 0, 0, 40, 0, 7, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2],
        &[0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xfd, 0xe8, 0, 0, 0, 0],
    ]
    .concat();
    let link = Link::from_linktype(1).expect("Ethernet");
    let packet = dissect(link, &frame, Timestamp::UNKNOWN).expect("a packet");
    let mut group = criterion.benchmark_group("packet");
    for text in [
        "tcp.window = 0 AND NOT tcp.rst",
        "tcp.window",
        "payload.length > 0 OR ip.ttl IN (1, 2, 3)",
    ] {
        let sql = Sql { text: text.to_owned(), span: 0..text.len(), start: None };
        let (program, _) = packet_value(&sql, &mut Vec::new()).expect("an expression");
        group.bench_function(text, |bencher| {
            bencher.iter(|| black_box(&program).evaluate(black_box(&packet)))
        });
    }
    group.finish();
}

criterion_group!(benches, judge, plan, packet);
criterion_main!(benches);
