//! pcapng, block by block.

use std::io::Read;

use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use super::frame::Interface;
use super::piece::Piece;
use crate::field::Timestamp;

/// Bytes of the buffer to begin with; it grows for larger blocks.
const BUFFER: usize = 1 << 17;
/// Bytes of the largest block that is read; no sane one is that large.
const LARGEST: usize = 64 << 20;

/// Bytes of data that a piece has, unless a frame is larger.
const ENOUGH: usize = 1 << 20;

/// A pcapng file, open for reading.
pub(super) struct Blocks {
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Whether more may come any time: what is there is taken in, however little it is.
    live: bool,
    interfaces: Vec<Interface>,
    filter: Option<String>,
}

impl Blocks {
    /// Reads the header; the error says what is wrong with it.
    pub(super) fn open(
        input: impl Read + Send + 'static,
        filter: Option<&str>,
        live: bool,
    ) -> Result<Self, String> {
        let reader = create_reader(BUFFER, input).map_err(|why| match why {
            PcapError::Eof => "it is empty".to_owned(),
            PcapError::HeaderNotRecognized => "it is neither pcap nor pcapng".to_owned(),
            PcapError::Incomplete(_) => "it ends within its header".to_owned(),
            other => format!("its header cannot be read: {other:?}"),
        })?;
        let filter = filter.map(str::to_owned);
        Ok(Self { reader, live, interfaces: Vec::new(), filter })
    }

    /// Bytes that were read before the next block.
    pub(super) fn consumed(&self) -> usize {
        self.reader.consumed()
    }

    /// Reads the next piece; says whether more may come. The error says why it cannot go on after the
    /// frames that are in the piece.
    pub(super) fn fill(&mut self, piece: &mut Piece) -> Result<bool, String> {
        piece.clear();
        piece.bytes.clear();
        while piece.bytes.len() < ENOUGH {
            match self.reader.next() {
                Ok((length, block)) => {
                    let frame = frame(&mut self.interfaces, self.filter.as_deref(), &block)?;
                    if let Some((interface, time, bytes)) = frame {
                        let at = piece.bytes.len();
                        piece.bytes.extend_from_slice(bytes);
                        piece.add(interface, time, at, bytes.len());
                    }
                    self.reader.consume_noshift(length);
                }
                Err(PcapError::Eof) => return Ok(false),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => {
                    if self.live && piece.frames() > 0 {
                        break;
                    }
                    self.refill()?;
                }
                Err(PcapError::UnexpectedEof) => return Err("the capture is cut off".to_owned()),
                Err(PcapError::ReadError) => return Err("it cannot be read on".to_owned()),
                Err(_) => return Err("a block is damaged".to_owned()),
            }
        }
        Ok(true)
    }

    /// Reads more, into a larger buffer if this one is full.
    fn refill(&mut self) -> Result<(), &'static str> {
        let before = self.reader.data().len();
        if self.reader.refill().is_err() {
            return Err("it cannot be read on");
        }
        if self.reader.data().len() > before || self.reader.reader_exhausted() {
            return Ok(());
        }
        if before >= LARGEST || !self.reader.grow((before * 2).clamp(BUFFER, LARGEST)) {
            return Err("a block is larger than 64 MiB");
        }
        Ok(())
    }
}

/// A frame: of which interface, when, what.
type Frame<'a> = (&'a Interface, Timestamp, &'a [u8]);

/// The frame of a block, if it has one; why it cannot be used, if it cannot.
fn frame<'a>(
    interfaces: &'a mut Vec<Interface>,
    filter: Option<&str>,
    block: &'a PcapBlockOwned<'a>,
) -> Result<Option<Frame<'a>>, String> {
    Ok(match block {
        PcapBlockOwned::NG(Block::SectionHeader(section)) => {
            if section.major_version != 1 {
                return Err(format!("a section of version {}", section.major_version));
            }
            interfaces.clear();
            None
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(about)) => {
            let per_second = about.ts_resolution().unwrap_or(1_000_000);
            let (linktype, offset) = (about.linktype.0, about.ts_offset());
            interfaces.push(Interface::new(linktype, per_second, offset, filter)?);
            None
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let id = usize::try_from(packet.if_id).ok();
            let interface = id.and_then(|id| interfaces.get(id));
            let interface = interface.ok_or("a packet of an interface that is not described")?;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            Some((interface, interface.time(ticks), packet.packet_data()))
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => interfaces
            .first()
            .map(|interface| (interface, Timestamp::UNKNOWN, packet.packet_data())),
        _ => None,
    })
}
