//! The table in virtual time.

use super::*;
use crate::observer::Flows;
use crate::packet::{Icmp, Ip, Quote, Tcp, Transport, protocol};
use arrow_array::{Array as _, BooleanArray, Int64Array, RecordBatch, UInt16Array};
use arrow_schema::{Field, Schema};
use std::net::IpAddr;
use std::sync::Arc;

const SECOND: i64 = 1_000_000_000;
const SYN: u16 = flag::SYN;
const SYNACK: u16 = flag::SYN | flag::ACK;
const FINACK: u16 = flag::FIN | flag::ACK;

struct Bench {
    table: FlowTable,
    schema: Arc<Schema>,
}

/// A segment without data. Each side's SYN has the sequence number 0, every other segment 1.
fn segment(
    at: i64,
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    flags: u16,
) -> Packet<'static> {
    Packet {
        time: Timestamp(at),
        clock: Timestamp(at),
        ip: Ip {
            source,
            destination,
            protocol: protocol::TCP,
            length: 40,
            traffic_class: 0,
            ttl: 64,
            evil: Some(false),
            dont_fragment: false,
            id: Some(0),
            flow_label: None,
            fragment: None,
        },
        ports: Some(ports),
        transport: Transport::Tcp(Tcp {
            flags,
            sequence: u32::from(flags & SYN == 0),
            acknowledgment: u32::from(flags & flag::ACK != 0),
            window: 1000,
            payload: 0,
            options: &[],
            whole: true,
            data: &[],
        }),
        flaw: None,
    }
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let selection = Selection::everything();
        let fields: Vec<Field> = selection.fields().map(|field| field.arrow()).collect();
        let table = FlowTable::new(&selection, limits);
        Self { table, schema: Arc::new(Schema::new(fields)) }
    }

    /// A packet of the connection from our `port` to the server, `out` or back.
    fn packet(&mut self, at: i64, port: u16, out: bool, flags: u16, payload: u32, ecn: u8) {
        let (us, them): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (source, destination) = if out { (us, them) } else { (them, us) };
        let ports = if out { (port, 80) } else { (80, port) };
        let mut packet = segment(at, source, destination, ports, flags);
        (packet.ip.length, packet.ip.traffic_class) = (40 + payload, ecn);
        if let Transport::Tcp(tcp) = &mut packet.transport {
            tcp.payload = payload;
        }
        self.table.packet(&packet);
    }

    /// A packet to our server.
    fn send(&mut self, at: i64, from: IpAddr, port: u16, flags: u16) {
        self.table.packet(&segment(at, from, [192, 0, 2, 2].into(), (port, 80), flags));
    }

    fn connection(&mut self, at: i64, port: u16, syn: u16, synack: u16) {
        self.packet(at, port, true, SYN | syn, 0, 0);
        self.packet(at + 1, port, false, SYNACK | synack, 0, 0);
        self.packet(at + 2, port, true, flag::ACK, 0, 0);
        self.packet(at + 3, port, false, flag::ACK, 20, 2);
        self.packet(at + 4, port, true, FINACK, 0, 0);
        self.packet(at + 5, port, false, FINACK, 0, 0);
    }

    fn take(&mut self) -> (Vec<FlowKey>, RecordBatch) {
        let flows = self.table.take().into_flows();
        let batch = RecordBatch::try_new(self.schema.clone(), flows.columns).unwrap();
        assert_eq!(flows.keys.len(), batch.num_rows());
        (flows.keys, batch)
    }
}

fn flags(batch: &RecordBatch, column: &str, row: usize) -> bool {
    batch[column].as_any().downcast_ref::<BooleanArray>().unwrap().value(row)
}

fn synflags(batch: &RecordBatch, column: &str) -> Option<u16> {
    let column = batch[column].as_any().downcast_ref::<UInt16Array>().unwrap();
    (!column.is_null(0)).then(|| column.value(0))
}

