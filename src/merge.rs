//! The merge: attempts and flows become records.
//!
//! An attempt knows its flow's key before the first packet, so the merge is a look-up and a
//! `take`: an attempt whose flow was not seen takes nulls and says `observed = false`. A target
//! never loses its record here.
//!
//! Imports [`connect`](crate::connect), [`observer`](crate::observer), [`packet`](crate::packet),
//! [`flags`](crate::flags) and [`error`](crate::error).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StructArray, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::Fields;
use arrow::error::ArrowError;
use foldhash::fast::RandomState;

use crate::connect::{Attempt, AttemptColumns, Ended, reply_columns};
use crate::error::{Error, Result};
use crate::field::{FieldDef, Row as _};
use crate::flags::{Flag, Flags};
use crate::observer::Flows;
use crate::packet::FlowKey;

/// What is needed to find an attempt's flow; the source address is whatever the kernel chose.
#[derive(PartialEq, Eq, Hash)]
struct Tail {
    protocol: u8,
    port: u16,
    target: SocketAddr,
}

impl Tail {
    fn of(key: &FlowKey) -> Self {
        Self {
            protocol: key.protocol,
            port: key.source.1,
            target: SocketAddr::from(key.destination),
        }
    }
}

/// The records of a wave.
#[derive(Debug)]
pub struct Merged {
    /// One struct column per configuration, one row per target.
    pub configurations: Vec<StructArray>,
    /// For each target, what may be missing from its flows.
    pub flags: Vec<Flags>,
}

/// Puts flows to attempts, wave by wave.
#[derive(Debug)]
pub struct Merger {
    /// The fields of a configuration's struct.
    fields: Fields,
    /// The columns of the target's reply among them.
    reply: Vec<&'static FieldDef>,
    /// The protocol of each configuration's flows.
    protocols: Vec<u8>,
    /// Whether every configuration is like the first.
    control: bool,
    /// Flows of this wave that were complete before the wave before was merged.
    early: Flows,
    strays: u64,
}

impl Merger {
    /// For records whose configurations have these fields: those of [`Attempt`], `observed`, and
    /// those of the selected chain functions.
    ///
    /// `reply` are those of [`Reply`](crate::connect::Reply) that are kept, between the two; `protocols` are the IP
    /// protocols of the configurations' flows.
    pub fn new(fields: Fields, reply: Vec<&'static FieldDef>, protocols: Vec<u8>) -> Self {
        Self { fields, reply, protocols, control: false, early: Flows::default(), strays: 0 }
    }

    /// Whether the next wave is a control: every configuration is like the first.
    pub fn control(&mut self, control: bool) {
        self.control = control;
    }

