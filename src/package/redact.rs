//! What `--redact` removes from records and their metadata.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{
    Array as _, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field};
use arrow_select::take::take_record_batch;
use sha2::{Digest as _, Sha256};

use crate::analysis::network::Network;
use crate::error::{Error, Result};
use crate::field::FilledBy;
use crate::record;
use crate::run::counts;
use crate::run::evidence::EVIDENCE;
use crate::run::record::POSITION;
use crate::sink::Metadata;

/// What was done, for readers.
pub(super) const STATEMENT: &str = "Redacted: addresses are cut to /24 and /48; names and the other columns of the target list, \
    addresses of the measuring host, texts and addresses in replies, the command line, and what identifies the host or its \
    operator are removed; positions in the list are replaced by random numbers, and rows are in random order within blocks.";

/// Instead of the folder of the evidence.
const NOT_PUBLISHED: &str = "not published";
/// Columns of the target that stay. Those of the list, such as a rank, identify it.
const OF_TARGET: [&str; 4] = ["ip", "port", "prefix", "asn"];
/// Columns of a configuration with an address of the measuring host.
const OF_HOST: [&str; 1] = ["sip"];
/// Keys of metadata that stay, besides counts: everything else may identify the host, its operator or the list.
const KEYS: [&str; 29] = [
    "version",
    "commit",
    "format",
    "measurement",
    "params",
    "measurement_sha256",
    "conditions_sql",
    "metrics_sql",
    "kernel",
    "libpcap",
    "started",
    "ended",
    "complete",
    "records",
    "targets_read",
    "targets_asked",
    "targets_refused",
    "targets_unfinished",
    "waves_repeated",
    "waves_disturbed",
    "records_flagged",
    "controls",
    "confirm_rounds",
    "control_share",
    "connect",
    "rate",
    "rate_per_address",
    "rate_per_prefix",
    "order",
];

/// Removes what identifies targets, with a key that is not stored.
pub(super) struct Redaction {
    key: [u8; 32],
}

impl Redaction {
    pub(super) fn new() -> Self {
        Self { key: rand::random() }
    }

    /// The metadata that stay.
    pub(super) fn metadata(&self, all: impl Iterator<Item = (String, String)>) -> Metadata {
        let stays = |key: &str| KEYS.contains(&key) || counts::KEYS.contains(&key);
        // That there is such a column, but not where the packets are.
        let stated = all.map(|(key, value)| match key == EVIDENCE {
            true => (key, NOT_PUBLISHED.to_owned()),
            false => (key, value),
        });
        let mut metadata: Metadata =
            stated.filter(|(key, _)| stays(key) || key == EVIDENCE).collect();
        metadata.push(("redacted".into(), STATEMENT.into()));
        metadata
    }

    /// The records without what is removed, in another order.
    pub(super) fn records(&self, records: &RecordBatch) -> Result<RecordBatch> {
        self.redacted(records).map_err(|why| Error::failed("redact records", why))
    }

    fn redacted(&self, records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = records.schema();
        let columns = schema.fields().iter().zip(records.columns());
        let mut order: Vec<(u64, u32)> = Vec::new();
        let mut redacted = Vec::with_capacity(records.num_columns());
        for (field, column) in columns {
            redacted.push(match field.name().as_str() {
                POSITION => {
                    let numbers = crate::analysis::column::wholes(column);
                    let random: Vec<u64> =
                        numbers.iter().map(|n| self.number(n.unwrap_or_default())).collect();
                    order = random.iter().copied().zip(0..).collect();
                    positions(column.data_type(), &random)
                }
                "target" => structure(column, &|field, of| match field.name().as_str() {
                    name if OF_TARGET.contains(&name) => cut(of),
                    _ => nothing(field, of),
                })?,
                name if record::CONFIGURATIONS.contains(&name) => {
                    structure(column, &|field, of| {
                        let is_reply = record::filled_by(field.name()) == FilledBy::Reply;
                        let hides = is_reply && has_text(of.data_type());
                        match hides || OF_HOST.contains(&field.name().as_str()) {
                            true => nothing(field, of),
                            false => cut(of),
                        }
                    })?
                }
                _ => cut(column)?,
            });
        }
        order.sort_unstable();
        let order: UInt32Array = order.into_iter().map(|(_, row)| row).collect();
        let redacted = RecordBatch::try_new(schema, redacted)?;
        match order.is_empty() {
            true => Ok(redacted),
            false => take_record_batch(&redacted, &order),
        }
    }