#[test]
fn a_flow_that_is_over_is_completed_after_the_delay() {
    let mut bench = Bench::new(Limits::default());
    bench.connection(1, 1000, flag::ECE | flag::CWR, flag::ECE);
    bench.table.advance(Timestamp(4 * SECOND));
    assert!(bench.take().0.is_empty(), "still within the expiry timeout");
    bench.packet(4 * SECOND, 1000, true, flag::ACK, 0, 0); // a late packet counts
    bench.table.advance(Timestamp(5 * SECOND + 6));
    let (keys, batch) = bench.take();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].source.1, 1000);
    let packets = batch["pkt_fwd"].as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!(packets.value(0), 4);
    for (column, expected) in [
        ("tcp_connected", true),
        ("tcp_fin_fwd", true),
        ("tcp_fin_rev", true),
        ("tcp_rst_rev", false),
        ("tcp_synack_ece", true),
        ("tcp_synack_cwr", false),
        ("ecn_ect0_data_rev", true),
        ("ecn_notect_data_rev", false),
        ("ecn_notect_data_fwd", false),
        ("ecn_ect0_syn_rev", false),
    ] {
        assert_eq!(flags(&batch, column, 0), expected, "{column}");
    }
}

#[test]
fn a_silent_flow_is_completed_when_idle_and_not_before() {
    let mut bench = Bench::new(Limits::default());
    bench.packet(1, 1000, true, SYN, 0, 0);
    bench.packet(20 * SECOND, 1000, true, SYN, 0, 0);
    bench.table.advance(Timestamp(31 * SECOND));
    assert_eq!(bench.table.len(), 1, "it had a packet at 20 s");
    bench.table.advance(Timestamp(50 * SECOND));
    assert_eq!(bench.take().0.len(), 1);
    assert!(bench.table.is_empty());
}

#[test]
fn first_and_last_syn_are_kept_apart() {
    let mut bench = Bench::new(Limits::default());
    bench.packet(1, 1000, true, SYN | flag::ECE | flag::CWR, 0, 0);
    bench.packet(SECOND, 1000, true, SYN, 0, 0); // the kernel's fallback
    bench.packet(SECOND + 1, 1000, false, SYNACK, 0, 0);
    bench.table.flush(|_| true);
    let (_, batch) = bench.take();
    assert_eq!(synflags(&batch, "tcp_synflags_fwd"), Some(SYN | flag::ECE | flag::CWR));
    assert_eq!(synflags(&batch, "tcp_synflags_last_fwd"), Some(SYN));
    assert_eq!(synflags(&batch, "tcp_synflags_rev"), Some(SYNACK));
    assert!(!flags(&batch, "tcp_connected", 0), "no ACK of ours yet");
}

#[test]
fn reused_ports_are_another_flow() {
    let mut bench = Bench::new(Limits::default());
    bench.connection(1, 1000, 0, 0);
    bench.connection(SECOND, 1000, 0, 0);
    bench.table.flush(|_| true);
    assert_eq!(bench.take().0.len(), 2);
}

#[test]
fn flush_completes_only_the_wanted_flows() {
    let mut bench = Bench::new(Limits::default());
    for port in 1000..1010 {
        bench.packet(i64::from(port), port, true, SYN, 0, 0);
    }
    bench.table.flush(|key| key.source.1 < 1004);
    assert_eq!(bench.take().0.len(), 4);
    assert_eq!(bench.table.len(), 6);
}

#[test]
fn a_full_table_evicts_its_oldest_flow_and_counts_it() {
    let mut bench = Bench::new(Limits { max_flows: 3, ..Limits::default() });
    for port in 0..10 {
        bench.packet(i64::from(port), 1000 + port, true, SYN, 0, 0);
    }
    assert_eq!((bench.table.len(), bench.table.evicted()), (3, 7));
    let (keys, _) = bench.take();
    assert_eq!(keys[0].source.1, 1000, "oldest first");
}

#[test]
fn finished_flows_that_are_not_taken_stay_within_the_bounds() {
    let mut bench = Bench::new(Limits { max_finished: 100, ..Limits::default() });
    for round in 0..1000 {
        bench.connection(round * 10 * SECOND, 1000, 0, 0);
        assert!(bench.table.completed() <= 100);
    }
    bench.table.flush(|_| true);
    assert_eq!(bench.table.lost(), 900);
    assert_eq!(bench.take().0.len(), 100);
    bench.connection(20_000 * SECOND, 1000, 0, 0);
    bench.table.flush(|_| true);
    assert_eq!((bench.take().0.len(), bench.table.lost()), (1, 900), "there is room again");
}