    /// Flows that belonged to no attempt: other connections of this host, late answers.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Merges the attempts of a wave with their flows. `attempts` is by configuration,
    /// then by target, each target asked under every configuration. `later` are the source ports
    /// of the wave after this one, whose flows may already be among these; `repeated` those of attempts
    /// that were made once more, or for something else, and have no record. A target without an address has no flow.
    pub fn merge(
        &mut self,
        targets: &[Option<SocketAddr>],
        attempts: &[Vec<Ended>],
        flows: Flows,
        later: &[RangeInclusive<u16>],
        repeated: &[u16],
    ) -> Result<Merged> {
        let failed = |why: ArrowError| Error::failed("merge flows with attempts", why);
        let mut flows = join(std::mem::take(&mut self.early), flows).map_err(failed)?;
        let mut index = HashMap::with_capacity_and_hasher(flows.keys.len(), RandomState::default());
        for (row, key) in (0u32..).zip(&flows.keys) {
            if self.protocols.contains(&key.protocol)
                && let Some(before) = index.insert(Tail::of(key), row)
            {
                // Whatever ended the flow's first part early is true of the record.
                let before = flows.flags[before as usize];
                flows.flags[row as usize] |= before;
            }
        }
        let mut flags = vec![Flags::default(); targets.len()];
        let mut records = Vec::with_capacity(attempts.len());
        for (attempts, protocol) in attempts.iter().zip(&self.protocols) {
            let protocol = self.protocols.first().filter(|_| self.control).unwrap_or(protocol);
            let mut facts = AttemptColumns::default();
            let mut rows = Vec::with_capacity(targets.len());
            for ((Ended { attempt, .. }, target), flags) in
                attempts.iter().zip(targets).zip(&mut flags)
            {
                attempt.push(&mut facts);
                let (protocol, target) = (*protocol, *target);
                let flow = attempt.source_port.zip(target);
                let flow = flow.map(|(port, target)| Tail { protocol, port, target });
                let row = flow.and_then(|tail| index.remove(&tail));
                if let Some(row) = row {
                    *flags |= flows.flags[row as usize];
                }
                // What the observer gave up is as if it had not been seen.
                let known = |row: &u32| !flows.flags[*row as usize].has(Flag::InternalError);
                rows.push(row.filter(known));
            }
            let replies: Vec<_> = attempts.iter().map(|ended| ended.reply.as_deref()).collect();
            let mut facts = Attempt::finish(&mut facts);
            facts.extend(reply_columns(&replies, &self.reply));
            records.push(self.record(facts, rows, &flows.columns).map_err(failed)?);
        }
        index.retain(|tail, _| !repeated.contains(&tail.port));
        let unmatched: Vec<u32> = index.into_values().collect();
        let is_later = |row: &u32| {
            let port = flows.keys[*row as usize].source.1;
            later.iter().any(|range| range.contains(&port))
        };
        let early: Vec<u32> = unmatched.iter().copied().filter(is_later).collect();
        self.strays += (unmatched.len() - early.len()) as u64;
        self.early = pick(&flows, early).map_err(failed)?;
        Ok(Merged { configurations: records, flags })
    }

    fn record(
        &self,
        facts: Vec<ArrayRef>,
        rows: Vec<Option<u32>>,
        flows: &[ArrayRef],
    ) -> Result<StructArray, ArrowError> {
        let observed: BooleanArray = rows.iter().map(|row| Some(row.is_some())).collect();
        let rows = UInt32Array::from(rows);
        let mut columns = facts;
        columns.push(Arc::new(observed));
        for flow in flows {
            columns.push(take(flow, &rows, None)?);
        }
        StructArray::try_new(self.fields.clone(), columns, None)
    }
}

fn join(mut before: Flows, now: Flows) -> Result<Flows, ArrowError> {
    if before.keys.is_empty() {
        return Ok(now);
    }
    before.keys.extend(now.keys);
    before.flags.extend(now.flags);
    let pairs = before.columns.iter().zip(&now.columns);
    before.columns =
        pairs.map(|(a, b)| concat(&[a.as_ref(), b.as_ref()])).collect::<Result<_, _>>()?;
    Ok(before)
}

