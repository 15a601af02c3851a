//! Decompression of gzip and zstd, detected by magic number.
//!
//! A compressed file is one or more members, possibly padded with zeros. If it is truncated or damaged, all data that
//! can be decompressed is returned before the error.

use std::io::{self, BufRead, BufReader, Cursor, Error, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// Formats that are not read, by magic number, with a remedy.
static OTHERS: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "it is compressed by xz: write xz -dc FILE | pathspider observe -"),
    (b"BZh", "it is compressed by bzip2: write bzip2 -dc FILE | pathspider observe -"),
    (b"\x04\x22\x4d\x18", "it is compressed by lz4: write lz4 -dc FILE | pathspider observe -"),
    (b"\x02\x21\x4c\x18", "it is compressed by lz4: write lz4 -dc FILE | pathspider observe -"),
    (b"\x5d\0\0", "it is compressed by lzma: write xz -dc FILE | pathspider observe -"),
    (b"\x1f\x9d", "it is compressed by compress: write uncompress -c FILE | pathspider observe -"),
    (b"PK\x03\x04", "it is a zip archive: write unzip -p FILE | pathspider observe -"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive: write 7z x -so FILE | pathspider observe -"),
    (b"snoop\0\0\0", "it is a capture of snoop: editcap of Wireshark makes a pcapng file of it"),
    (b"GMBU", "it is a capture of Network Monitor: editcap of Wireshark makes a pcapng file of it"),
];

/// The format and remedy, if a file with this beginning is in a known format that is not read.
pub(super) fn known(begin: &[u8]) -> Option<&'static str> {
    OTHERS.iter().find(|(magic, _)| begin.starts_with(magic)).map(|(_, why)| *why)
}

/// The first bytes of an input.
pub(super) struct Peeked {
    pub(super) first: Vec<u8>,
    /// The error that ended reading, if one did.
    error: Option<Error>,
}

impl Peeked {
    /// Reads the first `most` bytes, or all if there are fewer.
    ///
    /// # Errors
    /// If the first read fails.
    pub(super) fn read(from: &mut impl Read, most: usize) -> io::Result<Self> {
        let mut first = Vec::new();
        match from.take(most as u64).read_to_end(&mut first) {
            Err(why) if first.is_empty() => Err(why),
            result => Ok(Self { first, error: result.err() }),
        }
    }

    /// The whole input without its first `skip` bytes; the error, if any, comes last.
    pub(super) fn then(
        self,
        skip: usize,
        rest: impl Read + Send + 'static,
    ) -> Box<dyn Read + Send> {
        let mut first = Cursor::new(self.first);
        first.set_position(skip as u64);
        match self.error {
            None => Box::new(first.chain(rest)),
            Some(error) => Box::new(first.chain(Failed(Some(error)))),
        }
    }
}

/// An input that fails once and then ends.
struct Failed(Option<Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The decompressed bytes of an input, or the bytes themselves if it is not compressed.
///
/// # Errors
/// If the first bytes cannot be read.
pub(super) fn decompressed(
    mut raw: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    let peeked = Peeked::read(&mut raw, 4)?;
    let packing = match peeked.first.as_slice() {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Packing::Zstd,
        _ => return Ok(peeked.then(0, raw)),
    };
    let source = BufReader::new(peeked.then(0, raw));
    Ok(Box::new(Members { packing, member: Some(packing.member(source)?) }))
}

type Source = BufReader<Box<dyn Read + Send>>;

#[derive(Clone, Copy)]
enum Packing {
    Gzip,
    Zstd,
}

enum Member {
    Gzip(Box<GzDecoder<Source>>),
    Zstd(Box<zstd::Decoder<'static, Source>>),
}

impl Packing {
    fn member(self, source: Source) -> io::Result<Member> {
        Ok(match self {
            Packing::Gzip => Member::Gzip(Box::new(GzDecoder::new(source))),
            Packing::Zstd => {
                Member::Zstd(Box::new(zstd::Decoder::with_buffer(source)?.single_frame()))
            }
        })
    }

    /// Whether a member may begin with this octet.
    fn begins(self, octet: u8) -> bool {
        match self {
            Packing::Gzip => octet == 0x1f,
            // Frames and skippable frames.
            Packing::Zstd => matches!(octet, 0x28 | 0x50..=0x5f),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// The error in words.
    fn explain(self, why: &Error) -> Error {
        let name = self.name();
        let text = why.to_string();
        let words = match why.kind() {
            ErrorKind::UnexpectedEof => {
                format!("the {name} data ends early: a part of the file is missing")
            }
            _ if text.contains("checksum") => {
                format!("the checksum (CRC) of the {name} data does not match: the file is damaged")
            }
            _ => format!("the {name} data is damaged: {text}"),
        };
        Error::new(why.kind(), words)
    }
}

/// Compressed data, member after member.
struct Members {
    packing: Packing,
    member: Option<Member>,
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.member {
                None => return Ok(0),
                Some(Member::Gzip(member)) => member.read(buffer),
                Some(Member::Zstd(member)) => member.read(buffer),
            };
            match read {
                Ok(0) if !buffer.is_empty() => self.next()?,
                Ok(read) => return Ok(read),
                Err(why) if why.kind() == ErrorKind::Interrupted => return Err(why),
                Err(why) => {
                    self.member = None;
                    return Err(self.packing.explain(&why));
                }
            }
        }
    }
}

impl Members {
    /// Starts the next member, or none at the end of the input.
    fn next(&mut self) -> io::Result<()> {
        let mut source = match self.member.take() {
            None => return Ok(()),
            Some(Member::Gzip(member)) => member.into_inner(),
            Some(Member::Zstd(member)) => member.finish(),
        };
        loop {
            let ahead = source.fill_buf()?;
            let zeros = ahead.iter().take_while(|octet| **octet == 0).count();
            match ahead.get(zeros) {
                None if ahead.is_empty() => return Ok(()),
                None => source.consume(zeros),
                Some(octet) if self.packing.begins(*octet) => {
                    source.consume(zeros);
                    self.member = Some(self.packing.member(source)?);
                    return Ok(());
                }
                Some(_) => {
                    let words =
                        format!("the {} data is followed by something else", self.packing.name());
                    return Err(Error::new(ErrorKind::InvalidData, words));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
