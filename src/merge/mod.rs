//! The merge: attempts and flows become records.
//!
//! An attempt knows its flow's key, so the merge is a look-up and a `take`: an attempt whose flow was not seen takes
//! nulls and has `observed = false`. A target never loses its record here. Before that, each attempt is corrected by
//! the packets of its flow ([`Correction`]).
//!
//! Imports [`connect`](crate::connect), [`observer`](crate::observer), [`packet`](crate::packet),
//! [`flags`](crate::flags) and [`error`](crate::error).

mod correct;
mod halves;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, StructArray, UInt32Array};
use arrow_schema::{ArrowError, Fields};
use arrow_select::{concat::concat, take::take};
use foldhash::fast::RandomState;

pub use correct::{Correction, Way};
pub use halves::Halves;

use crate::connect::{Attempt, AttemptColumns, Ended, State, reply_columns};
use crate::error::{Error, Result};
use crate::field::{FieldDef, Row as _};
use crate::flags::{Flag, Flags};
use crate::observer::Flows;
use crate::packet::FlowKey;
use crate::packet::owner::PortSet;

/// The key of an attempt's flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    protocol: u8,
    source: SocketAddr,
    target: SocketAddr,
}

impl Ends {
    fn of(key: &FlowKey) -> Self {
        Self {
            protocol: key.protocol,
            source: SocketAddr::from(key.source),
            target: SocketAddr::from(key.destination),
        }
    }

    /// The key of an attempt to a target. An attempt that does not know its source address takes that of the only
    /// flow from its port to the target, if there is exactly one.
    fn of_attempt(
        ended: &Ended,
        protocol: u8,
        target: SocketAddr,
        flows: &[FlowKey],
    ) -> Option<Self> {
        let port = ended.attempt.source_port?;
        let sought = |key: &&FlowKey| {
            (key.protocol, key.source.1, SocketAddr::from(key.destination))
                == (protocol, port, target)
        };
        let only = || -> Option<IpAddr> {
            let mut sources = flows.iter().filter(sought).map(|key| key.source.0);
            let first = sources.next()?;
            sources.all(|other| other == first).then_some(first)
        };
        let local = ended.local.or_else(only)?;
        Some(Self { protocol, source: SocketAddr::new(local, port), target })
    }
}

/// The records of a wave.
#[derive(Debug)]
pub struct Merged {
    /// One struct column per configuration, one row per target.
    pub configurations: Vec<StructArray>,
    /// For each target, what may be missing from its flows.
    pub flags: Vec<Flags>,
    /// The corrections, with the state that the socket reported.
    pub corrected: Vec<(State, Correction)>,
    /// The row of each attempt that was made and of which no packet was seen.
    pub unseen: Vec<usize>,
}

/// Assigns flows to attempts, wave by wave.
#[derive(Debug)]
pub struct Merger {
    /// The fields of a configuration's struct.
    fields: Fields,
    /// The columns of the target's reply among them.
    reply: Vec<&'static FieldDef>,
    /// How each configuration connects.
    ways: Vec<Way>,
    /// Whether every configuration is like the first.
    control: bool,
    /// The first port of the upper half.
    middle: u16,
    /// Outcomes of first rounds, over all configurations.
    halves: Halves,
    /// Flows of the next wave that were complete before this one was merged.
    early: Flows,
    strays: u64,
}

impl Merger {
    /// For records whose configurations have these fields: those of [`Attempt`], then `reply`, `observed`, and those
    /// of the selected chain functions.
    ///
    /// `reply` are the columns of [`Reply`](crate::connect::Reply) that are kept; `ways` say how the configurations
    /// connect; `middle` is the first port of the upper half of the run's source ports.
    pub fn new(fields: Fields, reply: Vec<&'static FieldDef>, ways: Vec<Way>, middle: u16) -> Self {
        let (early, halves) = (Flows::default(), Halves::default());
        Self { fields, reply, ways, control: false, middle, halves, early, strays: 0 }
    }

    /// Sets whether the next wave is a control wave: every configuration is like the first.
    pub fn control(&mut self, control: bool) {
        self.control = control;
    }

