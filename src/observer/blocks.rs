//! pcapng files (draft-ietf-opsawg-pcapng), block by block.

use super::filter::Filter;
use super::frame::Counts;
use super::frames::{Frames, LARGEST, Parsed};
use super::interface::{Interface, LeftOut, Resolution};
use super::piece::Frame;
use crate::field::Timestamp;

/// Block types.
mod kind {
    /// The same in both byte orders.
    pub const SECTION: u32 = 0x0a0d_0d0a;
    pub const INTERFACE: u32 = 1;
    /// Obsolete, replaced by the Enhanced Packet Block.
    pub const PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const STATISTICS: u32 = 5;
    pub const ENHANCED_PACKET: u32 = 6;
    /// Blocks without packets: names, IRIG timestamps, ARINC 429, systemd journal, decryption secrets, Hone machine
    /// and connection, custom blocks, macOS processes.
    pub const OTHERS: [u32; 10] = [4, 7, 8, 9, 10, 0x101, 0x102, 0x0bad, 0x4000_0bad, 0x8000_0001];
    /// Sysdig's blocks: machine, processes, system calls; no packets.
    pub const SYSDIG: std::ops::RangeInclusive<u32> = 0x201..=0x221;
}

/// Codes of options.
mod option {
    pub const TSRESOL: u16 = 9;
    pub const TSOFFSET: u16 = 14;
    pub const EPB_DROPCOUNT: u16 = 4;
    pub const ISB_IFDROP: u16 = 5;
    pub const ISB_OSDROP: u16 = 7;
}

/// The byte-order magic of a section header.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Octets before a block's body: type and length.
const HEAD: usize = 8;
/// Octets before the packet data in a packet block.
const PACKET_HEAD: usize = 20;
/// Limit on the interfaces of a section.
const MOST: usize = 1 << 16;
/// The drop count of a Packet Block if it is not known.
const UNKNOWN_DROPS: u16 = 0xffff;

/// A pcapng file.
pub(super) struct Blocks {
    big: bool,
    interfaces: Vec<Interface>,
    filter: Option<Filter>,
    /// Dropped packets of earlier sections.
    dropped: u64,
}

impl Blocks {
    /// `None` if a file with this beginning is not pcapng.
    pub(super) fn open(bytes: &[u8], filter: Option<Filter>) -> Option<Self> {
        let begins = bytes.starts_with(&kind::SECTION.to_le_bytes());
        begins.then_some(Self { big: false, interfaces: Vec::new(), filter, dropped: 0 })
    }

    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Packets dropped during the capture, according to the file.
    pub(super) fn dropped(&self) -> u64 {
        self.interfaces.iter().fold(self.dropped, |sum, each| sum.saturating_add(each.dropped()))
    }

    /// Parses the complete blocks in the first `end` bytes of the piece.
    pub(super) fn parse(&mut self, frames: &mut Frames<'_>, end: usize) -> Parsed {
        let mut at = 0;
        loop {
            match self.block(frames, at, end) {
                Ok(Some(length)) => at += length,
                Ok(None) => return Parsed { bytes: at, end: Ok(()) },
                Err(why) => return Parsed { bytes: at, end: Err(why) },
            }
        }
    }

