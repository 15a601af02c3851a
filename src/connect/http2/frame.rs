//! Frames (RFC 9113, 4.1 and 6).

use super::wrong::Wrong;

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Identifiers of settings.
pub(crate) mod setting {
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// The longest payload that a peer may send by default (RFC 9113, 4.2).
const LONGEST: usize = 16_384;
/// Octets before the payload.
const HEADER: usize = 9;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA and HEADERS without padding and priority.
    pub(crate) fn content(&self) -> Result<&[u8], Wrong> {
        let mut content = self.payload.as_slice();
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (first, rest) = content.split_first().ok_or("Peer's padding is wrong")?;
            (padding, content) = (usize::from(*first), rest);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or("Peer's HTTP/2 frame is too short")?;
        }
        let length = content.len().checked_sub(padding).ok_or("Peer's padding is wrong")?;
        Ok(&content[..length])
    }

    /// The four octets at an offset of the payload of a RST_STREAM or GOAWAY, as a number.
    pub(crate) fn word(&self, at: usize) -> Result<u32, Wrong> {
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or("Peer's HTTP/2 frame is too short")
    }
}

/// Appends a frame. The payload is one of ours, and short.
pub(crate) fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    debug_assert!(payload.len() <= LONGEST);
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Splits octets into frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Less than one frame, between two calls of `feed`.
    buffer: Vec<u8>,
    read: usize,
}

impl Frames {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.read));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if it is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Wrong> {
        let rest = &self.buffer[self.read..];
        let Some(([a, b, c, kind, flags, s1, s2, s3, s4], rest)) =
            rest.split_first_chunk::<HEADER>()
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if length > LONGEST {
            return Err("Peer's HTTP/2 frame is too long");
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let stream = u32::from_be_bytes([*s1, *s2, *s3, *s4]) & !(1 << 31);
        let frame = Frame { kind: *kind, flags: *flags, stream, payload: payload.to_vec() };
        self.read += HEADER + length;
        Ok(Some(frame))
    }
}

/// The name of an error code (RFC 9113, 7).
pub(crate) fn error_word(code: u32) -> &'static str {
    match code {
        0 => "NO_ERROR",
        1 => "PROTOCOL_ERROR",
        2 => "INTERNAL_ERROR",
        3 => "FLOW_CONTROL_ERROR",
        4 => "SETTINGS_TIMEOUT",
        5 => "STREAM_CLOSED",
        6 => "FRAME_SIZE_ERROR",
        7 => "REFUSED_STREAM",
        8 => "CANCEL",
        9 => "COMPRESSION_ERROR",
        10 => "CONNECT_ERROR",
        11 => "ENHANCE_YOUR_CALM",
        12 => "INADEQUATE_SECURITY",
        13 => "HTTP_1_1_REQUIRED",
        _ => "an unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back_however_they_are_cut() {
        let mut wire = Vec::new();
        write(&mut wire, kind::PING, 0, 0, &[7; 8]);
        write(&mut wire, kind::DATA, flag::END_STREAM, 1, b"hello");
        write(&mut wire, kind::SETTINGS, flag::ACK, 0, b"");
        for cut in 0..=wire.len() {
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            for part in [&wire[..cut], &wire[cut..]] {
                frames.feed(part);
                while let Some(frame) = frames.next().unwrap() {
                    read.push((frame.kind, frame.stream, frame.payload));
                }
            }
            assert_eq!(read.len(), 3, "{cut}");
            assert_eq!(read[1], (kind::DATA, 1, b"hello".to_vec()));
        }
    }

    #[test]
    fn padding_and_priority_are_checked_and_removed() {
        let frame =
            |kind, flags, payload: &[u8]| Frame { kind, flags, stream: 1, payload: payload.into() };
        let padded = frame(kind::DATA, flag::PADDED, b"\x02abc\0\0");
        assert_eq!(padded.content(), Ok(&b"abc"[..]));
        let both = frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, b"\x01\0\0\0\0\0x\0");
        assert_eq!(both.content(), Ok(&b"x"[..]));
        assert!(frame(kind::DATA, flag::PADDED, b"").content().is_err());
        assert!(frame(kind::DATA, flag::PADDED, b"\x04abc").content().is_err());
        assert!(frame(kind::HEADERS, flag::PRIORITY, b"abc").content().is_err());
    }

    #[test]
    fn a_frame_too_long_is_rejected_before_it_is_stored() {
        let mut frames = Frames::default();
        frames.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(frames.next().is_err());
    }
}
