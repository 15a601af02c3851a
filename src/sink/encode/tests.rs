//! The same text as arrow's own writer gives, and the same records back.

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    BooleanArray, DictionaryArray, Float32Array, Float64Array, Int64Array, NullArray, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt16Array, UInt64Array,
};
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::Schema;

use super::*;
use crate::sink::decode;

const FLOATS: [f64; 26] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    1e-4,
    1e-5,
    -1.25e-5,
    9.99e-6,
    1e-6,
    1e-300,
    f64::MIN_POSITIVE,
    f64::from_bits(1),
    123_456.789,
    999_999_999.0,
    1e9,
    1_234_567_890.125,
    9_999_999_999.0,
    9_999_999_999.5,
    1e10,
    12_345_678_901.5,
    1e17,
    f64::MAX,
    f64::NAN,
    f64::INFINITY,
    std::f64::consts::PI,
];

/// Records with every type that they can have; every third value is NULL.
fn batch() -> RecordBatch {
    // Bits of every magnitude: a linear congruence, as the digits only have to differ.
    let bits = (0..2000u64).map(|i| i.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17));
    let bits: Vec<u64> = bits.collect();
    let floats = FLOATS.into_iter().chain(bits.iter().map(|bits| f64::from_bits(*bits)));
    let floats: Vec<f64> = floats.collect();
    let rows = floats.len();
    let some = |row: usize| row % 3 != 2;
    let bits: Vec<u64> = bits.iter().copied().cycle().take(rows).collect();
    let numbers = bits.iter().enumerate().map(|(row, bits)| some(row).then_some(*bits));
    let texts = ["", "a", "\"\\/\u{8}\t\n\u{1f}", "größe 試 \u{1f600}", "\u{7f}\u{2028}"];
    let texts = (0..rows).map(|row| some(row).then(|| texts[row % texts.len()]));
    let times = || numbers.clone().map(|bits| bits.map(|bits| bits as i64));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        for item in 0..row % 3 {
            lists.values().append_option((item == 0).then_some("word"));
        }
        lists.append(some(row));
    }
    let inner = StructArray::from(
        RecordBatch::try_from_iter_with_nullable([
            (
                "port",
                Arc::new(UInt16Array::from_iter(numbers.clone().map(|n| n.map(|n| n as u16))))
                    as ArrayRef,
                true,
            ),
            (
                "ok",
                Arc::new(BooleanArray::from_iter((0..rows).map(|r| some(r).then_some(r % 2 == 0)))),
                true,
            ),
        ])
        .unwrap(),
    );
    let nulls: NullBuffer = (0..rows).map(|row| row % 5 != 0).collect();
    let (fields, columns, _) = inner.into_parts();
    let inner = StructArray::new(fields, columns, Some(nulls));
    RecordBatch::try_from_iter_with_nullable([
        ("float", Arc::new(Float64Array::from(floats.clone())) as ArrayRef, true),
        ("signed", Arc::new(Int64Array::from_iter(times())), true),
        ("unsigned", Arc::new(UInt64Array::from_iter(numbers.clone())), true),
        ("a \"name\"", Arc::new(StringArray::from_iter(texts)), true),
        ("none", Arc::new(NullArray::new(rows)), true),
        ("time", Arc::new(TimestampNanosecondArray::from_iter(times())), true),
        ("list", Arc::new(lists.finish()), true),
        ("struct", Arc::new(inner), true),
    ])
    .unwrap()
}

fn ours(batch: &RecordBatch) -> String {
    let mut text = Vec::new();
    lines(batch, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn arrows(batch: &RecordBatch) -> String {
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format("%Y-%m-%dT%H:%M:%S%.9fZ".into())
        .build::<_, LineDelimited>(&mut text);
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn lines_are_as_arrow_writes_them() {
    let batch = batch();
    for batch in [batch.clone(), batch.slice(7, 100), batch.slice(3, 0)] {
        for (ours, arrows) in ours(&batch).lines().zip(arrows(&batch).lines()) {
            assert_eq!(ours, arrows);
        }
        assert_eq!(ours(&batch), arrows(&batch));
    }
}

#[test]
fn types_of_other_programs_are_as_arrow_writes_them() {
    let floats = Float32Array::from_iter(FLOATS.map(|float| Some(float as f32)));
    let micros = TimestampMicrosecondArray::from_iter((0..26).map(|i| Some(i * 123_456_789_012)));
    let words: DictionaryArray<Int8Type> = (0..26).map(|i| (i % 3 > 0).then_some("word")).collect();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("float", Arc::new(floats) as ArrayRef, true),
        ("time", Arc::new(micros), true),
        ("word", Arc::new(words), true),
    ]);
    let batch = batch.unwrap();
    assert_eq!(ours(&batch), arrows(&batch));
}

#[test]
fn what_is_written_is_read_back() {
    let batch = batch();
    // JSON has no infinity.
    let finite = Float64Array::from_iter(
        batch.column(0).as_primitive::<Float64Type>().iter().map(|f| f.filter(|f| f.is_finite())),
    );
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut fields = batch.schema().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    columns[0] = Arc::new(finite);
    fields[5] = Arc::new(Field::new("time", utc.clone(), true));
    let times = columns[5].as_primitive::<TimestampNanosecondType>().clone();
    columns[5] = Arc::new(times.with_data_type(utc));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let read: Vec<_> =
        ours(&batch).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(decode::batch(&batch.schema(), &read).unwrap(), batch);
}

#[test]
fn what_does_not_fit_the_columns_is_an_error() {
    let port = Field::new("port", DataType::UInt16, false);
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let inner = DataType::Struct([Arc::new(port)].into_iter().collect());
    let fields = vec![Field::new("zero", inner, true), Field::new("at", time, true)];
    let schema = Arc::new(Schema::new(fields));
    for (line, why) in [
        (r#"{"zero": {"port": 65535}, "at": null}"#, None),
        (r#"{"zero": null, "at": "2026-03-01T12:00:00Z"}"#, None),
        (r#"{"zero": {"port": 65536}}"#, Some("port: 65536 is no value of UInt16")),
        (r#"{"zero": {"port": -1}}"#, Some("port: -1 is no value of UInt16")),
        (r#"{"zero": {"port": "80"}}"#, Some("port: \"80\" is no value of UInt16")),
        (r#"{"zero": {"port": null}}"#, Some("non-nullable")),
        (r#"{"zero": {"port": 80, "extra": 1}}"#, Some("there is no column extra")),
        (r#"{"zero": [80]}"#, Some("zero: [80] is no value of Struct")),
        (r#"{"at": "noon"}"#, Some("at: \"noon\" is no value of Timestamp")),
        (r#"{"one": null}"#, Some("there is no column one")),
    ] {
        let read = decode::batch(&schema, &[serde_json::from_str(line).unwrap()]);
        match (read, why) {
            (Ok(batch), None) => assert_eq!(batch.num_rows(), 1),
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{line}: {error}"),
            (read, why) => panic!("{line}: {read:?} instead of {why:?}"),
        }
    }
}
