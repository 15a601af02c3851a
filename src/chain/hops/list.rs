//! The column `hops`: a list of structs, one for each error about a packet that was sent to expire.

use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::builder::{
    Int64Builder, NullBufferBuilder, StringBuilder, UInt8Builder, UInt16Builder,
};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};

use crate::field::{Cell, Nullable, Texts};

/// One error about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The TTL with which the packet was sent.
    pub ttl: u8,
    /// Where the error came from.
    pub from: IpAddr,
    /// Its type and code.
    pub kind: (u8, u8),
    /// Nanoseconds from the packet to the error.
    pub rtt: i64,
    /// Octets of the packet's transport in the quote.
    pub octets: u16,
    /// DSCP and ECN of the quoted packet.
    pub tos: u8,
    /// Words of the fields that the quote shows otherwise than sent, separated by spaces.
    pub changed: String,
    /// TTL of the error when it arrived.
    pub outer_ttl: u8,
    /// DSCP and ECN of the error.
    pub outer_tos: u8,
    /// MPLS labels of the packet (RFC 4950), separated by spaces; none if the error has none.
    pub labels: Option<String>,
    /// The interface that the packet came in by (RFC 5837).
    pub interface: Option<String>,
}

/// The errors about a flow's packets, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hops(pub Vec<Hop>);

/// Builder of such a column.
#[derive(Debug)]
pub struct HopsColumn {
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
    ttl: UInt8Builder,
    from: Texts,
    kind: UInt8Builder,
    code: UInt8Builder,
    rtt: Int64Builder,
    octets: UInt16Builder,
    tos: UInt8Builder,
    changed: StringBuilder,
    outer_ttl: UInt8Builder,
    outer_tos: UInt8Builder,
    labels: StringBuilder,
    interface: StringBuilder,
}

impl Default for HopsColumn {
    fn default() -> Self {
        Self {
            ends: vec![0],
            nulls: NullBufferBuilder::new(0),
            ttl: UInt8Builder::new(),
            from: Texts::default(),
            kind: UInt8Builder::new(),
            code: UInt8Builder::new(),
            rtt: Int64Builder::new(),
            octets: UInt16Builder::new(),
            tos: UInt8Builder::new(),
            changed: StringBuilder::new(),
            outer_ttl: UInt8Builder::new(),
            outer_tos: UInt8Builder::new(),
            labels: StringBuilder::new(),
            interface: StringBuilder::new(),
        }
    }
}

fn members() -> Fields {
    let member = |(name, kind)| Field::new(name, kind, true);
    [
        ("ttl", DataType::UInt8),
        ("from", DataType::Utf8),
        ("type", DataType::UInt8),
        ("code", DataType::UInt8),
        ("rtt", DataType::Int64),
        ("quote_octets", DataType::UInt16),
        ("quote_tos", DataType::UInt8),
        ("changed", DataType::Utf8),
        ("outer_ttl", DataType::UInt8),
        ("outer_tos", DataType::UInt8),
        ("labels", DataType::Utf8),
        ("ifname", DataType::Utf8),
    ]
    .into_iter()
    .map(member)
    .collect()
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(members()), true))
}

impl Cell for Hops {
    type Column = HopsColumn;

    fn data_type() -> DataType {
        DataType::List(item())
    }

    fn append(&self, column: &mut HopsColumn) {
        for hop in &self.0 {
            column.ttl.append_value(hop.ttl);
            hop.from.append(&mut column.from);
            column.kind.append_value(hop.kind.0);
            column.code.append_value(hop.kind.1);
            column.rtt.append_value(hop.rtt);
            column.octets.append_value(hop.octets);
            column.tos.append_value(hop.tos);
            column.changed.append_value(&hop.changed);
            column.outer_ttl.append_value(hop.outer_ttl);
            column.outer_tos.append_value(hop.outer_tos);
            column.labels.append_option(hop.labels.as_ref());
            column.interface.append_option(hop.interface.as_ref());
        }
        column.end(self.0.len());
        column.nulls.append_non_null();
    }

    fn finish(column: &mut HopsColumn) -> ArrayRef {
        let mut done = std::mem::take(column);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(done.ttl.finish()),
            done.from.finish(),
            Arc::new(done.kind.finish()),
            Arc::new(done.code.finish()),
            Arc::new(done.rtt.finish()),
            Arc::new(done.octets.finish()),
            Arc::new(done.tos.finish()),
            Arc::new(done.changed.finish()),
            Arc::new(done.outer_ttl.finish()),
            Arc::new(done.outer_tos.finish()),
            Arc::new(done.labels.finish()),
            Arc::new(done.interface.finish()),
        ];
        let hops = StructArray::new(members(), columns, None);
        let ends = OffsetBuffer::new(ScalarBuffer::from(done.ends));
        Arc::new(ListArray::new(item(), ends, Arc::new(hops), done.nulls.finish()))
    }
}

impl HopsColumn {
    fn end(&mut self, length: usize) {
        let last = self.ends.last().copied().unwrap_or(0);
        // A flow has few hops, and a batch far fewer than this type can count.
        self.ends.push(last.saturating_add(i32::try_from(length).unwrap_or(i32::MAX)));
    }
}

impl Nullable for Hops {
    fn append_null(column: &mut HopsColumn) {
        column.end(0);
        column.nulls.append_null();
    }
}