#[test]
fn a_refused_flow_is_ignored_and_counted() {
    let mut selection = Selection::everything();
    let (_, from_syn) = crate::chain::function("tcp_from_syn").unwrap();
    selection.place(from_syn, crate::chain::Chain::NewFlow);
    let mut bench = Bench::new(Limits::default());
    bench.table = FlowTable::new(&selection, Limits::default());
    bench.packet(1, 1000, false, flag::ACK, 9, 0); // older than the capture
    bench.packet(2, 1000, true, flag::ACK, 0, 0);
    bench.connection(3, 1001, 0, 0);
    bench.table.flush(|_| true);
    assert_eq!(bench.table.refused(), 1);
    let (keys, _) = bench.take();
    assert_eq!(keys.iter().map(|key| key.source.1).collect::<Vec<_>>(), [1001]);
}

#[test]
fn decreasing_or_overflowing_times_are_survived() {
    let mut bench = Bench::new(Limits::default());
    bench.packet(i64::MAX, 1000, true, SYN, 0, 0);
    bench.packet(i64::MIN, 1001, true, SYN, 0, 0);
    bench.table.advance(Timestamp(i64::MAX));
    bench.table.flush(|_| true);
    assert_eq!(bench.take().0.len(), 2);
}

/// The sizes of everything that grows with flows, except the columns, which the caller takes.
fn sizes(table: &FlowTable) -> [usize; 5] {
    [table.index.len(), table.flows.len(), table.free.len(), table.idle.len(), table.over.len()]
}

#[test]
fn a_flood_of_spoofed_syns_stays_within_the_bounds() {
    const MOST: usize = 100_000;
    let mut selection = Selection::default();
    selection.place_group(&crate::chain::basic::GROUP);
    let limits = Limits { max_flows: MOST, ..Limits::default() };
    let table = FlowTable::new(&selection, limits);
    let mut bench = Bench { table, schema: Arc::new(Schema::empty()) };
    for sender in 0..3_000_000u32 {
        bench.send(i64::from(sender) * 1000, IpAddr::from(sender.to_be_bytes()), 80, SYN);
        if sender % 8192 == 0 {
            assert!(sizes(&bench.table).into_iter().all(|size| size <= 2 * MOST + SPARE + 1));
            bench.table.take();
        }
    }
    assert_eq!(bench.table.len(), MOST);
    assert_eq!(bench.table.evicted(), 3_000_000 - MOST as u64);
}

#[test]
fn flows_that_end_and_begin_again_leave_no_entries() {
    let mut bench = Bench::new(Limits::default());
    // Its end, in the far future, stays at the head of the queues.
    bench.packet(i64::MAX, 999, true, flag::RST, 0, 0);
    for round in 0..50_000 {
        bench.packet(round, 1000, true, SYN, 0, 0);
        bench.packet(round, 1000, false, flag::RST, 0, 0);
        if round % 1000 == 0 {
            assert!(sizes(&bench.table).into_iter().all(|size| size <= SPARE + 5));
            bench.table.take();
        }
    }
    assert_eq!(bench.table.len(), 2);
}

#[test]
fn a_flood_of_first_fragments_is_bounded() {
    let mut bench = Bench::new(Limits { max_flows: 10, ..Limits::default() });
    for id in 0..200_000u32 {
        let (us, them) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut packet = segment(1, us, them, (7, 7), SYN);
        (packet.ip.id, packet.ip.fragment) = (Some(id), Some(0));
        bench.table.packet(&packet);
    }
    assert_eq!(bench.table.fragments.len(), (65_536, 65_536));
}