fn pick(flows: &Flows, rows: Vec<u32>) -> Result<Flows, ArrowError> {
    if rows.is_empty() {
        return Ok(Flows::default());
    }
    let keys = rows.iter().map(|row| flows.keys[*row as usize]).collect();
    let flags = rows.iter().map(|row| flows.flags[*row as usize]).collect();
    let rows = UInt32Array::from(rows);
    let columns =
        flows.columns.iter().map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?;
    Ok(Flows { keys, flags, columns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{Attempt, OBSERVED, State};
    use crate::packet::protocol;
    use arrow::array::{AsArray, UInt64Array};
    use arrow::datatypes::{DataType, Field, UInt64Type};

    fn fields() -> Fields {
        let facts = Attempt::FIELDS.iter().chain([&OBSERVED]).map(|field| field.arrow());
        facts.chain([Field::new("pkt_fwd", DataType::UInt64, true)]).collect()
    }

    fn target(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 80).into()
    }

    fn attempt(port: u16) -> Ended {
        let (ok, source_port) = (Some(true), Some(port));
        let attempt = Attempt { ok, state: State::Ok, source_port, ..Attempt::default() };
        Ended { attempt, reply: None }
    }

    fn merger() -> Merger {
        Merger::new(fields(), Vec::new(), vec![protocol::TCP, protocol::TCP])
    }

    fn flows(of: &[(u16, u8)]) -> Flows {
        let us = [198, 51, 100, 1].into();
        let key = |(port, host): &(u16, u8)| FlowKey {
            protocol: protocol::TCP,
            has_ports: true,
            source: (us, *port),
            destination: (target(*host).ip(), 80),
        };
        let packets: UInt64Array = of.iter().map(|(port, _)| Some(u64::from(*port))).collect();
        let flags = vec![Flags::default(); of.len()];
        Flows { keys: of.iter().map(key).collect(), flags, columns: vec![Arc::new(packets)] }
    }

    /// For each record: whether its flow was observed, and its packets.
    fn facts(record: &StructArray) -> Vec<(bool, Option<u64>)> {
        let observed = record.column_by_name("observed").unwrap().as_boolean().clone();
        let packets = record.column_by_name("pkt_fwd").unwrap().as_primitive::<UInt64Type>();
        packets.iter().enumerate().map(|(row, packets)| (observed.value(row), packets)).collect()
    }

    #[test]
    fn a_flow_that_was_not_seen_is_a_fact() {
        let mut merger = merger();
        let attempts = [vec![attempt(1), attempt(2), Ended::default()]];
        let targets = [1, 2, 3].map(target).map(Some);
        let merged = merger.merge(&targets, &attempts, flows(&[(2, 2)]), &[], &[]).unwrap();
        assert_eq!(
            facts(&merged.configurations[0]),
            [(false, None), (true, Some(2)), (false, None)]
        );
    }

    #[test]
    fn no_flows_at_all_still_give_every_record() {
        let mut merger = merger();
        let attempts = [vec![attempt(1)], vec![attempt(2)]];
        let merged = merger.merge(&[Some(target(1))], &attempts, flows(&[]), &[], &[]).unwrap();
        assert_eq!(merged.configurations.len(), 2);
        assert_eq!(facts(&merged.configurations[1]), [(false, None)]);
    }

    #[test]
    fn the_same_target_twice_has_two_flows() {
        let mut merger = merger();
        let attempts = [vec![attempt(1), attempt(2)]];
        let merged = merger
            .merge(
                &[Some(target(1)), Some(target(1))],
                &attempts,
                flows(&[(2, 1), (1, 1)]),
                &[],
                &[],
            )
            .unwrap();
        assert_eq!(facts(&merged.configurations[0]), [(true, Some(1)), (true, Some(2))]);
    }

    #[test]
    fn flows_of_the_next_wave_are_kept_for_it_and_strays_are_counted() {
        let mut merger = merger();
        let merge = |merger: &mut Merger, port, flows| {
            let attempts = [vec![attempt(port)]];
            let merged =
                merger.merge(&[Some(target(1))], &attempts, flows, &[50..=59], &[]).unwrap();
            facts(&merged.configurations[0])
        };
        let first = merge(&mut merger, 40, flows(&[(50, 1), (40, 1), (7, 1)]));
        assert_eq!(first, [(true, Some(40))]);
        assert_eq!(merger.strays(), 1);
        assert_eq!(merge(&mut merger, 50, flows(&[])), [(true, Some(50))]);
        assert_eq!(merger.strays(), 1);
    }

    #[test]
    fn a_flow_that_was_given_up_counts_as_not_observed() {
        let mut flows = flows(&[(2, 2), (1, 1), (2, 2)]);
        // Even if only its first part was.
        flows.flags[0] = Flag::InternalError.into();
        let attempts = [vec![attempt(1), attempt(2)]];
        let merged =
            merger().merge(&[1, 2].map(target).map(Some), &attempts, flows, &[], &[]).unwrap();
        assert_eq!(facts(&merged.configurations[0]), [(true, Some(1)), (false, None)]);
        assert_eq!(merged.flags, [Flags::default(), Flag::InternalError.into()]);
    }

    #[test]
    fn a_flow_in_two_parts_keeps_the_flags_of_both() {
        let mut flows = flows(&[(2, 2), (1, 1), (2, 2)]);
        flows.flags[0] = Flag::FlowEvicted.into();
        flows.flags[2] = Flag::ShortPacket.into();
        let attempts = [vec![attempt(1), attempt(2)]];
        let merged =
            merger().merge(&[1, 2].map(target).map(Some), &attempts, flows, &[], &[]).unwrap();
        let both = [Flag::FlowEvicted, Flag::ShortPacket].into_iter().collect();
        assert_eq!(merged.flags, [Flags::default(), both]);
    }
}
