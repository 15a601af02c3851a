//! Files in memory, cut in many ways.

use std::io::{self, Read};

use super::*;
use crate::observer::filter::Filter;
use crate::observer::records::HEADER;
use crate::packet::Unread;

/// Returns its content in pieces of a few bytes.
struct Pieces(Vec<u8>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(self.0.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0.drain(..length);
        Ok(length)
    }
}

/// What was read of a file.
#[derive(Debug, PartialEq)]
struct Found {
    /// Time, clock and length of each packet; `None` where the clock jumped.
    packets: Vec<Option<(Timestamp, Timestamp, u32)>>,
    frames: u64,
    consumed: usize,
    end: Result<(), String>,
}

fn reader(bytes: &[u8], piece: usize, live: bool, filter: Option<&str>) -> Reader {
    let mut filter = filter.map(Filter::new);
    let (format, skip) = match Records::open(bytes, filter.as_mut()).unwrap() {
        Some(records) => (Format::Pcap(records), HEADER),
        None => (Format::PcapNg(Blocks::open(bytes, filter).unwrap()), 0),
    };
    Reader::new(format, skip, Box::new(Pieces(bytes[skip..].to_vec(), piece)), live)
}

fn read(reader: &mut Reader) -> (Found, usize) {
    let mut all = Found { packets: Vec::new(), frames: 0, consumed: 0, end: Ok(()) };
    let (mut piece, mut pieces) = (Piece::default(), 0);
    loop {
        let more = reader.fill(&mut piece);
        pieces += 1;
        all.frames += piece.frames();
        piece.deal(1);
        piece.read(0, |batch| {
            let packets = batch.packets().iter();
            all.packets.extend(packets.map(|each| Some((each.time, each.clock, each.ip.length))));
            all.packets.extend(batch.step.map(|_| None));
        });
        if more != Ok(true) {
            (all.consumed, all.end) = (reader.consumed(), more.map(drop));
            return (all, pieces);
        }
    }
}

/// What is read of a file however it is cut, and what was counted.
#[track_caller]
fn in_every_way(bytes: &[u8]) -> (Found, Counts) {
    let mut whole = reader(bytes, 1 << 30, false, None);
    let agreed = read(&mut whole).0;
    for (piece, live) in [(1, true), (7, true), (7, false), (1024, true), (1 << 16, false)] {
        assert_eq!(read(&mut reader(bytes, piece, live, None)).0, agreed, "{piece} {live}");
    }
    (agreed, whole.counts())
}

fn le(fields: &[u32]) -> Vec<u8> {
    fields.iter().flat_map(|field| field.to_le_bytes()).collect()
}

/// The header of a file of IP packets.
fn header() -> Vec<u8> {
    le(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101])
}

/// An IPv4 packet of this length.
fn packet(length: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 9, 0, 0, 64, 47, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.resize(length.max(20).into(), 0);
    packet
}

fn record(seconds: u32, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    [&le(&[seconds, 0, length, length]), data].concat()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let length = padded.len() as u32 + 12;
    [&le(&[kind, length])[..], &padded, &le(&[length])].concat()
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &le(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]))
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let mut option = [code.to_le_bytes(), (value.len() as u16).to_le_bytes()].concat();
    option.extend(value);
    option.resize(option.len().next_multiple_of(4), 0);
    option
}

/// An interface of IP packets whose times are in seconds, unless options say otherwise.
fn interface(snap_length: u32, options: &[u8]) -> Vec<u8> {
    let options = if options.is_empty() { option(9, &[0]) } else { options.to_vec() };
    block(1, &[&le(&[101, snap_length]), &options[..]].concat())
}

/// An Enhanced Packet Block, or a Packet Block if there is a drop count.
fn packet_block(id: u16, drops: Option<u16>, ticks: u64, data: &[u8], options: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    let (kind, first) = match drops {
        None => (6, u32::from(id)),
        Some(drops) => (2, u32::from(id) | u32::from(drops) << 16),
    };
    let mut body = le(&[first, (ticks >> 32) as u32, ticks as u32, length, length]);
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    block(kind, &[&body[..], options].concat())
}

fn enhanced(id: u16, ticks: u64) -> Vec<u8> {
    packet_block(id, None, ticks, &packet(21), &[])
}