    /// Reads the block at `at`; returns its length, or `None` if it is not complete.
    #[inline]
    fn block(
        &mut self,
        frames: &mut Frames<'_>,
        at: usize,
        end: usize,
    ) -> Result<Option<usize>, String> {
        let bytes = &frames.piece.bytes[at..end];
        let Some(head) = bytes.first_chunk::<12>() else { return Ok(None) };
        let number = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        if number(0) == kind::SECTION.to_le_bytes() {
            self.big = match u32::from_be_bytes(number(8)) {
                BYTE_ORDER => true,
                swapped if swapped == BYTE_ORDER.swap_bytes() => false,
                _ => return Err("a section header has no valid byte order".into()),
            };
        }
        let (kind, length) = (self.u32(number(0)), self.u32(number(4)));
        if length > LARGEST {
            return Err("a block is larger than 64 MiB".into());
        }
        let length = length as usize;
        if length < HEAD + 4 || !length.is_multiple_of(4) {
            return Err("a block is damaged".into());
        }
        let Some(block) = bytes.get(..length) else { return Ok(None) };
        // The length is repeated at the end.
        if block[length - 4..] != number(4) {
            return Err("a block is damaged".into());
        }
        let body = at + HEAD..at + length - 4;
        if kind == kind::ENHANCED_PACKET {
            self.packet(frames, at, body, true);
            return Ok(Some(length));
        }
        if kind == kind::PACKET {
            self.packet(frames, at, body, false);
            return Ok(Some(length));
        }
        // The block may change the interfaces of the pending frame.
        frames.settle(&self.interfaces, Timestamp::UNKNOWN);
        let block = &frames.piece.bytes[body.clone()];
        match kind {
            kind::SECTION => {
                self.section(block)?;
                frames.section();
            }
            kind::INTERFACE => self.interface(block, frames.counts)?,
            kind::SIMPLE_PACKET => self.simple_packet(frames, at, body),
            kind::STATISTICS => self.statistics(block),
            kind if kind::OTHERS.contains(&kind) || kind::SYSDIG.contains(&kind) => {}
            kind => {
                frames.counts.unknown_blocks += 1;
                frames.counts.remark(format!("blocks of the unknown type {kind:#x} were skipped"));
            }
        }
        Ok(Some(length))
    }

    fn section(&mut self, body: &[u8]) -> Result<(), String> {
        self.dropped = self.dropped();
        self.interfaces.clear();
        match body.get(4..6) {
            Some([a, b]) if self.u16([*a, *b]) == 1 => Ok(()),
            Some([a, b]) => Err(format!("a section of version {}", self.u16([*a, *b]))),
            _ => Err("a block is damaged".into()),
        }
    }

    fn interface(&mut self, body: &[u8], counts: &mut Counts) -> Result<(), String> {
        let Some((head, options)) = body.split_first_chunk::<HEAD>() else {
            return Err("a block is damaged".into());
        };
        if self.interfaces.len() >= MOST {
            return Err(format!("a section has more than {MOST} interfaces"));
        }
        let linktype = self.u16([head[0], head[1]]);
        let octet = self.option(options, option::TSRESOL).and_then(|value| value.first()).copied();
        // The default is microseconds.
        let octet = octet.unwrap_or(6);
        let offset = self.option_u64(options, option::TSOFFSET).unwrap_or(0).cast_signed();
        let resolution = Resolution::from_option(octet, offset);
        let number = self.interfaces.len();
        let (mut interface, fits) = Interface::new(
            linktype,
            resolution.unwrap_or(Resolution::new(1, 0)),
            self.big,
            self.filter.as_mut(),
        );
        interface.snap_length = self.u32([head[4], head[5], head[6], head[7]]);
        if let Err(why) = fits {
            counts.remark(format!("the packets of interface {number} are left out: {why}"));
        }
        if resolution.is_none() {
            interface.left_out = Some(LeftOut::Times);
            let base = if octet & 0x80 == 0 { 10 } else { 2 };
            counts.remark(format!(
                "the packets of interface {number} are left out: timestamps in units of {base}^-{} s cannot be expressed in nanoseconds",
                octet & 0x7f
            ));
        }
        *counts.links.entry(linktype).or_default() += 1;
        self.interfaces.push(interface);
        Ok(())
    }