    /// Number of flows that belong to no attempt: other connections of this host, and late answers.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Merges the attempts of a wave with their flows, and corrects the attempts. `attempts` is indexed by
    /// configuration, then by target; each target is probed under every configuration. `ports` are the source ports
    /// of the wave: flows from others belong to the next wave. `repeated` are the ports of attempts that were
    /// repeated, or made for another purpose, and have no record. A target without an address has no flow. The first
    /// `again` targets are in a confirmation round.
    pub fn merge(
        &mut self,
        targets: &[Option<SocketAddr>],
        attempts: &mut [Vec<Ended>],
        flows: Flows,
        ports: &PortSet,
        repeated: &[u16],
        again: usize,
    ) -> Result<Merged> {
        let failed = |why: ArrowError| Error::failed("merge flows with attempts", why);
        let early = std::mem::take(&mut self.early);
        let waited = early.keys.len();
        let mut flows = join(early, flows).map_err(failed)?;
        let mut index = HashMap::with_capacity_and_hasher(flows.keys.len(), RandomState::default());
        for (row, key) in (0u32..).zip(&flows.keys) {
            if self.ways.iter().any(|way| way.protocol == key.protocol)
                && let Some(before) = index.insert(Ends::of(key), row)
            {
                // Whatever cut the flow's first part short also applies to the record.
                let (before, row) = (before as usize, row as usize);
                let flags = flows.flags[before];
                flows.flags[row] |= flags;
                if let [Some(first), Some(later)] =
                    [before, row].map(|row| flows.exchanges.get(row).copied())
                {
                    flows.exchanges[row] = first.and(later);
                }
            }
        }
        let mut flags = vec![Flags::default(); targets.len()];
        let mut records = Vec::with_capacity(attempts.len());
        let (mut corrected, mut unseen) = (Vec::new(), Vec::new());
        let mut rows: Vec<Vec<Option<u32>>> = Vec::with_capacity(attempts.len());
        for (attempts, way) in attempts.iter_mut().zip(&self.ways) {
            let way = self.ways.first().filter(|_| self.control).unwrap_or(way);
            let mut of_configuration = Vec::with_capacity(targets.len());
            let all = attempts.iter_mut().zip(targets).zip(&mut flags).enumerate();
            for (number, ((ended, target), flags)) in all {
                let (protocol, target) = (way.protocol, *target);
                let ends = target
                    .and_then(|target| Ends::of_attempt(ended, protocol, target, &flows.keys));
                let mut row = ends.and_then(|ends| index.remove(&ends));
                if let Some(row) = row {
                    *flags |= flows.flags[row as usize];
                }
                let was_made =
                    ended.attempt.state.is_conclusive() && ended.attempt.source_port.is_some();
                unseen.extend((was_made && row.is_none()).then_some(number));
                let exchange = row.and_then(|row| flows.exchanges.get(row as usize));
                // A flow that the observer gave up counts as not seen.
                row = row.filter(|row| !flows.flags[*row as usize].has(Flag::InternalError));
                if let Some(correction) = correct::correction(ended, exchange, way) {
                    corrected.push((ended.attempt.state, correction));
                    *flags |= correction.apply(ended, way);
                    row = None;
                }
                of_configuration.push(row);
            }
            rows.push(of_configuration);
        }
        self.doubt(attempts, again, &mut rows, &mut flags, &mut corrected);
        for (attempts, rows) in attempts.iter_mut().zip(rows) {
            attempts.iter_mut().for_each(|ended| ended.attempt.close());
            let mut facts = AttemptColumns::default();
            attempts.iter().for_each(|ended| ended.attempt.push(&mut facts));
            let replies: Vec<_> = attempts.iter().map(|ended| ended.reply.as_deref()).collect();
            let mut facts = Attempt::finish(&mut facts);
            facts.extend(reply_columns(&replies, &self.reply));
            records.push(self.record(facts, rows, &flows.columns).map_err(failed)?);
        }
        index.retain(|ends, _| !repeated.contains(&ends.source.port()));
        let unmatched: Vec<u32> = index.into_values().collect();
        // A flow that has waited for one wave already is a stray.
        let is_later = |row: &u32| {
            let row = *row as usize;
            row >= waited && !ports.contains(flows.keys[row].source.1)
        };
        let early: Vec<u32> = unmatched.iter().copied().filter(is_later).collect();
        self.strays += (unmatched.len() - early.len()) as u64;
        self.early = pick(&flows, early).map_err(failed)?;
        Ok(Merged { configurations: records, flags, corrected, unseen })
    }

