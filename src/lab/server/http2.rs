//! HTTP/2 of a lab's server: every request gets a page (RFC 9113).

use super::{Session, Then, content};
use crate::connect::http2::{
    Block, Frame, Frames, Headers, PREFACE, Wrong, encode, flag, kind, write,
};

/// Octets of content in a frame: what every client takes (RFC 9113, 4.2).
const MOST_DATA: usize = 16 << 10;

/// One connection.
pub(super) struct Http2 {
    /// How much of the client's preface was read.
    preface: usize,
    frames: Frames,
    headers: Headers,
}

impl Http2 {
    /// Starts with the server's own preface.
    pub(super) fn new(out: &mut Vec<u8>) -> Self {
        write(out, kind::SETTINGS, 0, 0, &[]);
        Self { preface: 0, frames: Frames::default(), headers: Headers::default() }
    }

    /// Answers the request of a stream.
    pub(super) fn answer(&mut self, stream: u32, head: bool, content: &[u8], out: &mut Vec<u8>) {
        let length = content.len().to_string();
        let block = encode([
            (":status", "200"),
            ("content-type", "text/plain"),
            ("content-length", &length),
        ]);
        let last = if head { flag::END_STREAM } else { 0 };
        write(out, kind::HEADERS, flag::END_HEADERS | last, stream, &block);
        if !head {
            // The client's windows are larger than what it reads.
            let mut parts = content.chunks(MOST_DATA).peekable();
            while let Some(part) = parts.next() {
                let last = if parts.peek().is_none() { flag::END_STREAM } else { 0 };
                write(out, kind::DATA, last, stream, part);
            }
        }
    }

    fn frame(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Result<Then, Wrong> {
        if let Some(block) = self.headers.take(frame)? {
            let Block { stream, .. } = block;
            let head = block.field(b":method") == Some(b"HEAD");
            let path = block.field(b":path").and_then(|path| std::str::from_utf8(path).ok());
            let content = content(path.unwrap_or_default());
            self.answer(stream, head || content.is_empty(), &content, out);
            return Ok(Then::Wait);
        }
        match frame.kind {
            kind::SETTINGS if !frame.has(flag::ACK) => {
                write(out, kind::SETTINGS, flag::ACK, 0, &[])
            }
            kind::PING if !frame.has(flag::ACK) => {
                let octets = frame.payload.get(..8).ok_or("A ping has eight octets")?;
                write(out, kind::PING, flag::ACK, 0, octets);
            }
            kind::GOAWAY => return Ok(Then::Finish),
            _ => {}
        }
        Ok(Then::Wait)
    }
}

impl Session for Http2 {
    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Then {
        const PROTOCOL_ERROR: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];
        let part = bytes.len().min(PREFACE.len() - self.preface);
        let (preface, bytes) = bytes.split_at(part);
        let right = preface == &PREFACE[self.preface..][..part];
        self.preface += part;
        self.frames.feed(bytes);
        if right {
            loop {
                let then = match self.frames.next() {
                    Ok(None) => return Then::Wait,
                    Ok(Some(frame)) => self.frame(&frame, out),
                    Err(wrong) => Err(wrong),
                };
                match then {
                    Ok(Then::Wait) => {}
                    Ok(Then::Finish) => return Then::Finish,
                    Err(wrong) => {
                        log::debug!("lab: a client's HTTP/2: {wrong}");
                        break;
                    }
                }
            }
        }
        write(out, kind::GOAWAY, 0, 0, &PROTOCOL_ERROR);
        Then::Finish
    }
}
