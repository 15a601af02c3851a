//! What a result says of hops: for each target, between which routers a field was changed or a packet dropped.
//!
//! Two sources are read: the struct `locate` of a run that located faults, and the columns of the group `hops`, of a
//! configuration or of a flow.

use std::net::IpAddr;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use serde_json::{Map, Value};

use super::input::Input;
use crate::as_table::AsTable;
use crate::error::{Error, Result};
use crate::packet::quoted::Field;
use crate::sink::{self, Stored};

/// The struct of a run that located faults.
const LOCATE: &str = "locate";

/// A router, or the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// The TTL with which packets get there.
    pub hop: u64,
    /// Its address; `None` if it did not answer.
    pub address: Option<IpAddr>,
    /// The ASes that announce the address; empty without a table.
    pub origins: Vec<u32>,
}

/// A place on the path, between two hops.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The label that the search was about, or the configuration whose packets show it.
    pub about: Option<String>,
    /// The fields concerned, such as `ecn`.
    pub fields: String,
    /// `changed`, `dropped`, `reset`, `rejected` or `intercepted`.
    pub what: String,
    /// The last router at which the packet was as sent; `None` is this host.
    pub before: Option<Router>,
    /// The first one at which it was not.
    pub by: Router,
    /// What that one quotes.
    pub value: Option<String>,
    /// The probability that it happened between the two.
    pub sure: Option<f64>,
    /// Whether a router beyond shows the packet as it was sent.
    pub undone: bool,
}

/// One error about a packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// Where the packet expired, and who said so.
    pub router: Router,
    /// Nanoseconds until the error came.
    pub rtt: Option<i64>,
    /// The fields that differ from what was sent, separated by spaces.
    pub changed: String,
    /// Octets of the transport in the quote.
    pub octets: Option<u64>,
    /// MPLS labels, separated by spaces.
    pub labels: Option<String>,
    /// The incoming interface.
    pub interface: Option<String>,
}

/// What the routers on a path quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The configuration; `None` for a flow.
    pub configuration: Option<String>,
    /// The errors, by hop.
    pub quotes: Vec<Quote>,
    /// The smallest TTL that the target answered.
    pub reached: Option<u64>,
}

/// A target, or a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: Option<u64>,
    /// Its name.
    pub name: Option<String>,
    /// How a search without a place ended.
    pub outcome: Option<String>,
    /// The places.
    pub findings: Vec<Finding>,
    /// The paths.
    pub traces: Vec<Trace>,
}

/// Reads a result: a folder or file of a run, or a Parquet file of `observe`. `each` gets every target with an answer of
/// a router or a search, in the order of the records.
///
/// # Errors
/// [`Error::Usage`] if there is no such result, or if it says nothing of hops; those of `each`.
pub fn read(
    path: &Path,
    table: Option<&AsTable>,
    mut each: impl FnMut(Target) -> Result<()>,
) -> Result<()> {
    let mut batches = |batch: RecordBatch| -> Result<()> {
        let failed = |why| Error::failed(format!("read {}", path.display()), why);
        for record in sink::objects(&batch).map_err(failed)? {
            if let Some(target) = target(&record, table) {
                each(target)?;
            }
        }
        Ok(())
    };
    // Records of flows have no target and no run.
    if path.is_file() && Stored::open(path)?.schema().field_with_name("target").is_err() {
        let stored = Stored::open(path)?;
        has_hops(path, stored.schema())?;
        return stored.read(&[], batches);
    }
    let input = Input::open(path, "hops", false)?;
    has_hops(path, &input.schema)?;
    input.read(&[], &mut batches)
}

/// Fails if no column is about hops.
fn has_hops(path: &Path, schema: &Schema) -> Result<()> {
    let of_group = |fields: &arrow_schema::Fields| fields.find("hops").is_some();
    let inside = schema.fields().iter().any(|field| match field.data_type() {
        DataType::Struct(fields) => field.name() == LOCATE || of_group(fields),
        _ => false,
    });
    if inside || of_group(schema.fields()) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "hops {}: it has no columns about hops; `run --locate` and use = [\"hops\"] in [observer] record them, and \
         `observe --use hops`",
        path.display()
    )))
}

type Object = Map<String, Value>;

