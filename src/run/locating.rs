//! Records whose label is searched for on the path: final, but for the struct `locate`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray, cast::AsArray as _,
};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::filter::filter_record_batch;
use foldhash::fast::RandomState;

use super::controls::CONTROL;
use super::networks::Networks;
use super::record;
use crate::connect::Ended;
use crate::engine::driver::Trace;
use crate::error::{Error, Result};
use crate::field::Row as _;
use crate::locate::{LOCATE, Located, Pair, Side};
use crate::measurement::{Locate, Plan, Sought};
use crate::observer::Flows;
use crate::packet::owner::PortSet;
use crate::packet::template::Template;
use crate::rule;
use crate::targets::Target;

/// The first packets of a record's attempts, by configuration.
type Packets = Vec<Option<Template>>;

/// A record that waits for its search.
struct Waiting {
    /// The label, by its number.
    sought: usize,
    pair: Arc<Pair>,
    source: Option<IpAddr>,
    target: IpAddr,
}

/// The records that wait for a search, by group.
#[derive(Default)]
pub struct Locating {
    groups: HashMap<u64, (RecordBatch, Vec<Waiting>)>,
    /// Targets without a final record, by position, with this host's address and the packets of their last attempts.
    held: HashMap<u64, (Target, Option<IpAddr>, Packets), RandomState>,
    /// First packets of flows of the next wave, which came early.
    firsts: HashMap<(u16, SocketAddr), Template, RandomState>,
}

impl Locating {
    /// The number of records that wait.
    pub fn len(&self) -> usize {
        self.groups.values().map(|(records, _)| records.num_rows()).sum()
    }

    /// Keeps the first packets of flows.
    pub fn take_firsts(&mut self, flows: &mut Flows) {
        for (key, template) in std::mem::take(&mut flows.firsts) {
            self.firsts.insert((key.source.1, key.destination.into()), template);
        }
    }

    /// Keeps the packets of a wave's attempts, until the records of their targets are final. `ports` are those of the wave.
    pub fn hold(&mut self, targets: &[Target], attempts: &[Vec<Ended>], ports: &PortSet) {
        for (row, target) in targets.iter().enumerate() {
            let Some(at) = record::address(target) else { continue };
            let ports = attempts.iter().map(|of| of.get(row)?.attempt.source_port);
            let packets = ports.map(|port| self.firsts.remove(&(port?, at))).collect();
            let source = attempts.iter().find_map(|of| of.get(row)?.local);
            self.held.insert(target.position, (target.clone(), source, packets));
        }
        self.firsts.retain(|(port, _), _| !ports.contains(*port));
    }

    /// Takes the records that have a label to locate out of final ones, as the group with this identifier. Returns the others,
    /// and what to search for. Controls have no such label.
    pub fn take(
        &mut self,
        plan: &Plan,
        id: u64,
        judged: RecordBatch,
    ) -> Result<(RecordBatch, Vec<(Target, Trace)>)> {
        let Some(locate) = &plan.locate else { return Ok((judged, Vec::new())) };
        let words = words(locate, &judged);
        let controls = judged.column_by_name(CONTROL).and_then(|column| column.as_boolean_opt());
        let is_control = |row: usize| controls.is_some_and(|controls| controls.value(row));
        let (mut waits, mut waiting, mut traces) = (Vec::new(), Vec::new(), Vec::new());
        let positions = record::positions(&judged).unwrap_or_default();
        for row in 0..judged.num_rows() {
            let held = positions.get(row).and_then(|position| self.held.remove(position));
            let found = held.filter(|_| !is_control(row)).and_then(|(target, source, packets)| {
                let (sought, trace) = trace(plan, locate, &words, row, &target, packets)?;
                Some((sought, trace, target, source))
            });
            waits.push(found.is_some());
            if let Some((sought, trace, target, source)) = found {
                let (pair, target_at) = (trace.pair.clone(), trace.at.ip());
                waiting.push(Waiting { sought, pair, source, target: target_at });
                traces.push((target, trace));
            }
        }
        if traces.is_empty() {
            return Ok((judged, traces));
        }
        let rows =
            |of: bool| waits.iter().map(|waits| Some(*waits == of)).collect::<BooleanArray>();
        let others = filter_record_batch(&judged, &rows(false)).map_err(failed)?;
        let records = filter_record_batch(&judged, &rows(true)).map_err(failed)?;
        self.groups.insert(id, (records, waiting));
        Ok((others, traces))
    }

