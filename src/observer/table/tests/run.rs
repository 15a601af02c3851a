//! The table of a run: whose a flow is follows from who owns its ports.

use super::*;
use crate::packet::owner::{Owners, PortSet};

const PORT: u16 = 40_000;

/// A table for whose run `PORT` is claimed.
fn of_run() -> (Bench, Arc<Owners>) {
    let mut bench = Bench::new(Limits::default());
    let owners = Arc::new(Owners::default());
    owners.claim(protocol::TCP, PORT, ([192, 0, 2, 2], 80).into());
    bench.table = FlowTable::of_run(&Selection::everything(), Limits::default(), owners.clone());
    (bench, owners)
}

/// A segment between our port and the server with these sequence and acknowledgment numbers.
fn numbered(
    bench: &mut Bench,
    at: i64,
    out: bool,
    flags: u16,
    (sequence, acknowledgment): (u32, u32),
) {
    let (us, them): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let (source, destination) = if out { (us, them) } else { (them, us) };
    let ports = if out { (PORT, 80) } else { (80, PORT) };
    let mut packet = segment(at, source, destination, ports, flags);
    if let Transport::Tcp(tcp) = &mut packet.transport {
        (tcp.sequence, tcp.acknowledgment) = (sequence, acknowledgment);
    }
    bench.table.packet(&packet);
}

/// How many flows there are, and of the only one: its source port, packets in both directions, and the flags of the first
/// SYN-ACK.
fn only(bench: &mut Bench) -> (u16, [u64; 2], Option<u16>) {
    bench.table.flush(|_| true);
    let (keys, batch) = bench.take();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let packets = ["pkt_fwd", "pkt_rev"]
        .map(|column| batch[column].as_any().downcast_ref::<UInt64Array>().unwrap().value(0));
    (keys[0].source.1, packets, synflags(&batch, "tcp_synflags_rev"))
}

#[test]
fn packets_of_strangers_are_no_flows() {
    let (mut bench, owners) = of_run();
    bench.packet(1, PORT + 1, true, SYN, 0, 0);
    let (stranger, us) = ([203, 0, 113, 1].into(), [192, 0, 2, 1].into());
    bench.table.packet(&segment(2, stranger, us, (80, PORT), SYNACK));
    assert!(bench.table.is_empty());
    assert_eq!(bench.table.strangers(), 2);
    owners.release(&PortSet::from_iter([PORT]));
    bench.packet(3, PORT, true, SYN, 0, 0);
    assert!(bench.table.is_empty(), "its claim has ended");
}

#[test]
fn a_late_answer_before_our_syn_does_not_turn_the_flow_round() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, false, SYNACK, (1000, 2000));
    // The kernel's reset of it, then our own connection.
    numbered(&mut bench, 2, true, flag::RST, (2000, 0));
    numbered(&mut bench, 3, true, SYN, (50, 0));
    numbered(&mut bench, 4, false, SYNACK | flag::ECE, (7, 51));
    numbered(&mut bench, 5, true, flag::ACK, (51, 8));
    assert_eq!(only(&mut bench), (PORT, [2, 1], Some(SYNACK | flag::ECE)));
}

#[test]
fn a_late_answer_after_our_syn_is_no_fact() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, true, SYN, (50, 0));
    numbered(&mut bench, 2, false, SYNACK, (1000, 2000));
    numbered(&mut bench, 3, true, flag::RST, (2000, 0));
    // Sent again since the reset was for another connection; it is the same one.
    numbered(&mut bench, SECOND, true, SYN, (50, 0));
    numbered(&mut bench, SECOND + 1, false, SYNACK | flag::ECE, (7, 51));
    assert_eq!(only(&mut bench), (PORT, [2, 1], Some(SYNACK | flag::ECE)));
    assert_eq!(bench.table.strangers(), 2);
}

#[test]
fn an_answer_without_our_syn_is_still_the_other_direction() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, false, SYNACK, (1000, 2000));
    assert_eq!(only(&mut bench), (PORT, [0, 1], Some(SYNACK)));
}

#[test]
fn a_flow_of_a_run_ends_when_its_wave_does() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, true, SYN, (50, 0));
    numbered(&mut bench, 2, false, flag::RST | flag::ACK, (0, 51));
    bench.table.advance(Timestamp(20 * SECOND));
    assert_eq!(bench.table.len(), 1);
    let flows = bench.table.take().into_flows();
    assert!(flows.keys.is_empty());
    bench.table.flush(|_| true);
    let flows = bench.table.take().into_flows();
    assert_eq!(flows.keys.len(), 1);
    assert_eq!(flows.exchanges[0].answered, Some(Timestamp(2)));
}
