//! Captures from files: pcap (of either byte order, microseconds or nanoseconds) and pcapng (several
//! sections and interfaces), plain, gzipped or compressed by zstd, told by what is in them.

use std::fs::File as OsFile;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::blocks::Blocks;
use super::frame::compile;
use super::piece::Piece;
use super::records::{HEADER, Header, Records};
use crate::error::{Error, Result};

/// A capture file, open for reading.
pub struct File {
    origin: String,
    format: Format,
    position: Arc<AtomicU64>,
    /// Whether more may come any time: what is there is taken in, however little it is.
    live: bool,
}

enum Format {
    Pcap(Records),
    PcapNg(Blocks),
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
        let mut input = decompressed(counted).map_err(unusable)?;
        // In one piece, however small the pieces of a pipe are: a reader of blocks looks but once.
        let mut first = peek(&mut input, 4096).map_err(unusable)?;
        let unusable = |why: String| Error::Usage(format!("read {origin}: {why}"));
        let format = match Header::read(first.get_ref(), filter).map_err(unusable)? {
            Some(header) => {
                first.set_position(HEADER as u64);
                Format::Pcap(Records::new(header, Box::new(first.chain(input)), stdin))
            }
            None => {
                let blocks = Blocks::open(first.chain(input), filter, stdin);
                Format::PcapNg(blocks.map_err(unusable)?)
            }
        };
        Ok(Self { origin, format, position, live: stdin })
    }

    /// Bytes of the file read so far, for progress.
    pub fn position(&self) -> Arc<AtomicU64> {
        self.position.clone()
    }

    /// Whether it is standard input, where more may come any time.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Reads the next piece; says whether more may come.
    ///
    /// # Errors
    /// If the capture is damaged or ends within a packet: what came before is in the piece.
    pub fn fill(&mut self, piece: &mut Piece) -> Result<bool> {
        let (end, at) = match &mut self.format {
            Format::Pcap(records) => (records.fill(piece), records.consumed()),
            Format::PcapNg(blocks) => (blocks.fill(piece), blocks.consumed()),
        };
        end.map_err(|why| {
            Error::Failed(format!(
                "read {}: {why}, at byte {at} (decompressed); what comes before it was read",
                self.origin
            ))
        })
    }
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

/// The bytes themselves, whatever they are packed in.
fn decompressed(mut raw: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let packed = peek(&mut raw, 4)?;
    Ok(match packed.get_ref().as_slice() {
        [0x1f, 0x8b, ..] => {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(packed.chain(raw))))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(packed.chain(raw))?),
        _ => Box::new(packed.chain(raw)),
    })
}

/// Up to so many first bytes.
fn peek(from: &mut impl Read, most: usize) -> io::Result<Cursor<Vec<u8>>> {
    let mut first = Vec::new();
    from.by_ref().take(most as u64).read_to_end(&mut first)?;
    Ok(Cursor::new(first))
}
