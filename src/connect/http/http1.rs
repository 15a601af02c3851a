//! A request in HTTP/1.0 or HTTP/1.1 and its response (RFC 9112).

use super::head::{Head, Header};
use super::request::Request;
use super::response::{Progress, Response};
use crate::connect::answer::{HTTP_INCOMPLETE, HTTP_UNASKED_UPGRADE};

/// A request and its response.
pub(super) struct Http1 {
    request: Request,
    minor: u8,
    head: Head,
    /// How the content ends, after the header was read.
    body: Option<Body>,
    /// Octets of content received, and the most.
    bytes: usize,
    most: usize,
}

impl Http1 {
    pub(super) fn new(request: Request, minor: u8, most: usize) -> Self {
        Self { request, minor, head: Head::default(), body: None, bytes: 0, most }
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.request.http1(self.minor, "close").as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn data(&mut self, mut bytes: &[u8], response: &mut Response) -> Progress {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let header = match self.head.read(&mut bytes) {
                    Ok(None) => return Progress::More,
                    Ok(Some(header)) => header,
                    Err((word, answer)) => return Progress::wrong(word, answer),
                };
                response.status = Some(header.status);
                response.version = Some(header.version);
                if header.status == 101 {
                    let word = "Peer switched protocols without a request";
                    return Progress::wrong(word, HTTP_UNASKED_UPGRADE);
                }
                response.whole = true;
                self.body.insert(Body::of(&header, self.request.has_body()))
            }
        };
        let (bytes, over) = bytes.split_at(bytes.len().min(self.most - self.bytes));
        self.bytes += bytes.len();
        match body.read(bytes, response) {
            Progress::More | Progress::Wrong(..) if response.is_full() => Progress::Done,
            Progress::More if !over.is_empty() => {
                Progress::wrong("Peer sent too much", HTTP_INCOMPLETE)
            }
            other => other,
        }
    }

    /// Handles the peer's close: a header with a complete status line ends here.
    pub(super) fn closed(&self, response: &mut Response) {
        if let (None, Some(header)) = (&self.body, self.head.cut()) {
            response.status = Some(header.status);
            response.version = Some(header.version);
            response.whole = true;
        }
    }

    /// Whether any octet of a response came.
    pub(super) fn has_begun(&self) -> bool {
        self.head.has_begun()
    }

    /// Whether the end of the connection is the end of the content (RFC 9112, 6.3).
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.body, Some(Body::Rest))
    }
}

/// How the content ends (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// After this many octets.
    Length(u64),
    /// With the last chunk.
    Chunked(Chunk),
    /// With the connection.
    Rest,
}

/// The position within the chunks (RFC 9112, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the hexadecimal size.
    Size { size: u64, digits: u8 },
    /// After the size, before the end of its line.
    Extension { size: u64 },
    /// In the content.
    Data { left: u64 },
    /// Before the end of line after the content.
    After,
    /// In the fields after the last chunk; whether this line is empty so far.
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

    fn read(&mut self, bytes: &[u8], response: &mut Response) -> Progress {
        match self {
            Body::Rest => response.body(bytes),
            Body::Length(left) => {
                let part = &bytes[..bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
                *left -= part.len() as u64;
                response.body(part);
                if *left == 0 {
                    return Progress::Done;
                }
            }
            Body::Chunked(chunk) => return chunk.read(bytes, response),
        }
        Progress::More
    }
}

impl Chunk {
    fn read(&mut self, mut bytes: &[u8], response: &mut Response) -> Progress {
        while let Some((&octet, rest)) = bytes.split_first() {
            let digit = char::from(octet).to_digit(16).map(u64::from);
            *self = match (*self, octet) {
                (Chunk::Data { left }, _) => {
                    let part =
                        &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                    response.body(part);
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
                    return Progress::wrong("Peer's chunks are malformed", HTTP_INCOMPLETE);
                }
            };
            bytes = rest;
        }
        Progress::More
    }
}