fn text(object: &Object, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

fn number(object: &Object, name: &str) -> Option<u64> {
    object.get(name)?.as_u64()
}

fn target(record: &Object, table: Option<&AsTable>) -> Option<Target> {
    let of_run = record.get("target").and_then(Value::as_object);
    let mut target = match of_run {
        Some(of) => Target {
            address: text(of, "ip")?,
            port: number(of, "port"),
            name: text(of, "domain").or_else(|| text(of, "name")),
            outcome: None,
            findings: Vec::new(),
            traces: Vec::new(),
        },
        None => Target {
            address: text(record, "dip").unwrap_or_else(|| "a flow".to_owned()),
            port: number(record, "dp"),
            name: None,
            outcome: None,
            findings: Vec::new(),
            traces: Vec::new(),
        },
    };
    if let Some(located) = record.get(LOCATE).and_then(Value::as_object) {
        target.outcome = text(located, "outcome");
        target.findings.extend(located_at(located, table));
    }
    let configurations = record.iter().filter_map(|(name, of)| Some((name, of.as_object()?)));
    let groups = configurations.map(|(name, of)| (Some(name.clone()), of));
    for (configuration, group) in groups.chain([(None, record)]) {
        let Some(quotes) = group.get("hops").and_then(Value::as_array) else { continue };
        target.findings.extend(changed(configuration.as_deref(), group, table));
        let quotes = quotes.iter().filter_map(|quote| self::quote(quote.as_object()?, table));
        let mut quotes: Vec<Quote> = quotes.collect();
        quotes.sort_by_key(|quote| quote.router.hop);
        let reached = number(group, "hops_reached");
        if !quotes.is_empty() || reached.is_some() {
            target.traces.push(Trace { configuration, quotes, reached });
        }
    }
    let says = target.outcome.is_some() || !target.findings.is_empty() || !target.traces.is_empty();
    says.then_some(target)
}

fn router(hop: u64, address: Option<String>, table: Option<&AsTable>) -> Router {
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    let origins = table.zip(address).map(|(table, address)| table.origins(address).to_vec());
    Router { hop, address, origins: origins.unwrap_or_default() }
}

/// The place that a search found.
fn located_at(located: &Object, table: Option<&AsTable>) -> Option<Finding> {
    let by = router(number(located, "hop")?, text(located, "changed_from"), table);
    let before = number(located, "hop_before").filter(|hop| *hop > 0);
    let known = |router: Router, column: &str| match number(located, column) {
        // By the table of the run.
        Some(asn) if router.origins.is_empty() && router.address.is_some() => {
            Router { origins: vec![u32::try_from(asn).unwrap_or(u32::MAX)], ..router }
        }
        _ => router,
    };
    Some(Finding {
        about: text(located, "label"),
        fields: text(located, "fields").unwrap_or_default(),
        what: text(located, "fault").unwrap_or_else(|| "changed".to_owned()),
        before: before.map(|hop| known(router(hop, text(located, "same_from"), table), "same_as")),
        by: known(by, "changed_as"),
        value: None,
        sure: located.get("sure").and_then(Value::as_f64),
        undone: text(located, "outcome").as_deref() == Some("undone"),
    })
}

/// The places at which the quotes of a configuration or flow show a change.
fn changed<'a>(
    configuration: Option<&'a str>,
    group: &'a Object,
    table: Option<&'a AsTable>,
) -> impl Iterator<Item = Finding> + 'a {
    Field::ALL.into_iter().filter_map(move |field| {
        let name = |end: &str| format!("hops_{}_{end}", field.as_str());
        let hop = number(group, &name("changed"))?;
        let before = number(group, &name("same"));
        let value = group.get(&name("value")).filter(|value| !value.is_null());
        let value = value.map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        Some(Finding {
            about: configuration.map(str::to_owned),
            fields: field.as_str().to_owned(),
            what: "changed".to_owned(),
            before: before.map(|hop| router(hop, text(group, &name("same_from")), table)),
            by: router(hop, text(group, &name("changed_from")), table),
            value,
            sure: group.get(&name("sure")).and_then(Value::as_f64),
            undone: group.get(&name("undone")).and_then(Value::as_bool) == Some(true),
        })
    })
}

fn quote(quote: &Object, table: Option<&AsTable>) -> Option<Quote> {
    Some(Quote {
        router: router(number(quote, "ttl")?, text(quote, "from"), table),
        rtt: quote.get("rtt").and_then(Value::as_i64),
        changed: text(quote, "changed").unwrap_or_default(),
        octets: number(quote, "quote_octets"),
        labels: text(quote, "labels"),
        interface: text(quote, "ifname"),
    })
}
