//! Header blocks: one HEADERS frame and its CONTINUATIONs (RFC 9113, 4.3), decoded by HPACK (RFC 7541).

use super::frame::{Frame, flag, kind};
use super::hpack::Decoder;
use super::wrong::Wrong;

/// The longest header block: more than any response needs, and cheap to decode.
const LONGEST: usize = 16 << 10;
/// The overhead counted per field, so that many empty ones are bounded too (RFC 9113, 10.5.1).
const FIELD: usize = 32;

/// A complete header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The stream.
    pub(crate) stream: u32,
    /// Whether it ends the stream.
    pub(crate) last: bool,
    /// The fields that begin with a colon, in their order; each shorter than [`LONGEST`].
    pub(crate) pseudo: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads the header blocks of one connection. It holds at most a block ([`LONGEST`]), the fields
/// kept of it (as many octets), and the dynamic table.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    decoder: Decoder,
    /// The incomplete block: its stream, whether it ends the stream, its octets.
    open: Option<(u32, bool, Vec<u8>)>,
}

impl Headers {
    /// Handles any frame; returns a block if this frame completes it. While a block is open, only
    /// its continuation may come.
    pub(crate) fn take(&mut self, frame: &Frame) -> Result<Option<Block>, Wrong> {
        let part = match (&self.open, frame.kind) {
            (None, kind::HEADERS) => {
                self.open = Some((frame.stream, frame.has(flag::END_STREAM), Vec::new()));
                frame.content()?
            }
            (Some((stream, ..)), kind::CONTINUATION) if *stream == frame.stream => &frame.payload,
            (None, kind::CONTINUATION) | (Some(_), _) => {
                return Err("Peer's HTTP/2 headers are out of order");
            }
            (None, _) => return Ok(None),
        };
        let Some((stream, last, mut octets)) = self.open.take() else { return Ok(None) };
        if octets.len() + part.len() > LONGEST {
            return Err("Peer's HTTP/2 headers are too long");
        }
        octets.extend_from_slice(part);
        if !frame.has(flag::END_HEADERS) {
            self.open = Some((stream, last, octets));
            return Ok(None);
        }
        let mut pseudo = Vec::new();
        let mut size = 0;
        self.decoder.decode(&octets, |name, value| {
            // The table expands few octets to many, so kept fields have their own bound.
            size += name.len() + value.len() + FIELD;
            if name.starts_with(b":") && size <= LONGEST {
                pseudo.push((name.to_vec(), value.to_vec()));
            }
        })?;
        Ok(Some(Block { stream, last, pseudo }))
    }
}

impl Block {
    /// The value of a field whose name begins with a colon.
    pub(crate) fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.pseudo.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::http2::wrong::UNDECODABLE;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Frame {
        Frame { kind, flags, stream: 1, payload: payload.to_vec() }
    }

    #[test]
    fn a_block_is_assembled_from_its_parts() {
        // RFC 7541, C.6.1: `:status: 302`, in the Huffman code.
        let whole = [0x48, 0x82, 0x64, 0x02];
        for cut in 0..=whole.len() {
            let mut headers = Headers::default();
            let (a, b) = whole.split_at(cut);
            assert_eq!(headers.take(&frame(kind::HEADERS, flag::END_STREAM, a)), Ok(None));
            let block =
                headers.take(&frame(kind::CONTINUATION, flag::END_HEADERS, b)).unwrap().unwrap();
            assert!(block.last);
            assert_eq!(block.field(b":status"), Some(&b"302"[..]));
        }
    }

    #[test]
    fn an_incomplete_size_update_is_rejected() {
        let block = frame(kind::HEADERS, flag::END_HEADERS, &[0x3f]);
        assert_eq!(Headers::default().take(&block), Err(UNDECODABLE));
    }

    #[test]
    fn fields_kept_of_a_block_are_bounded() {
        // An entry `:x: vvv...`, then as many references to it as fit a block.
        let mut block = b"\x40\x02:x\x7f\x81\x0f".to_vec();
        block.resize(block.len() + 2048, b'v');
        block.resize(LONGEST, 0xbe);
        let block = frame(kind::HEADERS, flag::END_HEADERS, &block);
        let kept = Headers::default().take(&block).unwrap().unwrap().pseudo;
        let size = kept.iter().map(|(name, value)| name.len() + value.len() + FIELD).sum::<usize>();
        assert!(size <= LONGEST && kept.len() == 7, "{size} {}", kept.len());
    }

    #[test]
    fn frames_that_interrupt_or_overflow_a_block_are_rejected() {
        let mut headers = Headers::default();
        assert_eq!(headers.take(&frame(kind::PING, 0, &[])), Ok(None));
        assert!(headers.take(&frame(kind::CONTINUATION, 0, &[])).is_err());
        headers.take(&frame(kind::HEADERS, 0, &[])).unwrap();
        assert!(headers.take(&frame(kind::PING, 0, &[])).is_err());
        let mut headers = Headers::default();
        headers.take(&frame(kind::HEADERS, 0, &[0; LONGEST])).unwrap();
        assert!(headers.take(&frame(kind::CONTINUATION, 0, &[0])).is_err());
    }
}