    /// A random number for a position: the same one each time, and of no other position in practice.
    fn number(&self, position: i64) -> u64 {
        let digest = Sha256::new().chain_update(self.key).chain_update(position.to_le_bytes());
        let digest = digest.finalize();
        let octets = digest.first_chunk::<8>().copied().unwrap_or_default();
        // Readers of JSON and of signed integers take 53 bits.
        u64::from_le_bytes(octets) >> 11
    }
}

fn positions(data_type: &DataType, numbers: &[u64]) -> ArrayRef {
    match data_type {
        DataType::Int64 => {
            Arc::new(numbers.iter().map(|number| number.cast_signed()).collect::<Int64Array>())
        }
        _ => Arc::new(numbers.iter().copied().collect::<UInt64Array>()),
    }
}

/// A struct whose fields are made anew.
fn structure(
    column: &ArrayRef,
    make: &dyn Fn(&Field, &ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let Some(of) = column.as_struct_opt() else { return cut(column) };
    let fields = of.fields().iter().zip(of.columns());
    let columns: Result<Vec<ArrayRef>, ArrowError> =
        fields.map(|(field, column)| make(field, column)).collect();
    Ok(Arc::new(StructArray::try_new(of.fields().clone(), columns?, of.nulls().cloned())?))
}

/// NULLs, or empty texts where NULL is not allowed.
fn nothing(field: &Field, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match (field.is_nullable(), column.data_type()) {
        (true, data_type) => Ok(new_null_array(data_type, column.len())),
        (false, DataType::Utf8) => Ok(Arc::new(StringArray::from(vec![""; column.len()]))),
        (false, _) => cut(column),
    }
}

/// Whether values have text.
fn has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary => true,
        DataType::List(item) => has_text(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_text(field.data_type())),
        DataType::Dictionary(_, values) => has_text(values),
        _ => false,
    }
}

/// A column whose addresses are cut, wherever they are in it.
fn cut(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_text(column.data_type()) {
        return Ok(column.clone());
    }
    if let Some(words) = column.as_string_opt::<i32>() {
        let words = words.iter().map(|word| word.map(address));
        return Ok(Arc::new(words.collect::<StringArray>()));
    }
    if let Some(list) = column.as_list_opt::<i32>() {
        let DataType::List(item) = list.data_type() else { return Ok(column.clone()) };
        let (values, offsets) = (cut(list.values())?, list.offsets().clone());
        return Ok(Arc::new(ListArray::try_new(
            item.clone(),
            offsets,
            values,
            list.nulls().cloned(),
        )?));
    }
    if column.as_struct_opt().is_some() {
        return structure(column, &|_, of| cut(of));
    }
    if let Some(coded) = column.as_any_dictionary_opt() {
        return Ok(coded.with_values(cut(coded.values())?));
    }
    Err(ArrowError::NotYetImplemented(format!("text of type {}", column.data_type())))
}

/// An address that is cut; any other text as it is. A label may end in an address: `name:192.0.2.1`.
fn address(text: &str) -> Cow<'_, str> {
    let cut = |text: &str| -> Option<String> {
        let network = Network::of(text.parse::<IpAddr>().ok()?).to_string();
        Some(network.split('/').next().unwrap_or_default().to_owned())
    };
    if let Some(cut) = cut(text) {
        return cut.into();
    }
    let ends = text.match_indices(':').map(|(at, _)| (&text[..=at], &text[at + 1..]));
    let label = ends.into_iter().find_map(|(name, end)| Some(format!("{name}{}", cut(end)?)));
    label.map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_and_other_texts_stay() {
        for (text, cut) in [
            ("192.0.2.77", "192.0.2.0"),
            ("2001:db8:7:9::1", "2001:db8:7::"),
            ("icmp.from:192.0.2.77", "icmp.from:192.0.2.0"),
            ("icmp.from:2001:db8:7:9::1", "icmp.from:2001:db8:7::"),
            ("ecn.connectivity.works", "ecn.connectivity.works"),
            ("mss:1460", "mss:1460"),
            ("", ""),
        ] {
            assert_eq!(address(text), cut, "{text}");
        }
    }

    #[test]
    fn nested_text_is_found() {
        let item = Arc::new(Field::new("ip", DataType::Utf8, true));
        let words: ArrayRef = Arc::new(StringArray::from(vec!["198.51.100.9", "x"]));
        let hop = StructArray::from(vec![(item, words)]);
        let field = Arc::new(Field::new("item", hop.data_type().clone(), true));
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([2]);
        let list: ArrayRef = Arc::new(ListArray::new(field, offsets, Arc::new(hop), None));
        let cut = cut(&list).unwrap();
        let hops = cut.as_list::<i32>().value(0);
        let ips = hops.as_struct().column(0).as_string::<i32>().clone();
        assert_eq!(ips.iter().flatten().collect::<Vec<_>>(), ["198.51.100.0", "x"]);
    }
}