#[test]
fn what_may_be_missing_from_a_flow_is_flagged() {
    let mut bench = Bench::new(Limits { max_flows: 2, ..Limits::default() });
    bench.packet(1, 1000, true, SYN, 0, 0);
    bench.packet(2, 2000, true, SYN, 0, 0);
    // The header of the response is cut.
    let mut cut = segment(3, [192, 0, 2, 2].into(), [192, 0, 2, 1].into(), (80, 2000), SYNACK);
    cut.transport = Transport::Other;
    cut.flaw = Some(crate::packet::Unread::BadTransport);
    bench.table.packet(&cut);
    // The table is full: the first one is evicted.
    bench.packet(4, 3000, true, SYN, 0, 0);
    bench.table.flush(|_| true);
    let Flows { keys, flags, .. } = bench.table.take().into_flows();
    let mut flagged: Vec<_> = keys.iter().map(|key| key.source.1).zip(flags).collect();
    flagged.sort_by_key(|(port, _)| *port);
    let expected = [
        (1000, Flag::FlowEvicted.into()),
        (2000, Flag::ShortPacket.into()),
        (3000, Flags::default()),
    ];
    assert_eq!(flagged, expected);
}

#[test]
fn errors_that_quote_unsent_packets_stay_within_the_bounds() {
    const MOST: usize = 1000;
    let mut bench = Bench::new(Limits { max_flows: MOST, ..Limits::default() });
    for sender in 0..100_000u32 {
        let (router, us) = ([198, 51, 100, 1].into(), IpAddr::from(sender.to_be_bytes()));
        let quoted = segment(1, us, [192, 0, 2, 2].into(), (7, 7), SYN).ip;
        let mut packet = segment(1, router, us, (0, 0), 0);
        (packet.ip.protocol, packet.ports) = (protocol::ICMP, None);
        let quote = Some(Quote { ip: quoted, ports: Some((7, 7)), transport: &[] });
        packet.transport = Transport::Icmp(Icmp::error(11, 0, quote));
        bench.table.packet(&packet);
        if sender % 1024 == 0 {
            assert!(sizes(&bench.table).into_iter().all(|size| size <= 2 * MOST + SPARE + 1));
            bench.table.take();
        }
    }
    assert_eq!(bench.table.len(), MOST);
}

#[test]
fn a_batch_gives_the_same_result_as_single_packets() {
    let seconds = |time: i64| time * SECOND;
    // Timeouts from zero to longer than the capture.
    for (expiry, idle, most) in [(5, 30, 1000), (0, 30, 1000), (1, 2, 1000), (90, 30, 7), (0, 0, 3)]
    {
        let limits = Limits {
            expiry_timeout: seconds(expiry),
            idle_timeout: seconds(idle),
            max_flows: most,
            max_finished: usize::MAX,
            first_packets: false,
        };
        let (mut one, mut many) = (Bench::new(limits), Bench::new(limits));
        let (mut dice, mut time) = (0x2545_f491_4f6c_dd1du64, SECOND);
        let mut packets = Vec::new();
        for _ in 0..20_000 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            // Mostly the same second, sometimes later or earlier.
            time += [0, 0, 0, 1000, SECOND / 2, 3 * SECOND, -SECOND][(dice >> 40) as usize % 7];
            let (us, them) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
            let port = 1000 + (dice >> 20) as u16 % 20;
            let flags = [SYN, SYNACK, flag::ACK, FINACK, flag::RST][(dice >> 50) as usize % 5];
            packets.push(match dice & 1 {
                0 => segment(time, us, them, (port, 80), flags),
                _ => segment(time, them, us, (80, port), flags),
            });
        }
        packets.iter().for_each(|packet| one.table.packet(packet));
        packets.chunks(101).for_each(|some| many.table.packets(some));
        one.table.flush(|_| true);
        many.table.flush_oldest(usize::MAX);
        let (left, right) = (one.take(), many.take());
        assert!(left.0.len() > 20);
        // What was open at the end is completed in another order.
        let rows = |(keys, batch): &(Vec<FlowKey>, RecordBatch)| {
            let mut rows: Vec<String> = (0..keys.len())
                .map(|row| format!("{:?} {:?}", keys[row], batch.slice(row, 1)))
                .collect();
            rows.sort();
            rows
        };
        assert!(rows(&left) == rows(&right), "{expiry} {idle} {most}");
        assert_eq!(one.table.evicted(), many.table.evicted());
    }
}