#[test]
fn records_come_whole_however_they_are_cut() {
    let records = (0..50).flat_map(|each| record(each, &packet(20 + each as u16)));
    let bytes = [header(), records.collect()].concat();
    let (read, counts) = in_every_way(&bytes);
    assert_eq!((read.frames, read.consumed, read.end), (50, bytes.len(), Ok(())));
    let expected = (0..50).map(|each| Some((seconds(each), seconds(each), 20 + each as u32)));
    assert_eq!(read.packets, expected.collect::<Vec<_>>());
    assert_eq!(counts.packets, 50);
}

#[test]
fn a_live_input_is_not_waited_for() {
    let bytes = [header(), record(1, &packet(20)).repeat(3)].concat();
    let calls = |live| read(&mut reader(&bytes, 36, live, None)).1;
    // The last call reports the end.
    assert_eq!((calls(true), calls(false)), (4, 1));
}

#[test]
fn a_record_may_be_larger_than_a_window() {
    let large = vec![0xff; 5 << 20];
    for file in [
        [header(), record(1, &packet(20)), record(1, &large), record(1, &packet(30))].concat(),
        [section(), interface(0, &[]), packet_block(0, None, 1, &large, &[]), enhanced(0, 1)]
            .concat(),
    ] {
        let (read, _) = read(&mut reader(&file, 1 << 16, false, None));
        assert_eq!((read.consumed, read.end), (file.len(), Ok(())));
        assert!(read.packets.len() < read.frames as usize, "the large one has no packet");
    }
}

#[test]
fn truncated_and_invalid_records_are_reported_after_the_frames_before_them() {
    let (pcap, ng) = (header(), [section(), interface(0, &[])].concat());
    let cut_off = || Err("the capture is cut off".to_owned());
    for (head, one) in [(&pcap, record(1, &packet(20))), (&ng, enhanced(0, 1))] {
        let file = [&head[..], &one, &one[..one.len() - 1]].concat();
        let (read, _) = in_every_way(&file);
        assert_eq!((read.frames, read.consumed), (1, head.len() + one.len()));
        assert_eq!(read.end, cut_off());
    }
    let mut endless =
        [&pcap[..], &record(1, &packet(20)), &le(&[1, 0, 65 << 20, 65 << 20])].concat();
    let (read, _) = in_every_way(&endless);
    assert_eq!((read.frames, read.end), (1, Err("a record is larger than 64 MiB".into())));
    endless = [&ng[..], &enhanced(0, 1), &le(&[6, 65 << 20, 0])].concat();
    let (read, _) = in_every_way(&endless);
    assert_eq!((read.frames, read.end), (1, Err("a block is larger than 64 MiB".into())));
}

#[test]
fn the_version_decides_the_order_of_lengths() {
    let record = |first: u32, second: u32| [&le(&[1, 0, first, second]), &packet(21)[..]].concat();
    let version = |version: u32, first, second| {
        let mut file = header();
        file[4..8].copy_from_slice(&version.to_le_bytes());
        file.extend(record(first, second));
        let (read, _) = in_every_way(&file);
        (read.frames, read.end.is_ok())
    };
    for wire_first in [0x0002_0002, 0x0000_0002, 543, 0x0003_0002] {
        assert_eq!(version(wire_first, 1500, 21), (1, true), "{wire_first:x}");
    }
    for captured_first in [0x0004_0002, 0x0003_0002] {
        assert_eq!(version(captured_first, 21, 1500), (1, true), "{captured_first:x}");
    }
    assert_eq!(version(0x0004_0002, 1500, 21), (0, false));
}

#[test]
fn the_filter_gets_the_length_on_the_wire() {
    let file =
        [&header()[..], &le(&[1, 0, 21, 1500]), &packet(21), &record(1, &packet(21))].concat();
    for (filter, frames) in [("greater 1000", 1), ("less 1000", 1), ("ip", 2), ("tcp", 0)] {
        let mut reader = reader(&file, 1024, false, Some(filter));
        let (read, _) = read(&mut reader);
        let counts = reader.counts();
        assert_eq!((read.packets.len(), counts.packets as usize), (frames, frames), "{filter}");
        assert_eq!(counts.filtered as usize, 2 - frames);
    }
}

