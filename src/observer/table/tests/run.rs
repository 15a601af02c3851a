//! The table of a run: the claims on ports decide which flows it has.

use super::*;
use crate::packet::owner::{Owners, PortSet};
use arrow_array::Int64Array;

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

/// Of the only flow: its source port, packets in both directions, and the flags of the first
/// SYN-ACK.
fn only(bench: &mut Bench) -> (u16, [i64; 2], Option<u16>) {
    bench.table.flush(|_| true);
    let (keys, batch) = bench.take();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let packets = ["pkt_fwd", "pkt_rev"]
        .map(|column| batch[column].as_any().downcast_ref::<Int64Array>().unwrap().value(0));
    (keys[0].source.1, packets, synflags(&batch, "tcp_synflags_rev"))
}

#[test]
fn unrelated_packets_do_not_begin_flows() {
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
fn a_late_answer_before_our_syn_does_not_reverse_the_flow() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, false, SYNACK, (1000, 2000));
    // The kernel resets it; then comes our own connection.
    numbered(&mut bench, 2, true, flag::RST, (2000, 0));
    numbered(&mut bench, 3, true, SYN, (50, 0));
    numbered(&mut bench, 4, false, SYNACK | flag::ECE, (7, 51));
    numbered(&mut bench, 5, true, flag::ACK, (51, 8));
    assert_eq!(only(&mut bench), (PORT, [2, 1], Some(SYNACK | flag::ECE)));
}

#[test]
fn a_late_answer_after_our_syn_is_not_a_fact() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, true, SYN, (50, 0));
    numbered(&mut bench, 2, false, SYNACK, (1000, 2000));
    numbered(&mut bench, 3, true, flag::RST, (2000, 0));
    // A retransmission: the reset was for the earlier connection.
    numbered(&mut bench, SECOND, true, SYN, (50, 0));
    numbered(&mut bench, SECOND + 1, false, SYNACK | flag::ECE, (7, 51));
    assert_eq!(only(&mut bench), (PORT, [2, 1], Some(SYNACK | flag::ECE)));
    assert_eq!(bench.table.unexpected(), 2);
}

#[test]
fn packets_before_the_first_sent_packet_have_no_flow() {
    let (mut bench, _) = of_run();
    for flags in [SYNACK, SYN, flag::ACK, flag::RST] {
        numbered(&mut bench, 1, false, flags, (1000, 2000));
    }
    assert!(bench.table.is_empty());
    assert_eq!(bench.table.strangers(), 4);
}

#[test]
fn segments_before_the_syn_change_no_fact() {
    let facts = |in_advance: bool| {
        let (mut bench, _) = of_run();
        if in_advance {
            numbered(&mut bench, 1, false, flag::ACK, (1000, 2000));
            numbered(&mut bench, 2, true, flag::RST, (2000, 0));
        }
        numbered(&mut bench, 3, true, SYN, (50, 0));
        numbered(&mut bench, 4, false, SYNACK, (7, 51));
        numbered(&mut bench, 5, true, flag::ACK, (51, 8));
        bench.table.flush(|_| true);
        let Flows { flags, exchanges, columns, .. } = bench.table.take().into_flows();
        (flags, exchanges, columns)
    };
    assert_eq!(facts(true), facts(false));
}

#[test]
fn another_address_of_this_host_is_not_ours() {
    let (mut bench, owners) = of_run();
    owners.bind(PORT, [192, 0, 2, 1].into());
    let (other, them) = ([192, 0, 2, 9].into(), [192, 0, 2, 2].into());
    bench.table.packet(&segment(1, other, them, (PORT, 80), SYN));
    bench.table.packet(&segment(2, them, other, (80, PORT), SYNACK));
    assert!(bench.table.is_empty());
    assert_eq!(bench.table.strangers(), 2);
}

