//! A request in HTTP/1.0 or HTTP/1.1 and its response (RFC 9112).

use super::ask::Ask;
use super::asking::{Answer, Progress};

/// A request and its response.
pub(super) struct Http1 {
    ask: Ask,
    minor: u8,
    head: Head,
    /// How the content ends, once the header was read.
    body: Option<Body>,
}

impl Http1 {
    pub(super) fn new(ask: Ask, minor: u8) -> Self {
        Self { ask, minor, head: Head::default(), body: None }
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.ask.http1(self.minor, "close").as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn data(&mut self, mut bytes: &[u8], answer: &mut Answer) -> Progress {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let header = match self.head.read(&mut bytes) {
                    Ok(None) => return Progress::More,
                    Ok(Some(header)) => header,
                    Err(word) => return Progress::Wrong(word.into()),
                };
                answer.status = Some(header.status);
                answer.version = Some(header.version());
                if header.status == 101 {
                    return Progress::Wrong("Peer switched protocols unasked".into());
                }
                answer.whole = true;
                self.body.insert(Body::of(&header, self.ask.has_body()))
            }
        };
        body.read(bytes, answer)
    }

    /// Whether the end of the connection is the end of the content (RFC 9112, 6.3).
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.body, Some(Body::Rest))
    }
}

/// What matters of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) status: u16,
    minor: u8,
    length: Option<u64>,
    chunked: bool,
}

impl Header {
    pub(super) fn version(&self) -> &'static str {
        if self.minor == 0 { "1.0" } else { "1.1" }
    }
}

/// Reads headers until one is that of a final response, or of a switch of protocols.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// A header that is not whole; bounded by what is read of any target.
    buffer: Vec<u8>,
}

/// Every response begins so.
const START: &[u8] = b"HTTP/1.";
/// More fields than that has no header of a page.
const MOST_FIELDS: usize = 128;

impl Head {
    /// Takes octets in, and leaves those that come after the header.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, &'static str> {
        const NONE: &str = "Peer's answer is no HTTP";
        loop {
            self.buffer.extend_from_slice(bytes);
            let start = &self.buffer[..self.buffer.len().min(START.len())];
            if start != &START[..start.len()] {
                return Err(NONE);
            }
            // Only an end of line can end a header: it is not read again for every octet.
            if !bytes.contains(&b'\n') {
                *bytes = &[];
                return Ok(None);
            }
            let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            let length = match response.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) => {
                    *bytes = &[];
                    return Ok(None);
                }
                Err(httparse::Error::TooManyHeaders) => {
                    return Err("Peer's HTTP header has too many fields");
                }
                Err(_) => return Err(NONE),
            };
            let header = header(&response);
            // An earlier octet cannot have ended the header, so what is left is of these.
            let left = self.buffer.len() - length;
            *bytes = &bytes[bytes.len().saturating_sub(left)..];
            self.buffer.clear();
            let header = header?;
            if header.status == 101 || header.status >= 200 {
                return Ok(Some(header));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
        }
    }
}

fn header(response: &httparse::Response<'_, '_>) -> Result<Header, &'static str> {
    let (mut length, mut chunked) = (None, false);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let number =
                std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
            if number.is_none() || (length.is_some() && length != number) {
                return Err("Peer's Content-Length cannot be read");
            }
            length = number;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let value = field.value.to_ascii_lowercase();
            chunked = value.trim_ascii().ends_with(b"chunked");
        }
    }
    let status = response.code.filter(|code| *code >= 100).ok_or("Peer's HTTP status is none")?;
    Ok(Header { status, minor: response.version.unwrap_or_default(), length, chunked })
}

/// How the content ends (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// After so many octets.
    Length(u64),
    /// With the last chunk.
    Chunked(Chunk),
    /// With the connection.
    Rest,
}

/// Where in the chunks reading is (RFC 9112, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the hexadecimal size.
    Size { size: u64, digits: u8 },
    /// Behind the size, before the end of its line.
    Extension { size: u64 },
    /// In the content.
    Data { left: u64 },
    /// Before the end of line behind the content.
    After,
    /// In the fields behind the last chunk; whether this line is empty so far.
    Trailer { empty: bool },
}

const START_OF_CHUNK: Chunk = Chunk::Size { size: 0, digits: 0 };

impl Body {
    fn of(header: &Header, wanted: bool) -> Self {
        match header {
            _ if !wanted || matches!(header.status, 204 | 304) => Body::Length(0),
            Header { chunked: true, .. } => Body::Chunked(START_OF_CHUNK),
            Header { length: Some(length), .. } => Body::Length(*length),
            _ => Body::Rest,
        }
    }

    fn read(&mut self, bytes: &[u8], answer: &mut Answer) -> Progress {
        match self {
            Body::Rest => answer.body(bytes),
            Body::Length(left) => {
                let part = &bytes[..bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
                *left -= part.len() as u64;
                answer.body(part);
                if *left == 0 {
                    return Progress::Done;
                }
            }
            Body::Chunked(chunk) => return chunk.read(bytes, answer),
        }
        Progress::More
    }
}

impl Chunk {
    fn read(&mut self, mut bytes: &[u8], answer: &mut Answer) -> Progress {
        while let Some((&octet, rest)) = bytes.split_first() {
            let digit = char::from(octet).to_digit(16).map(u64::from);
            *self = match (*self, octet) {
                (Chunk::Data { left }, _) => {
                    let part =
                        &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                    answer.body(part);
                    bytes = &bytes[part.len()..];
                    let left = left - part.len() as u64;
                    *self = if left == 0 { Chunk::After } else { Chunk::Data { left } };
                    continue;
                }
                (Chunk::Size { size, digits: digits @ 0..16 }, _) if digit.is_some() => {
                    Chunk::Size { size: size << 4 | digit.unwrap_or_default(), digits: digits + 1 }
                }
                (Chunk::Size { size, digits: 1.. }, b';' | b' ' | b'\t' | b'\r') => {
                    Chunk::Extension { size }
                }
                (Chunk::Size { size: 0, digits: 1.. } | Chunk::Extension { size: 0 }, b'\n') => {
                    Chunk::Trailer { empty: true }
                }
                (Chunk::Size { size, digits: 1.. } | Chunk::Extension { size }, b'\n') => {
                    Chunk::Data { left: size }
                }
                (Chunk::Extension { .. }, _) | (Chunk::After, b'\r') => *self,
                (Chunk::After, b'\n') => START_OF_CHUNK,
                (Chunk::Trailer { empty: true }, b'\n') => return Progress::Done,
                (Chunk::Trailer { empty }, b'\r') => Chunk::Trailer { empty },
                (Chunk::Trailer { .. }, _) => Chunk::Trailer { empty: octet == b'\n' },
                (Chunk::Size { .. } | Chunk::After, _) => {
                    return Progress::Wrong("Peer's chunks cannot be read".into());
                }
            };
            bytes = rest;
        }
        Progress::More
    }
}
