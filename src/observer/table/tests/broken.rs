//! Functions that panic: no flow has wrong facts, and the other flows keep theirs.

use super::*;
use crate::barrier;
use crate::chain::{Admission, Closed, Group, Visit};
use crate::observer::groups::Groups;
use arrow_array::ArrayRef;

/// Where it panics, by the port of the flow.
const AT_OPEN: u16 = 1001;
const AT_PACKET: u16 = 1002;
const AT_ROW: u16 = 1003;
const AT_CLOSE: u16 = 1004;
const AT_TAKE: u16 = 1005;
const IN_COLUMNS: u16 = 1006;

/// A group without columns. It is called last, so that the other groups are one step ahead when it panics.
#[derive(Default)]
struct Panics {
    open: Vec<(usize, u16)>,
    closed: Vec<u16>,
}

impl Panics {
    fn port(&self, slot: usize) -> u16 {
        self.open.iter().rev().find(|(open, _)| *open == slot).unwrap().1
    }
}

impl Group for Panics {
    fn open(&mut self, slot: usize, key: &FlowKey, _: &Packet<'_>) -> Admission {
        assert_ne!(key.source.1, AT_OPEN);
        self.open.push((slot, key.source.1));
        Admission::Watch
    }

    fn packets(&mut self, _: &[Packet<'_>], visits: &[Visit]) -> u64 {
        visits.iter().for_each(|visit| assert_ne!(self.port(visit.slot), AT_PACKET));
        0
    }

    fn close(&mut self, slots: &[u32]) {
        for slot in slots {
            let port = self.port(*slot as usize);
            assert_ne!(port, AT_CLOSE);
            self.closed.push(port);
        }
    }

    fn take(&mut self) -> Box<dyn Closed> {
        assert!(!self.closed.contains(&AT_TAKE));
        Box::new(Taken(std::mem::take(&mut self.closed)))
    }
}

struct Taken(Vec<u16>);

impl Closed for Taken {
    fn columns(&self, keys: &[FlowKey], wanted: Option<&[bool]>) -> Vec<ArrayRef> {
        assert_eq!(self.0.len(), keys.len());
        (0..keys.len()).filter(|place| wanted.is_none_or(|w| w[*place])).for_each(|place| {
            assert_ne!(self.0[place], IN_COLUMNS);
            self.check(place, &keys[place]);
        });
        Vec::new()
    }

    fn check(&self, place: usize, key: &FlowKey) {
        assert_eq!(self.0[place], key.source.1, "rows and keys match");
        assert_ne!(self.0[place], AT_ROW);
    }
}

fn groups(selection: &Selection) -> Vec<Box<dyn Group>> {
    let mut all: Vec<_> = selection.groups().map(|group| (group.new)(selection.clone())).collect();
    all.push(Box::new(Panics::default()));
    all
}

/// A SYN of each of these ports, all in one call, then of each a second packet.
fn flows(ports: &[u16]) -> Bench {
    barrier::install();
    let mut bench = Bench::new(Limits::default());
    let selection = Selection::everything();
    let groups = Groups::made_by(&selection, groups);
    bench.table = FlowTable::watched_by(groups, &selection, Limits::default());
    let (us, them): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    for (at, flags) in [(0, SYN), (1, flag::ACK)] {
        let packets: Vec<_> =
            ports.iter().map(|port| segment(at, us, them, (*port, 80), flags)).collect();
        bench.table.packets(&packets);
    }
    bench
}

/// By port: whether the flow is flagged, and how many packets it had.
fn facts(bench: &mut Bench) -> Vec<(u16, bool, Option<i64>)> {
    bench.table.flush(|_| true);
    let Flows { keys, flags, columns, .. } = bench.table.take().into_flows();
    let batch = RecordBatch::try_new(bench.schema.clone(), columns).unwrap();
    let packets = batch.column_by_name("pkt_fwd").unwrap();
    let packets = packets.as_any().downcast_ref::<Int64Array>().unwrap();
    let mut facts: Vec<_> = (0..keys.len())
        .map(|row| {
            let flagged = flags[row].has(Flag::InternalError);
            let nothing = batch.columns().iter().all(|column| column.is_null(row));
            assert_eq!(flagged, nothing, "all facts, or none and the flag");
            (keys[row].source.1, flagged, packets.is_valid(row).then(|| packets.value(row)))
        })
        .collect();
    facts.sort_unstable();
    facts
}

const GOOD: [u16; 3] = [1, 2, 3];

/// The facts of good flows and of a bad one between them.
fn around(bad: u16) -> Vec<(u16, bool, Option<i64>)> {
    facts(&mut flows(&[GOOD[0], bad, GOOD[1], GOOD[2]]))
}

fn good() -> Vec<(u16, bool, Option<i64>)> {
    GOOD.map(|port| (port, false, Some(2))).into()
}

#[test]
fn without_a_panic_all_have_their_facts() {
    let expected = [good(), vec![(1999, false, Some(2))]].concat();
    assert_eq!(around(1999), expected);
}

#[test]
fn a_panic_at_the_first_packet_costs_that_flow() {
    assert_eq!(around(AT_OPEN), [good(), vec![(AT_OPEN, true, None)]].concat());
}

#[test]
fn a_panic_at_a_packet_costs_the_flows_of_that_call() {
    let mut bench = flows(&[GOOD[0], AT_PACKET]);
    // Of another call.
    bench.send(2, [192, 0, 2, 1].into(), GOOD[1], SYN);
    bench.send(3, [192, 0, 2, 1].into(), GOOD[1], flag::ACK);
    // Packets of flows that were given up reach no function.
    bench.send(4, [192, 0, 2, 1].into(), AT_PACKET, flag::ACK);
    let expected = [(GOOD[0], true, None), (GOOD[1], false, Some(2)), (AT_PACKET, true, None)];
    assert_eq!(facts(&mut bench), expected);
    // The same slots again.
    bench.send(5, [192, 0, 2, 1].into(), GOOD[0], SYN);
    assert_eq!(facts(&mut bench), [(GOOD[0], false, Some(1))]);
}

#[test]
fn a_panic_on_a_row_costs_that_flow() {
    assert_eq!(around(AT_ROW), [good(), vec![(AT_ROW, true, None)]].concat());
}

#[test]
fn a_panic_outside_of_rows_costs_all_flows_of_that_take() {
    assert!(around(IN_COLUMNS).iter().all(|(_, flagged, _)| *flagged));
}

#[test]
fn a_panic_at_close_costs_all_open_flows_and_no_later_ones() {
    for bad in [AT_CLOSE, AT_TAKE] {
        let mut bench = flows(&[GOOD[0], bad, GOOD[1]]);
        let expected = [GOOD[0], GOOD[1], bad].map(|port| (port, true, None));
        assert_eq!(facts(&mut bench), expected);
        bench.send(SECOND, [192, 0, 2, 1].into(), GOOD[2], SYN);
        assert_eq!(facts(&mut bench), [(GOOD[2], false, Some(1))]);
    }
}