    /// An Enhanced Packet Block, or a Packet Block, where interface and drop count have 16 bits each.
    #[inline]
    fn packet(
        &mut self,
        frames: &mut Frames<'_>,
        record: usize,
        body: std::ops::Range<usize>,
        enhanced: bool,
    ) {
        let Some(head) = frames.piece.bytes[body.clone()].first_chunk::<PACKET_HEAD>() else {
            return self.broken_packet(frames);
        };
        let (numbers, _) = head.as_chunks::<4>();
        let [id, high, low, length, wire] = [0, 1, 2, 3, 4].map(|place| self.u32(numbers[place]));
        let (id, drops) = match enhanced {
            true => (id as usize, 0),
            false => {
                let [a, b, c, d] = numbers[0];
                (self.u16([a, b]).into(), self.u16([c, d]))
            }
        };
        let (at, length) = (body.start + PACKET_HEAD, length as usize);
        if id >= self.interfaces.len() || length > body.end - at {
            return self.broken_packet(frames);
        }
        let drops = match enhanced {
            // Most have no options.
            true if body.end - at < length.next_multiple_of(4) + 4 => 0,
            true => {
                let options = &frames.piece.bytes[at + length.next_multiple_of(4)..body.end];
                self.option_u64(options, option::EPB_DROPCOUNT).unwrap_or(0)
            }
            false if drops == UNKNOWN_DROPS => 0,
            false => drops.into(),
        };
        let interface = &mut self.interfaces[id];
        interface.dropped[0] = interface.dropped[0].saturating_add(drops);
        let time = interface.resolution.time(u64::from(high) << 32 | u64::from(low));
        if time.is_none() && interface.left_out.is_none() {
            frames.counts.bad_times += 1;
        }
        let time = time.unwrap_or(Timestamp::UNKNOWN);
        frames.frame(&self.interfaces, id, record, Frame { time, at, length, wire });
    }

    /// A Simple Packet Block: it belongs to the first interface and has no timestamp.
    fn simple_packet(
        &mut self,
        frames: &mut Frames<'_>,
        record: usize,
        body: std::ops::Range<usize>,
    ) {
        let head = frames.piece.bytes[body.clone()].first_chunk::<4>();
        let (Some(wire), Some(interface)) = (head, self.interfaces.first()) else {
            return self.broken_packet(frames);
        };
        let wire = self.u32(*wire);
        let snap_length = match interface.snap_length {
            0 => u32::MAX,
            length => length,
        };
        let at = body.start + 4;
        let length = (wire.min(snap_length) as usize).min(body.end - at);
        let frame = Frame { time: Timestamp::UNKNOWN, at, length, wire };
        frames.frame(&self.interfaces, 0, record, frame);
    }

    /// A packet block that refers to an undescribed interface, or is shorter than its packet.
    #[cold]
    fn broken_packet(&self, frames: &mut Frames<'_>) {
        frames.settle(&self.interfaces, Timestamp::UNKNOWN);
        frames.counts.unknown_blocks += 1;
        let why = "a packet block refers to an interface that is not described, or is shorter than its packet";
        frames.counts.remark(why.into());
    }

    /// Interface Statistics: the packets dropped so far.
    fn statistics(&mut self, body: &[u8]) {
        let Some((head, options)) = body.split_first_chunk::<12>() else { return };
        let id = self.u32([head[0], head[1], head[2], head[3]]) as usize;
        let lost = |code| self.option_u64(options, code).unwrap_or(0);
        let lost = lost(option::ISB_IFDROP).saturating_add(lost(option::ISB_OSDROP));
        if let Some(interface) = self.interfaces.get_mut(id) {
            interface.dropped[1] = lost;
        }
    }

    /// The value of the first option with a code.
    fn option<'a>(&self, mut options: &'a [u8], wanted: u16) -> Option<&'a [u8]> {
        loop {
            let ([a, b, c, d], rest) = options.split_first_chunk()?;
            let (code, length) = (self.u16([*a, *b]), usize::from(self.u16([*c, *d])));
            match code {
                0 => return None,
                code if code == wanted => return rest.get(..length),
                _ => options = rest.get(length.next_multiple_of(4)..)?,
            }
        }
    }

    fn option_u64(&self, options: &[u8], wanted: u16) -> Option<u64> {
        let value = *self.option(options, wanted)?.first_chunk()?;
        Some(if self.big { u64::from_be_bytes(value) } else { u64::from_le_bytes(value) })
    }

    #[inline]
    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}