    /// If outcomes depend on source ports, concludes nothing from failures in the worse half.
    fn doubt(
        &mut self,
        attempts: &mut [Vec<Ended>],
        again: usize,
        rows: &mut [Vec<Option<u32>>],
        flags: &mut [Flags],
        corrected: &mut Vec<(State, Correction)>,
    ) {
        /// Far below what chance produces in any number of runs; 24 targets reach it if half of the ports is
        /// filtered.
        const CERTAIN: f64 = 1e-6;
        let middle = self.middle;
        let known = |ended: &Ended| {
            let Attempt { state, source_port, .. } = ended.attempt;
            let conclusive = state.is_conclusive() && !ended.attempt.is_internal_error();
            source_port.filter(|_| conclusive).map(|port| (port >= middle, state == State::Ok))
        };
        // A target in a confirmation round looked broken before, which says nothing about ports.
        for attempts in attempts.iter() {
            let first = attempts.iter().skip(again).filter_map(known);
            first.for_each(|(is_high, is_ok)| self.halves.count(is_high, is_ok));
        }
        if self.halves.p() >= CERTAIN {
            return;
        }
        let worse = self.halves.is_high_worse();
        for ((attempts, way), rows) in attempts.iter_mut().zip(&self.ways).zip(rows) {
            for ((ended, row), flags) in attempts.iter_mut().zip(rows).zip(flags.iter_mut()) {
                if known(ended) == Some((worse, false)) {
                    corrected.push((ended.attempt.state, Correction::PortDependent));
                    *flags |= Correction::PortDependent.apply(ended, way);
                    *row = None;
                }
            }
        }
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
    before.exchanges.extend(now.exchanges);
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
    let exchanges =
        rows.iter().filter_map(|row| flows.exchanges.get(*row as usize).copied()).collect();
    let rows = UInt32Array::from(rows);
    let columns =
        flows.columns.iter().map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?;
    Ok(Flows { keys, flags, exchanges, columns, ..Flows::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{Attempt, OBSERVED, State};
    use crate::field::Timestamp;
    use crate::flags::Flag;
    use crate::observer::Exchange;
    use crate::packet::protocol;
    use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};
    use arrow_schema::{DataType, Field};
    use std::time::Duration;

    fn fields() -> Fields {
        let facts = Attempt::FIELDS.iter().chain([&OBSERVED]).map(|field| field.arrow());
        facts.chain([Field::new("pkt_fwd", DataType::Int64, true)]).collect()
    }

    fn target(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 80).into()
    }

    fn attempt(port: u16) -> Ended {
        let (ok, source_port) = (Some(true), Some(port));
        let attempt = Attempt { ok, state: State::Ok, source_port, ..Attempt::default() };
        Ended { attempt, ..Ended::default() }
    }

    fn merger() -> Merger {
        let timeout = Duration::from_secs(1);
        let way = Way { protocol: protocol::TCP, timeout, by_handshake: true };
        Merger::new(fields(), Vec::new(), vec![way; 2], 40_000)
    }

    fn flows(of: &[(u16, u8)]) -> Flows {
        let us = [198, 51, 100, 1].into();
        let key = |(port, host): &(u16, u8)| FlowKey {
            protocol: protocol::TCP,
            has_ports: true,
            source: (us, *port),
            destination: (target(*host).ip(), 80),
        };
        let packets: Int64Array = of.iter().map(|(port, _)| Some(i64::from(*port))).collect();
        let flags = vec![Flags::default(); of.len()];
        let exchanges = vec![Exchange::default(); of.len()];
        let keys = of.iter().map(key).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(packets)];
        Flows { keys, flags, exchanges, columns, ..Flows::default() }
    }

    fn ports(of: &[u16]) -> PortSet {
        of.iter().copied().collect()
    }

    /// For each record: whether its flow was observed, and its number of packets.
    fn facts(record: &StructArray) -> Vec<(bool, Option<i64>)> {
        let observed = record.column_by_name("observed").unwrap().as_boolean().clone();
        let packets = record.column_by_name("pkt_fwd").unwrap().as_primitive::<Int64Type>();
        packets.iter().enumerate().map(|(row, packets)| (observed.value(row), packets)).collect()
    }