#[test]
fn a_syn_of_the_other_side_begins_a_connection_unless_it_was_answered() {
    let flows = |end: u16, acknowledged: u32, sequence: u32| {
        let mut bench = Bench::new(Limits::default());
        let (us, them): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut last = segment(1, us, them, (1000, 80), end);
        let mut syn = segment(2, them, us, (80, 1000), SYN);
        if let (Transport::Tcp(last), Transport::Tcp(syn)) =
            (&mut last.transport, &mut syn.transport)
        {
            (last.acknowledgment, syn.sequence) = (acknowledged, sequence);
        }
        bench.table.packet(&last);
        bench.table.packet(&syn);
        bench.table.flush(|_| true);
        bench.take().0.len()
    };
    assert_eq!(flows(flag::RST | flag::ACK, 77, 5000), 2, "another connection");
    assert_eq!(flows(flag::RST | flag::ACK, 77, 76), 1, "the rejected SYN again");
    assert_eq!(flows(flag::RST | flag::ACK, 0, u32::MAX), 1, "sequence numbers wrap");
    assert_eq!(flows(flag::RST, 77, 76), 2, "it acknowledges nothing");
    assert_eq!(flows(flag::ACK, 77, 5000), 1, "the flow is not over");
}

#[test]
fn the_idle_timeout_does_not_depend_on_other_flows() {
    let silence = Limits::default().idle_timeout;
    for others in [0, 1, 50] {
        let mut bench = Bench::new(Limits::default());
        bench.packet(0, 1000, true, SYN, 0, 0);
        // Its new queue entry comes after those of flows that are due later.
        bench.packet(silence / 2, 1000, true, flag::ACK, 0, 0);
        for other in 0..others {
            bench.packet(silence - 1, 2000 + other, true, SYN, 0, 0);
        }
        bench.packet(silence, 999, true, SYN, 0, 0);
        bench.packet(silence * 3 / 2, 1000, true, flag::ACK, 0, 0);
        bench.table.flush(|_| true);
        let keys = bench.take().0;
        assert_eq!(keys.iter().filter(|key| key.source.1 == 1000).count(), 2, "{others}");
    }
}

#[test]
fn later_fragments_of_ipv6_are_known_by_addresses_and_identification() {
    let mut bench = Bench::new(Limits::default());
    let ends = [1, 2].map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
    let fragment = |at, offset, protocol, ports, id| {
        let mut packet = segment(at, ends[0], ends[1], (0, 0), 0);
        (packet.ip.protocol, packet.ip.fragment, packet.ip.id) = (protocol, Some(offset), Some(id));
        (packet.ports, packet.transport) = (ports, Transport::Other);
        packet
    };
    // Destination options come before UDP, and before ICMPv6, which has no ports.
    bench.table.packet(&fragment(1, 0, protocol::UDP, Some((5000, 6000)), 7));
    bench.table.packet(&fragment(2, 1000, 60, None, 7));
    bench.table.packet(&fragment(3, 0, protocol::ICMP6, None, 8));
    bench.table.packet(&fragment(4, 1000, 60, None, 8));
    bench.table.packet(&fragment(5, 1000, 60, None, 9));
    bench.table.flush(|_| true);
    let mut found: Vec<_> = bench.take().0.iter().map(|key| key.protocol).collect();
    found.sort_unstable();
    assert_eq!(found, [protocol::UDP, protocol::ICMP6, 60]);
}

#[test]
fn flows_that_are_live_when_the_clock_jumps_are_flagged() {
    let mut bench = Bench::new(Limits::default());
    bench.packet(0, 1000, true, SYN, 0, 0);
    bench.packet(20 * SECOND, 2000, true, SYN, 0, 0);
    bench.table.clock_step(Timestamp(31 * SECOND));
    bench.packet(32 * SECOND, 3000, true, SYN, 0, 0);
    bench.table.flush(|_| true);
    let Flows { keys, flags, .. } = bench.table.take().into_flows();
    let flagged = keys.iter().zip(flags).filter(|(_, flags)| flags.has(Flag::ClockStep));
    let ports: Vec<_> = flagged.map(|(key, _)| key.source.1).collect();
    assert_eq!(ports, [2000], "one was idle by then, one began later");
}

mod broken;
mod run;
