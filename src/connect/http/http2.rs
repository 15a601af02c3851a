//! A request in HTTP/2 and its response (RFC 9113), started directly or by an Upgrade.

use super::head::Head;
use super::request::Request;
use super::response::{Progress, Response};
use crate::connect::answer::{
    HTTP_NO_UPGRADE, HTTP2_GOAWAY, HTTP2_MALFORMED, HTTP2_NOT_HTTP2, HTTP2_RESET,
};
use crate::connect::http2::{
    Block, Frame, Frames, Headers, PREFACE, Wrong, encode, error_word, flag, kind, setting, write,
};

/// The stream of the only request.
const STREAM: u32 = 1;
/// The smallest window, and the largest (RFC 9113, 6.9.1).
const SMALLEST: u32 = 1 << 20;
const LARGEST: u32 = (1 << 31) - 1;
/// The initial window of a connection (RFC 9113, 6.9.2).
const FIRST_WINDOW: u32 = 65_535;

/// A request and its response.
pub(super) struct Http2 {
    request: Request,
    /// The windows: more than is read, so they never close.
    window: u32,
    /// Until the server has switched to HTTP/2: the header of its answer in HTTP/1.1.
    upgrading: Option<Head>,
    /// Whether the server's preface (its SETTINGS) was read.
    greeted: bool,
    frames: Frames,
    headers: Headers,
}

impl Http2 {
    pub(super) fn new(request: Request, upgrade: bool, most: usize) -> Self {
        let window = u32::try_from(most).unwrap_or(LARGEST).clamp(SMALLEST, LARGEST);
        Self {
            request,
            window,
            upgrading: upgrade.then(Head::default),
            greeted: false,
            frames: Frames::default(),
            headers: Headers::default(),
        }
    }

    /// Whether the server has not switched to HTTP/2 yet.
    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrading.is_some()
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        if self.upgrading.is_some() {
            let header = self.request.http1(1, "Upgrade, HTTP2-Settings");
            let settings = base64url(&settings(self.window));
            out.extend_from_slice(
                format!("{header}Upgrade: h2c\r\nHTTP2-Settings: {settings}\r\n\r\n").as_bytes(),
            );
            return;
        }
        preface(self.window, out);
        let Request { method, path, authority, scheme, agent, .. } = &self.request;
        let block = encode([
            (":method", *method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
            ("user-agent", agent),
            ("accept", "*/*"),
        ]);
        write(out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, STREAM, &block);
    }

    pub(super) fn data(
        &mut self,
        mut bytes: &[u8],
        response: &mut Response,
        out: &mut Vec<u8>,
    ) -> Progress {
        if let Some(head) = &mut self.upgrading {
            match head.read(&mut bytes) {
                Ok(None) => return Progress::More,
                Ok(Some(header)) if header.status == 101 => {}
                Ok(Some(header)) => {
                    response.status = Some(header.status);
                    response.version = Some(header.version);
                    return Progress::wrong("Peer did not switch to HTTP/2", HTTP_NO_UPGRADE);
                }
                Err((word, answer)) => return Progress::wrong(word, answer),
            }
            self.upgrading = None;
            preface(self.window, out);
        }
        self.frames.feed(bytes);
        let progress = loop {
            let frame = match self.frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Progress::More,
                Err(word) => break self.wrong(word),
            };
            match self.frame(&frame, response, out) {
                Ok(Progress::More) => {}
                Ok(other) => break other,
                Err(word) => break self.wrong(word),
            }
        };
        let code: u32 = if progress == Progress::Done { 0 } else { 1 };
        let code = code.to_be_bytes();
        write(out, kind::GOAWAY, 0, 0, &[[0; 4], code].concat());
        progress
    }

    fn wrong(&self, word: Wrong) -> Progress {
        match self.greeted {
            true => Progress::wrong(word, HTTP2_MALFORMED),
            false => Progress::wrong("Peer's answer is not HTTP/2", HTTP2_NOT_HTTP2),
        }
    }

    fn frame(
        &mut self,
        frame: &Frame,
        response: &mut Response,
        out: &mut Vec<u8>,
    ) -> Result<Progress, Wrong> {
        if !self.greeted && (frame.kind != kind::SETTINGS || frame.has(flag::ACK)) {
            return Err("Peer's answer is not HTTP/2");
        }
        self.greeted = true;
        if let Some(block) = self.headers.take(frame)? {
            return self.block(&block, response);
        }
        match frame.kind {
            kind::SETTINGS if !frame.has(flag::ACK) => {
                if frame.stream != 0 || !frame.payload.len().is_multiple_of(6) {
                    return Err("Peer's HTTP/2 settings are malformed");
                }
                write(out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if !frame.has(flag::ACK) => {
                if frame.payload.len() != 8 {
                    return Err("Peer's HTTP/2 ping is not eight octets long");
                }
                write(out, kind::PING, flag::ACK, 0, &frame.payload);
            }
            kind::DATA if frame.stream == STREAM => {
                if !response.whole {
                    return Err("Peer's HTTP/2 data came before the header");
                }
                if self.request.has_body() {
                    response.body(frame.content()?);
                }
                if response.is_full() || frame.has(flag::END_STREAM) {
                    return Ok(Progress::Done);
                }
            }
            kind::RST_STREAM if frame.stream == STREAM => {
                let word = error_word(frame.word(0)?);
                let word = format!("Peer reset the stream: {word}");
                return Ok(Progress::wrong(word, HTTP2_RESET));
            }
            kind::GOAWAY => {
                let (last, code) = (frame.word(0)? & !(1 << 31), frame.word(4)?);
                if last < STREAM || code != 0 {
                    let word = error_word(code);
                    let word = format!("Peer went away: {word}");
                    return Ok(Progress::wrong(word, HTTP2_GOAWAY));
                }
            }
            kind::PUSH_PROMISE => return Err("Peer pushed although push is disabled"),
            _ => {}
        }
        Ok(Progress::More)
    }

    fn block(&self, block: &Block, response: &mut Response) -> Result<Progress, Wrong> {
        if block.stream != STREAM {
            return Err("Peer's HTTP/2 headers are out of order");
        }
        if !response.whole {
            let status = block.field(b":status").filter(|digits| digits.len() == 3);
            let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            match status {
                Some(100..=199) if !block.last => return Ok(Progress::More),
                Some(status @ 200..) => {
                    response.status = Some(status);
                    response.version = Some("2");
                    response.whole = true;
                }
                _ => return Err("Peer's HTTP status is invalid"),
            }
        }
        Ok(if block.last { Progress::Done } else { Progress::More })
    }
}

/// Our settings: no pushes, and windows that never close.
fn settings(window: u32) -> [u8; 12] {
    let mut payload = [0; 12];
    for (place, (name, value)) in
        [(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, window)].into_iter().enumerate()
    {
        payload[place * 6..][..2].copy_from_slice(&name.to_be_bytes());
        payload[place * 6 + 2..][..4].copy_from_slice(&u32::to_be_bytes(value));
    }
    payload
}

fn preface(window: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(PREFACE);
    write(out, kind::SETTINGS, 0, 0, &settings(window));
    write(out, kind::WINDOW_UPDATE, 0, 0, &(window - FIRST_WINDOW).to_be_bytes());
}

/// Base64url of octets (RFC 4648, 5); their number must be a multiple of three.
fn base64url(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(octets.len() / 3 * 4);
    for three in octets.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(LETTERS[(bits >> shift) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_base64url() {
        assert_eq!(base64url(&settings(SMALLEST)), "AAIAAAAAAAQAEAAA");
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
    }
}