    #[test]
    fn a_duration_is_the_difference_of_the_times() {
        let between = |started, ended| {
            let mut attempt = Attempt { started, ended, ..Attempt::default() };
            attempt.close();
            attempt.duration
        };
        assert_eq!(between(Timestamp(7), Timestamp(10)), Some(3));
        // The clock was set back.
        assert_eq!(between(Timestamp(10), Timestamp(7)), Some(-3));
        assert_eq!(between(Timestamp::UNKNOWN, Timestamp(7)), None);
        let mut attempts = [vec![attempt(1)]];
        let ended = &mut attempts[0][0].attempt;
        (ended.started, ended.ended) = (Timestamp(1), Timestamp(6));
        let merged = merger().merge(
            &[Some(target(1))],
            &mut attempts,
            flows(&[(1, 1)]),
            &ports(&[1]),
            &[],
            0,
        );
        let record = &merged.unwrap().configurations[0];
        let duration = record.column_by_name("duration").unwrap().as_primitive::<Int64Type>();
        assert_eq!(duration.value(0), 5);
    }

    #[test]
    fn a_flow_that_was_not_seen_is_a_fact() {
        let mut merger = merger();
        let mut attempts = [vec![attempt(1), attempt(2), Ended::default()]];
        let targets = [1, 2, 3].map(target).map(Some);
        let (flows, ports) = (flows(&[(2, 2)]), ports(&[1, 2]));
        let merged = merger.merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
        assert_eq!(
            facts(&merged.configurations[0]),
            [(false, None), (true, Some(2)), (false, None)]
        );
    }

    #[test]
    fn no_flows_at_all_still_give_every_record() {
        let mut merger = merger();
        let mut attempts = [vec![attempt(1)], vec![attempt(2)]];
        let (targets, ports) = ([Some(target(1))], ports(&[1, 2]));
        let merged = merger.merge(&targets, &mut attempts, flows(&[]), &ports, &[], 0).unwrap();
        assert_eq!(merged.configurations.len(), 2);
        assert_eq!(facts(&merged.configurations[1]), [(false, None)]);
    }

    #[test]
    fn the_same_target_twice_has_two_flows() {
        let mut merger = merger();
        let mut attempts = [vec![attempt(1), attempt(2)]];
        let (flows, ports) = (flows(&[(2, 1), (1, 1)]), ports(&[1, 2]));
        let targets = [Some(target(1)), Some(target(1))];
        let merged = merger.merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
        assert_eq!(facts(&merged.configurations[0]), [(true, Some(1)), (true, Some(2))]);
    }

    #[test]
    fn flows_of_the_next_wave_are_kept_for_it_and_strays_are_counted() {
        let mut merger = merger();
        let merge = |merger: &mut Merger, port, flows| {
            let mut attempts = [vec![attempt(port)]];
            let (targets, ports) = ([Some(target(1))], ports(&[port, 7]));
            let merged = merger.merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
            facts(&merged.configurations[0])
        };
        let first = merge(&mut merger, 40, flows(&[(50, 1), (51, 1), (40, 1), (7, 1)]));
        assert_eq!(first, [(true, Some(40))]);
        assert_eq!(merger.strays(), 1);
        assert_eq!(merge(&mut merger, 50, flows(&[])), [(true, Some(50))]);
        assert_eq!(merger.strays(), 2, "what the next wave has no use for either is not kept");
    }

    #[test]
    fn a_flow_from_another_address_of_this_host_is_not_the_attempts_flow() {
        for (ours, expected) in [(1, Some(5)), (2, Some(6)), (3, None)] {
            let mut flows = flows(&[(5, 1), (6, 1)]);
            // Both from port 1, from different addresses.
            for (key, host) in flows.keys.iter_mut().zip([1, 2]) {
                key.source = ([198, 51, 100, host].into(), 1);
            }
            let local = Some([198, 51, 100, ours].into());
            let mut attempts = [vec![Ended { local, ..attempt(1) }]];
            let (targets, ports) = ([Some(target(1))], ports(&[1]));
            let mut merger = merger();
            let merged = merger.merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
            assert_eq!(facts(&merged.configurations[0]), [(expected.is_some(), expected)]);
            assert_eq!(merger.strays(), if expected.is_some() { 1 } else { 2 });
        }
    }

    #[test]
    fn a_flow_that_was_given_up_counts_as_not_observed() {
        let mut flows = flows(&[(2, 2), (1, 1), (2, 2)]);
        // Even if only its first part was given up.
        flows.flags[0] = Flag::InternalError.into();
        let (mut attempts, ports) = ([vec![attempt(1), attempt(2)]], ports(&[1, 2]));
        let targets = [1, 2].map(target).map(Some);
        let merged = merger().merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
        assert_eq!(facts(&merged.configurations[0]), [(true, Some(1)), (false, None)]);
        assert_eq!(merged.flags, [Flags::default(), Flag::InternalError.into()]);
        assert!(merged.unseen.is_empty(), "it is counted as given up");
    }