#[test]
fn a_leap_waits_for_the_next_packet_however_the_input_is_cut() {
    let times: [u32; 9] = [10, 5000, 11, 9000, 9001, 9002, 20, 21, 900];
    let expected = [10, 10, 11, 9000, 9001, 9002, 9002, 9003, 9882];
    let records = times.iter().flat_map(|time| record(*time, &packet(20)));
    let pcap = [header(), records.collect()].concat();
    let blocks = times.iter().flat_map(|time| enhanced(0, u64::from(*time)));
    let ng = [section(), interface(0, &[]), blocks.collect()].concat();
    for file in [pcap, ng] {
        let (read, counts) = in_every_way(&file);
        let clocks = read.packets.iter().flatten().map(|(_, clock, _)| clock.0 / 1_000_000_000);
        assert_eq!(clocks.collect::<Vec<_>>(), expected);
        // The second timestamp was wrong; at the seventh the clock had been set back.
        let steps = read.packets.iter().enumerate().filter(|(_, each)| each.is_none());
        assert_eq!(steps.map(|(place, _)| place).collect::<Vec<_>>(), [2, 8]);
        assert_eq!((counts.clock_steps, counts.packets, read.end), (2, 9, Ok(())));
    }
}

#[test]
fn a_leap_at_the_end_or_before_another_block_is_a_silence() {
    let ng = [
        section(),
        interface(0, &[]),
        enhanced(0, 10),
        enhanced(0, 5000),
        // The interface of the packet before it is gone.
        section(),
        interface(0, &[]),
        enhanced(0, 6000),
    ];
    let (read, counts) = in_every_way(&ng.concat());
    let clocks: Vec<_> = read.packets.iter().flatten().map(|(_, clock, _)| *clock).collect();
    assert_eq!(clocks, [seconds(10), seconds(5000), seconds(6000)]);
    assert_eq!(counts.clock_steps, 0);
}

#[test]
fn every_block_with_a_packet_is_read_with_its_interface() {
    let microseconds = interface(0, &option(9, &[6]));
    let file = [
        section(),
        interface(22, &[]),
        microseconds,
        enhanced(0, 10),
        packet_block(1, Some(0xffff), 10_000_001, &packet(21), &[]),
        // As the first interface's snap length cuts it.
        block(3, &[&le(&[1500]), &packet(21)[..], &[0; 99]].concat()),
        enhanced(1, 10_000_002),
    ];
    let (read, counts) = in_every_way(&file.concat());
    let packets: Vec<_> =
        read.packets.iter().flatten().map(|(time, clock, _)| (time.0, clock.0)).collect();
    let ten = 10_000_000_000;
    let unknown = Timestamp::UNKNOWN.0;
    assert_eq!(
        packets,
        [(ten, ten), (ten + 1000, ten + 1000), (unknown, ten + 1000), (ten + 2000, ten + 2000)]
    );
    assert_eq!((counts.packets, counts.dropped, counts.unknown_blocks), (4, 0, 0));
}

#[test]
fn packets_that_were_lost_are_counted_once() {
    let drops = option(4, &7u64.to_le_bytes());
    let statistics = |dropped: u64| {
        let options = [option(5, &dropped.to_le_bytes()), option(7, &1u64.to_le_bytes())].concat();
        block(5, &[&le(&[1, 0, 0]), &options[..]].concat())
    };
    let file = [
        section(),
        interface(0, &[]),
        interface(0, &[]),
        packet_block(0, Some(5), 10, &packet(21), &[]),
        packet_block(0, Some(0xffff), 10, &packet(21), &[]),
        packet_block(1, None, 10, &packet(21), &drops),
        // It is cumulative and includes those that packets reported.
        statistics(3),
        statistics(9),
        section(),
        interface(0, &[]),
        packet_block(0, Some(1), 10, &packet(21), &[]),
    ];
    assert_eq!(in_every_way(&file.concat()).1.dropped, 5 + 10 + 1);
}

