//! Captures from files: pcap (of either byte order, microseconds or nanoseconds) and pcapng (several
//! sections and interfaces), plain or compressed by gzip or zstd. The content decides the format.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use super::blocks::Blocks;
use super::filter::Filter;
use super::frame::Counts;
use super::input::{Peeked, decompressed, known};
use super::piece::Piece;
use super::reader::{Format, Reader};
use super::records::{HEADER, Records};
use crate::error::{Error, Result, Setting};
use crate::files::{self, Input};
use crate::hex::hex;

/// Bytes that are read to detect the format.
const BEGIN: usize = 4096;

/// A capture file, open for reading.
pub struct File {
    origin: String,
    reader: Reader,
    position: Arc<AtomicU64>,
    digest: Arc<OnceLock<String>>,
    /// Whether the input is live: available bytes are processed at once, however few.
    live: bool,
}

impl File {
    /// Opens a file, or standard input if the path is `-`. `filter` is in pcap's language.
    ///
    /// # Errors
    /// If it cannot be read, is not a capture, or the filter does not compile.
    pub fn open(path: &Path, filter: Option<&str>) -> Result<Self> {
        let live = path.as_os_str() == "-";
        let origin = if live { "standard input".to_owned() } else { path.display().to_string() };
        let unreadable = |why: io::Error| files::refuse(&origin, why);
        let raw: Box<dyn Read + Send> = match live {
            true => Box::new(Input::stdin().map_err(unreadable)?),
            false => Box::new(Input::open(path).map_err(unreadable)?),
        };
        let position = Arc::new(AtomicU64::new(0));
        let digest = Arc::new(OnceLock::new());
        let counted = Counted {
            inner: raw,
            position: position.clone(),
            so_far: Sha256::new(),
            digest: digest.clone(),
        };
        let mut input = decompressed(counted).map_err(unreadable)?;
        let peeked = Peeked::read(&mut input, BEGIN).map_err(unreadable)?;
        let filter = filter.map(Filter::new);
        let (format, skip) = format(&peeked.first, filter).map_err(|why| {
            let why = format!("read {origin}: {why}");
            // If the file can be read without the filter, the filter is the problem.
            match format(&peeked.first, None) {
                Ok(_) => Error::needs(Setting::Filter, why),
                Err(_) => Error::Usage(why),
            }
        })?;
        let reader = Reader::new(format, skip, peeked.then(skip, input), live);
        Ok(Self { origin, reader, position, digest, live })
    }

    /// Bytes of the file read so far, for progress.
    pub fn position(&self) -> Arc<AtomicU64> {
        self.position.clone()
    }

    /// The SHA-256 of the file as stored, in hexadecimal; set when its end has been read.
    pub fn digest(&self) -> Arc<OnceLock<String>> {
        self.digest.clone()
    }

    /// Whether it is standard input, which may be live.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Counts so far, except for what only [`Piece::read`] finds.
    pub fn counts(&self) -> Counts {
        self.reader.counts()
    }

    /// Reads the next piece; returns whether there may be more.
    ///
    /// # Errors
    /// If the capture is damaged or ends within a packet. The frames before that are in the piece.
    pub fn fill(&mut self, piece: &mut Piece) -> Result<bool> {
        self.reader.fill(piece).map_err(|why| {
            Error::Failed(format!(
                "read {}: {why}, at byte {} (decompressed); the packets before it were read",
                self.origin,
                self.reader.consumed()
            ))
        })
    }
}

/// The format of a file with this beginning, and the size of its header.
fn format(begin: &[u8], mut filter: Option<Filter>) -> Result<(Format, usize), String> {
    if let Some(records) = Records::open(begin, filter.as_mut())? {
        return Ok((Format::Pcap(records), HEADER));
    }
    // Report a mistake in the filter before anything is read: interfaces come later.
    if let Some(filter) = &mut filter {
        filter.check()?;
    }

    match Blocks::open(begin, filter) {
        Some(_) if begin.len() < 28 => Err("it ends within its header".into()),
        Some(blocks) => Ok((Format::PcapNg(blocks), 0)),
        None if begin.is_empty() => Err("it is empty".into()),
        None if Records::begins(begin) => Err("it ends within its header".into()),
        None => Err(known(begin).unwrap_or("it is neither pcap nor pcapng").into()),
    }
}

/// Counts and digests the bytes read from a file.
struct Counted {
    inner: Box<dyn Read + Send>,
    position: Arc<AtomicU64>,
    so_far: Sha256,
    digest: Arc<OnceLock<String>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position.fetch_add(read as u64, Relaxed);
        self.so_far.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() {
            // Readers may read on after the end.
            self.digest.get_or_init(|| hex(&self.so_far.clone().finalize()));
        }
        Ok(read)
    }
}