    #[test]
    fn a_flow_in_two_parts_keeps_the_flags_of_both() {
        let mut flows = flows(&[(2, 2), (1, 1), (2, 2)]);
        flows.flags[0] = Flag::FlowEvicted.into();
        flows.flags[2] = Flag::ShortPacket.into();
        let (mut attempts, ports) = ([vec![attempt(1), attempt(2)]], ports(&[1, 2]));
        let targets = [1, 2].map(target).map(Some);
        let merged = merger().merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
        let both = [Flag::FlowEvicted, Flag::ShortPacket].into_iter().collect();
        assert_eq!(merged.flags, [Flags::default(), both]);
    }
    #[test]
    fn attempts_that_this_host_spoiled_have_a_flag_and_no_facts() {
        let mut flows = flows(&[(1, 1), (2, 2)]);
        flows.exchanges[0].sent = Some(Timestamp(0));
        flows.exchanges[0].answered = Some(Timestamp(5));
        flows.exchanges[1].sent = Some(Timestamp(0));
        let mut attempts = [vec![attempt(1), attempt(2)]];
        for ended in &mut attempts[0] {
            (ended.attempt.ok, ended.attempt.state) = (Some(false), State::Timeout);
        }
        let (targets, ports) = ([1, 2].map(target).map(Some), ports(&[1, 2]));
        let merged = merger().merge(&targets, &mut attempts, flows, &ports, &[], 0).unwrap();
        assert_eq!(facts(&merged.configurations[0]), [(false, None), (true, Some(2))]);
        assert_eq!(merged.corrected, [(State::Timeout, Correction::NotDelivered)]);
        assert_eq!(merged.flags, [Flag::NotDelivered.into(), Flags::default()]);
        let [first, second] = &attempts[0][..] else { panic!() };
        assert_eq!((first.attempt.ok, first.attempt.state), (None, State::LocalError));
        assert_eq!((second.attempt.ok, second.attempt.state), (Some(false), State::Timeout));
    }
    #[test]
    fn failures_from_the_worse_half_of_the_ports_say_nothing() {
        // Thirty targets: the baseline and the experiment take turns with the high port.
        let high = |configuration: u8, host: u8| (host + configuration) % 2 == 1;
        let port = |configuration, host| if high(configuration, host) { 50_000 } else { 30_000 };
        let doubted = |fails: &dyn Fn(u8, u8) -> bool, again| {
            let attempts = |configuration| {
                let one = move |host| {
                    let mut ended = attempt(port(configuration, host));
                    if fails(configuration, host) {
                        (ended.attempt.ok, ended.attempt.state) = (Some(false), State::Timeout);
                    }
                    ended
                };
                (0..30).map(one).collect::<Vec<_>>()
            };
            let mut attempts = [attempts(0), attempts(1)];
            let all: Vec<(u16, u8)> =
                (0..2).flat_map(|c| (0..30).map(move |host| (port(c, host), host))).collect();
            let targets: Vec<_> = (0..30).map(|host| Some(target(host))).collect();
            let (flows, ports) = (flows(&all), ports(&[30_000, 50_000]));
            let mut merger = merger();
            let merged = merger.merge(&targets, &mut attempts, flows, &ports, &[], again).unwrap();
            let rows = merged.configurations.iter().map(facts);
            let facts: Vec<bool> = rows.flatten().map(|(observed, _)| observed).collect();
            let states = attempts.iter().flatten().map(|ended| ended.attempt.state);
            let doubted = states.zip(facts).filter(|(state, observed)| {
                assert_eq!(*state == State::LocalError, !observed);
                !observed
            });
            doubted.count()
        };
        assert_eq!(doubted(&high, 0), 30, "what comes to high ports is filtered");
        assert_eq!(doubted(&high, 30), 0, "further rounds are not counted");
        assert_eq!(doubted(&|configuration, _| configuration == 1, 0), 0, "the experiment fails");
        let also = |configuration, host| high(configuration, host) || host == 4;
        assert_eq!(doubted(&also, 0), 30, "a failure from the better half stands");
    }
}