/// An ICMP error that quotes this packet.
fn error(at: i64, quote: &Packet<'static>, transport: &'static [u8]) -> Packet<'static> {
    let (router, us) = ([198, 51, 100, 1].into(), quote.ip.source);
    let mut packet = segment(at, router, us, (0, 0), 0);
    (packet.ip.protocol, packet.ports) = (protocol::ICMP, None);
    let quote = Some(Quote { ip: quote.ip, ports: quote.ports, transport });
    packet.transport = Transport::Icmp(Icmp::error(3, 3, quote));
    packet
}

#[test]
fn an_error_that_quotes_an_unsent_packet_is_not_a_fact() {
    for (quoted, fits) in [(&[0, 0, 0, 0, 0, 0, 0, 50], true), (&[0, 0, 0, 0, 0, 0, 0, 49], false)]
    {
        let (mut bench, _) = of_run();
        numbered(&mut bench, 1, true, SYN, (50, 0));
        let (us, them) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let syn = segment(1, us, them, (PORT, 80), SYN);
        bench.table.packet(&error(2, &syn, quoted));
        bench.table.flush(|_| true);
        assert_eq!(bench.table.unexpected(), u64::from(!fits));
        let Flows { exchanges, columns, .. } = bench.table.take().into_flows();
        let batch = RecordBatch::try_new(bench.schema.clone(), columns).unwrap();
        assert_eq!(flags(&batch, "icmp_unreachable", 0), fits);
        assert_eq!(exchanges[0].refused, fits);
        let unexpected = batch["pkt_unexpected_rev"].as_any().downcast_ref::<Int64Array>();
        assert_eq!(unexpected.unwrap().value(0), i64::from(!fits));
        let checked = batch["icmp_quote_checked"].as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(checked.iter().next().unwrap(), fits.then_some(4));
    }
}

#[test]
fn an_error_before_the_first_sent_packet_begins_no_flow() {
    let (mut bench, _) = of_run();
    let (us, them) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let theirs = segment(1, them, us, (80, PORT), SYN);
    let ours = segment(1, us, them, (PORT, 80), SYN);
    bench.table.packet(&error(1, &ours, &[0; 8]));
    // An error that this host's kernel sends.
    bench.table.packet(&error(2, &theirs, &[0; 8]));
    assert!(bench.table.is_empty());
}

#[test]
fn unrelated_fragments_are_not_kept() {
    let (mut bench, _) = of_run();
    for id in 0..100 {
        let (us, stranger) = ([192, 0, 2, 1].into(), [203, 0, 113, 1].into());
        let mut packet = segment(1, stranger, us, (80, PORT), flag::ACK);
        (packet.ip.id, packet.ip.fragment) = (Some(id), Some(0));
        bench.table.packet(&packet);
    }
    assert_eq!(bench.table.fragments.len(), (0, 0));
}

#[test]
fn a_flood_from_a_targets_address_takes_no_memory() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, true, SYN, (50, 0));
    for number in 0..200_000u32 {
        let flags = [SYN, SYNACK, flag::ACK, flag::RST][number as usize % 4];
        numbered(&mut bench, 2, false, flags, (number, number.wrapping_mul(77) | 1 << 20));
    }
    assert!(sizes(&bench.table).into_iter().all(|size| size <= 1));
    assert_eq!(bench.table.completed(), 0);
    assert_eq!(bench.table.unexpected(), 200_000);
}

#[test]
fn a_flow_of_a_run_ends_when_its_wave_does() {
    let (mut bench, _) = of_run();
    numbered(&mut bench, 1, true, SYN, (50, 0));
    numbered(&mut bench, 2, false, flag::RST | flag::ACK, (0, 51));
    bench.table.advance(Timestamp(200 * SECOND));
    assert_eq!(bench.table.len(), 1);
    let flows = bench.table.take().into_flows();
    assert!(flows.keys.is_empty());
    bench.table.flush(|_| true);
    let flows = bench.table.take().into_flows();
    assert_eq!(flows.keys.len(), 1);
    assert_eq!(flows.exchanges[0].answered, Some(Timestamp(2)));
}