    /// Takes the results of a group; `None` for a search that the end of the run stopped, whose record is dropped. Returns the
    /// records, judged with them.
    pub fn finish(
        &mut self,
        (plan, networks): (&Plan, &Networks),
        schema: &SchemaRef,
        id: u64,
        located: Vec<Option<Located>>,
    ) -> Result<RecordBatch> {
        let (Some((records, waiting)), Some(locate)) = (self.groups.remove(&id), &plan.locate)
        else {
            return Err(Error::Failed(format!("locate: there is no group {id}")));
        };
        let is_done: BooleanArray = located.iter().map(|one| Some(one.is_some())).collect();
        let rows = waiting
            .into_iter()
            .zip(located)
            .filter_map(|(waiting, located)| Some(complete(locate, networks, &waiting, located?)));
        let rows: Vec<Located> = rows.collect();
        let records = filter_record_batch(&records, &is_done).map_err(failed)?;
        // Without the columns that judging added.
        let mut columns = records.columns()[..schema.fields().len()].to_vec();
        let place = schema.index_of(LOCATE).map_err(failed)?;
        columns[place] = column(schema, &rows).map_err(failed)?;
        let records = RecordBatch::try_new(schema.clone(), columns).map_err(failed)?;
        plan.rules.judge(&records)
    }
}

/// The struct `locate` with these rows.
///
/// # Errors
/// If the schema has none.
pub fn column(schema: &SchemaRef, rows: &[Located]) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = schema.field_with_name(LOCATE)?.data_type() else {
        return Err(ArrowError::SchemaError(format!("{LOCATE} is not a struct")));
    };
    Ok(Arc::new(StructArray::try_new(fields.clone(), Located::collect(rows), None)?))
}

/// The words of the conditions of all labels to locate.
fn words(locate: &Locate, judged: &RecordBatch) -> Vec<Option<StringArray>> {
    let verdict = judged.column_by_name("verdict").and_then(|verdict| verdict.as_struct_opt());
    let of = |sought: &Sought| rule::words(verdict?.column_by_name(&sought.column)?).ok();
    locate.labels.iter().map(of).collect()
}

/// The first label to locate that a record has, by its number, and the search for it.
fn trace(
    plan: &Plan,
    locate: &Locate,
    words: &[Option<StringArray>],
    row: usize,
    target: &Target,
    mut packets: Packets,
) -> Option<(usize, Trace)> {
    let has = |(number, sought): &(usize, &Sought)| {
        let words = words.get(*number).and_then(Option::as_ref);
        words.is_some_and(|words| words.is_valid(row) && words.value(row) == sought.word)
    };
    let (number, sought) = locate.labels.iter().enumerate().find(has)?;
    let experiment = plan.configs.iter().position(|config| config.name == sought.experiment)?;
    let at = record::address(target)?;
    let mut packet = |of: usize| packets.get_mut(of).and_then(Option::take);
    let pair = match experiment {
        0 => Pair::alone(packet(0)?),
        _ => Pair::new(packet(0)?, packet(experiment)?)?,
    };
    let feature = pair.feature() ^ (experiment as u64) << 56;
    let name = target.name.clone();
    Some((number, Trace { at, name, pair: Arc::new(pair), goal: sought.goal, feature }))
}

/// Adds to a result what the label and the packets say.
fn complete(locate: &Locate, networks: &Networks, waiting: &Waiting, located: Located) -> Located {
    let origin = |address: Option<IpAddr>| networks.origin(address?);
    let Some(sought) = locate.labels.get(waiting.sought) else { return located };
    // The packet that quote_min is about: their headers may differ in length.
    let quoted = match (located.answered_one, located.quote_min) {
        (None | Some(0), Some(_)) => Side::Zero,
        _ => Side::One,
    };
    Located {
        label: Some(sought.label.clone()),
        subject: Some(sought.subject.clone()),
        experiment: crate::record::CONFIGURATIONS
            .iter()
            .find(|name| **name == sought.experiment)
            .copied(),
        source_as: origin(waiting.source),
        target_as: origin(Some(waiting.target)),
        same_as: origin(located.same_from),
        changed_as: origin(located.changed_from),
        copied: Some(waiting.pair.copied()),
        fields: Some(waiting.pair.fields()),
        header: Some(waiting.pair.of(quoted).header()),
        ..located
    }
}

fn failed(why: ArrowError) -> Error {
    Error::failed("hold records for the search of a label's place", why)
}
