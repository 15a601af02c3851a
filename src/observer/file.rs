//! Captures from files: pcap (of either byte order, microseconds or nanoseconds) and pcapng (several
//! sections and interfaces), plain, gzipped or compressed by zstd, told by what is in them.

use std::fs::File as OsFile;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use crate::error::{Error, Result};
use crate::field::Timestamp;
use crate::packet::Link;

/// Bytes of the buffer to begin with; it grows for larger blocks.
const BUFFER: usize = 1 << 17;
/// Bytes of the largest block that is read; no sane one is that large.
const LARGEST: usize = 64 << 20;

/// Frames that are handed out together, at most.
const TOGETHER: usize = 32;

/// One captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// When it was captured; [`Timestamp::UNKNOWN`] for a packet without a time (pcapng, 4.4).
    pub time: Timestamp,
    /// Its link type; `None` if it is one that is not understood.
    pub link: Option<Link>,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// A capture file, open for reading.
pub struct File {
    origin: String,
    reader: Box<dyn PcapReaderIterator + Send>,
    blocks: Blocks,
    position: Arc<AtomicU64>,
}

impl File {
    /// Opens a file, or standard input if the path is `-`. `filter` is in pcap's language.
    ///
    /// # Errors
    /// If it cannot be read, is no capture, or the filter cannot be compiled.
    pub fn open(path: &Path, filter: Option<&str>) -> Result<Self> {
        let stdin = path.as_os_str() == "-";
        let origin = if stdin { "standard input".to_owned() } else { path.display().to_string() };
        let unusable = |why: io::Error| Error::Usage(format!("read {origin}: {why}"));
        let raw: Box<dyn Read + Send> = if stdin {
            Box::new(io::stdin())
        } else {
            Box::new(OsFile::open(path).map_err(unusable)?)
        };
        if let Some(filter) = filter {
            // Once here, where a mistake in it can be told before anything is read.
            compile(1, filter).map_err(Error::Usage)?;
        }
        let position = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: raw, position: position.clone() };
        let reader = decompressed(counted).map_err(unusable)?;
        let reader = create_reader(BUFFER, reader).map_err(|why| {
            let why = match why {
                PcapError::Eof => "it is empty".to_owned(),
                PcapError::HeaderNotRecognized => "it is neither pcap nor pcapng".to_owned(),
                PcapError::Incomplete(_) => "it ends within its header".to_owned(),
                other => format!("its header cannot be read: {other:?}"),
            };
            Error::Usage(format!("read {origin}: {why}"))
        })?;
        let blocks =
            Blocks { interfaces: Vec::new(), pcap: None, filter: filter.map(str::to_owned) };
        Ok(Self { origin, reader, blocks, position })
    }

    /// Bytes of the file read so far, for progress.
    pub fn position(&self) -> Arc<AtomicU64> {
        self.position.clone()
    }

    /// Hands every frame to `each`, some at a time, until the end or until it says no.
    ///
    /// # Errors
    /// If the capture is damaged or ends within a packet: what came before has been handed out.
    pub fn read(&mut self, mut each: impl FnMut(&[Frame<'_>]) -> bool) -> Result<()> {
        loop {
            // Most of a pcap file is read here, without a block made of each record.
            let (length, go_on) = self.blocks.records(self.reader.data(), &mut each);
            self.reader.consume_noshift(length);
            if !go_on {
                return Ok(());
            }
            let at = self.reader.consumed();
            let why = match self.reader.next() {
                Ok((length, block)) => match self.blocks.frame(&block) {
                    Ok(frame) => {
                        let go_on = frame.is_none_or(|frame| each(&[frame]));
                        self.reader.consume_noshift(length);
                        if go_on {
                            continue;
                        }
                        return Ok(());
                    }
                    Err(why) => why,
                },
                Err(PcapError::Eof) => return Ok(()),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => match self.refill() {
                    Ok(()) => continue,
                    Err(why) => why.to_owned(),
                },
                Err(PcapError::UnexpectedEof) => "the capture is cut off".to_owned(),
                Err(PcapError::ReadError) => "it cannot be read on".to_owned(),
                Err(_) => "a block is damaged".to_owned(),
            };
            return Err(Error::Failed(format!(
                "read {}: {why}, at byte {at} (decompressed); what comes before it was read",
                self.origin
            )));
        }
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

/// What the blocks so far have said of those to come.
struct Blocks {
    interfaces: Vec<Interface>,
    /// How the records of a pcap file are written, once its header has said so.
    pcap: Option<Pcap>,
    filter: Option<String>,
}

/// How the records of a pcap file are written.
#[derive(Clone, Copy)]
struct Pcap {
    /// Fractions of a second in a record's second field.
    per_second: u64,
    big_endian: bool,
    /// Whether records have more fields than the four that all have (Kuznetzov's variant).
    modified: bool,
}

impl Pcap {
    fn ticks(self, seconds: u32, fraction: u32) -> u64 {
        u64::from(seconds) * self.per_second + u64::from(fraction)
    }

    /// The first of some records: its time, its data, and what comes after it. `None` if it is not whole.
    fn record<'a>(self, bytes: &'a [u8]) -> Option<(u64, &'a [u8], &'a [u8])> {
        let (header, rest) = bytes.split_first_chunk::<16>()?;
        let (fields, _) = header.as_chunks::<4>();
        let number = |place: usize| match self.big_endian {
            true => u32::from_be_bytes(fields[place]),
            false => u32::from_le_bytes(fields[place]),
        };
        let (data, rest) = rest.split_at_checked(number(2) as usize)?;
        Some((self.ticks(number(0), number(1)), data, rest))
    }
}

impl Blocks {
    /// Hands on what the whole records of a pcap file at the start of `bytes` have captured; says
    /// how many bytes they take, and whether `each` wants more.
    fn records(&self, bytes: &[u8], each: &mut impl FnMut(&[Frame<'_>]) -> bool) -> (usize, bool) {
        let (Some(pcap), [interface]) = (self.pcap, self.interfaces.as_slice()) else {
            return (0, true);
        };
        let mut rest = bytes;
        let mut next = || {
            let (ticks, data, after) = pcap.record(rest).filter(|_| !pcap.modified)?;
            rest = after;
            Some(interface.frame(interface.time(ticks), data))
        };
        let mut frames = Vec::with_capacity(TOGETHER);
        let mut go_on = true;
        while go_on && let Some(frame) = next() {
            frames.extend(frame);
            if frames.len() == TOGETHER {
                go_on = each(&frames);
                frames.clear();
            }
        }
        if go_on && !frames.is_empty() {
            go_on = each(&frames);
        }
        (bytes.len() - rest.len(), go_on)
    }

    /// The frame of a block, if it has one; why it cannot be used, if it cannot.
    fn frame<'a>(&mut self, block: &'a PcapBlockOwned<'a>) -> Result<Option<Frame<'a>>, String> {
        let found = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let pcap = Pcap {
                    per_second: match header.is_nanosecond_precision() {
                        true => 1_000_000_000,
                        false => 1_000_000,
                    },
                    big_endian: header.is_bigendian(),
                    modified: header.is_modified_format(),
                };
                self.add(header.network.0, pcap.per_second, 0)?;
                self.pcap = Some(pcap);
                None
            }
            PcapBlockOwned::Legacy(record) => {
                let interface = self.pcap.zip(self.interfaces.first());
                interface.map(|(pcap, interface)| {
                    let ticks = pcap.ticks(record.ts_sec, record.ts_usec);
                    (interface, interface.time(ticks), record.data)
                })
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                if section.major_version != 1 {
                    return Err(format!("a section of version {}", section.major_version));
                }
                self.interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(about)) => {
                let per_second = about.ts_resolution().unwrap_or(1_000_000);
                self.add(about.linktype.0, per_second, about.ts_offset())?;
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let id = usize::try_from(packet.if_id).ok();
                let interface = id.and_then(|id| self.interfaces.get(id));
                let interface =
                    interface.ok_or("a packet of an interface that is not described")?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                Some((interface, interface.time(ticks), packet.packet_data()))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => self
                .interfaces
                .first()
                .map(|interface| (interface, Timestamp::UNKNOWN, packet.packet_data())),
            PcapBlockOwned::NG(_) => None,
        };
        Ok(found.and_then(|(interface, time, bytes)| interface.frame(time, bytes)))
    }

    fn add(&mut self, linktype: i32, per_second: u64, offset: i64) -> Result<(), String> {
        // The upper bits say how long the frame check sequence is.
        let linktype = linktype & 0xffff;
        let filter = self.filter.as_deref().map(|text| compile(linktype, text)).transpose()?;
        let per_second = per_second.max(1);
        self.interfaces.push(Interface {
            link: Link::from_linktype(linktype),
            per_second,
            nanoseconds: 1_000_000_000u64
                .is_multiple_of(per_second)
                .then(|| 1_000_000_000 / per_second),
            offset,
            filter,
        });
        Ok(())
    }
}

/// An interface that a capture has packets of.
struct Interface {
    link: Option<Link>,
    per_second: u64,
    /// Nanoseconds of a tick, if it is so many whole ones: a division is too much for every packet.
    nanoseconds: Option<u64>,
    /// Seconds to be added to every time.
    offset: i64,
    filter: Option<pcap::BpfProgram>,
}

impl Interface {
    /// A frame of this interface, if the filter lets it through.
    fn frame<'a>(&self, time: Timestamp, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let wanted = self.filter.as_ref().is_none_or(|filter| filter.filter(bytes));
        wanted.then_some(Frame { time, link: self.link, bytes })
    }

    fn time(&self, ticks: u64) -> Timestamp {
        let nanoseconds = match self.nanoseconds {
            Some(each) => u128::from(ticks) * u128::from(each),
            None => u128::from(ticks) * 1_000_000_000 / u128::from(self.per_second),
        };
        let offset = i128::from(self.offset) * 1_000_000_000;
        let time = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp(time.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

fn compile(linktype: i32, filter: &str) -> Result<pcap::BpfProgram, String> {
    let failed = |why: pcap::Error| format!("filter {filter:?}: {why}");
    pcap::Capture::dead(pcap::Linktype(linktype))
        .map_err(failed)?
        .compile(filter, true)
        .map_err(failed)
}

/// Counts what is read of a file.
struct Counted {
    inner: Box<dyn Read + Send>,
    position: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// The bytes themselves, whatever they are packed in. The first ones come in one piece, however
/// small the pieces of a pipe are.
fn decompressed(mut raw: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let packed = peek(&mut raw, 4)?;
    let mut bytes: Box<dyn Read + Send> = match packed.get_ref().as_slice() {
        [0x1f, 0x8b, ..] => {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(packed.chain(raw))))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(packed.chain(raw))?),
        _ => Box::new(packed.chain(raw)),
    };
    let first = peek(&mut bytes, 4096)?;
    Ok(Box::new(first.chain(bytes)))
}

/// Up to so many first bytes.
fn peek(from: &mut impl Read, most: u64) -> io::Result<Cursor<Vec<u8>>> {
    let mut first = Vec::new();
    from.by_ref().take(most).read_to_end(&mut first)?;
    Ok(Cursor::new(first))
}