#[test]
fn unknown_blocks_are_counted_and_the_rest_is_read() {
    let broken = packet_block(0, None, 10, &packet(21), &[]);
    let mut longer = broken.clone();
    longer[20..24].copy_from_slice(&10_000u32.to_le_bytes());
    let file = [
        section(),
        // No interface is described yet.
        block(3, &le(&[4, 0x45])),
        interface(0, &[]),
        enhanced(7, 10),
        longer,
        block(6, &[1, 2, 3, 4]),
        block(0x0b0b, &[0; 40]),
        // Names, secrets, custom blocks have no packets.
        block(4, &[0; 8]),
        block(10, &[0; 8]),
        block(0xbad, &[0; 8]),
        enhanced(0, 10),
    ];
    let (read, counts) = in_every_way(&file.concat());
    assert_eq!((read.frames, read.end, counts.unknown_blocks), (1, Ok(()), 5));
    assert!(counts.remarks.iter().any(|remark| remark.contains("0xb0b")), "{:?}", counts.remarks);
}

#[test]
fn a_damaged_block_ends_the_file_after_the_frames_before_it() {
    let good = [section(), interface(0, &[]), enhanced(0, 10)].concat();
    let mut trailer = enhanced(0, 11);
    let last = trailer.len() - 4;
    trailer[last] ^= 1;
    for (bad, why) in [
        (trailer, "a block is damaged"),
        (le(&[6, 8, 8]), "a block is damaged"),
        (le(&[6, 33, 0]), "a block is damaged"),
        (block(0x0a0d_0d0a, &le(&[0, 1, 0, 0])), "a section header has no valid byte order"),
        (block(0x0a0d_0d0a, &le(&[0x1a2b_3c4d, 2, 0, 0])), "a section of version 2"),
    ] {
        let file = [&good[..], &bad, &enhanced(0, 12)].concat();
        let (read, _) = in_every_way(&file);
        assert_eq!((read.frames, read.consumed), (1, good.len()), "{why}");
        assert_eq!(read.end, Err(why.into()));
    }
}

#[test]
fn an_interface_whose_times_cannot_be_expressed_is_left_out() {
    let file = [
        section(),
        interface(0, &option(9, &[0x80 | 64])),
        interface(0, &[]),
        enhanced(0, 10),
        enhanced(1, 10),
        // In the year 292,277,026,596.
        enhanced(1, u64::MAX),
    ];
    let (read, counts) = in_every_way(&file.concat());
    let times: Vec<_> = read.packets.iter().flatten().map(|(time, ..)| *time).collect();
    assert_eq!(times, [seconds(10), Timestamp::UNKNOWN]);
    assert_eq!((counts.inexpressible, counts.bad_times, counts.packets), (1, 1, 2));
    assert!(counts.remarks[0].contains("2^-64 s"), "{:?}", counts.remarks);
}

#[test]
fn offsets_are_of_the_byte_order_of_the_section() {
    let offset = |bytes: [u8; 8]| [option(9, &[0]), option(14, &bytes)].concat();
    let mut file =
        [section(), interface(0, &offset((-5i64).to_le_bytes())), enhanced(0, 10)].concat();
    // The same section in the other byte order.
    let be =
        |fields: &[u32]| fields.iter().flat_map(|field| field.to_be_bytes()).collect::<Vec<u8>>();
    file.extend(be(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0x0001_0000, u32::MAX, u32::MAX, 28]));
    file.extend(be(&[
        1,
        40,
        101 << 16,
        0,
        9 << 16 | 1,
        0,
        14 << 16 | 8,
        u32::MAX,
        (-5i32) as u32,
        40,
    ]));
    let mut body = be(&[0, 0, 11, 24, 24]);
    body.extend(packet(24));
    file.extend([&be(&[6, 56])[..], &body, &be(&[56])].concat());
    let (read, _) = in_every_way(&file);
    let times: Vec<_> = read.packets.iter().flatten().map(|(time, ..)| *time).collect();
    assert_eq!((times, read.end), (vec![seconds(5), seconds(6)], Ok(())));
}

#[test]
fn frames_without_a_packet_are_counted_by_reason() {
    let mut file = le(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
    let arp = [&[2; 12], &[8, 6][..], &[0; 28]].concat();
    let short = [2; 13];
    let cut = [&[2; 12], &[8, 0][..], &packet(20)[..10]].concat();
    for frame in [&arp[..], &arp, &short, &cut] {
        file.extend(record(1, frame));
    }
    let (read, counts) = in_every_way(&file);
    assert_eq!((read.frames, read.packets.len(), counts.packets), (4, 0, 4));
    // The last one is found broken when it is dissected.
    assert_eq!(counts.unread[Unread::NotIp as usize], 2);
    assert_eq!(counts.unread[Unread::BadLink as usize], 1);
}
