//! Frames of HTTP/2 with header blocks that use all of HPACK.

use super::peers::{Layer, Spoil};

/// Numbers that follow from a first one (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What a server sends: its preface, and what `script` stands for. `spoil` may change each header block.
pub fn http2(script: u32, spoil: Spoil<'_>) -> Vec<u8> {
    let (mut numbers, mut out) = (Numbers(script.into()), Vec::new());
    frame(&mut out, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 1, 0, 0, 16, 0]);
    for _ in 0..numbers.below(3) {
        match numbers.below(5) {
            0 => frame(&mut out, PING, 0, 0, b"12345678"),
            1 => frame(&mut out, SETTINGS, 1, 0, &[]),
            2 => frame(&mut out, WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
            3 => frame(&mut out, PRIORITY, 0, 3, &[0; 5]),
            _ => frame(&mut out, 0xfa, 0, 7, b"grease"),
        }
    }
    // An interim response, whose entries the final one may refer to.
    if numbers.below(3) == 0 {
        let mut interim = b"\x48\x03100".to_vec();
        fields(&mut interim, &mut numbers);
        headers(&mut out, &mut numbers, 0, &spoil(Layer::Block, interim));
    }
    let mut block = Vec::new();
    for _ in 0..numbers.below(3) {
        integer(&mut block, 0x20, 5, [0, 100, 4096][numbers.below(3)]);
    }
    // `:status: 200`, in four ways.
    let status: [&[u8]; 4] =
        [&[0x88], b"\x08\x03200", b"\x48\x82\x10\x01", b"\x10\x07:status\x03200"];
    block.extend_from_slice(status[numbers.below(4)]);
    fields(&mut block, &mut numbers);
    let block = spoil(Layer::Block, block);
    match numbers.below(8) {
        0 => headers(&mut out, &mut numbers, END_STREAM, &block),
        1 => frame(&mut out, RST_STREAM, 0, 1, &[0, 0, 0, 7]),
        2 => frame(&mut out, PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
        _ => {
            headers(&mut out, &mut numbers, 0, &block);
            frame(&mut out, DATA, PADDED, 1, b"\x02he\0\0");
            if numbers.below(2) == 0 {
                frame(&mut out, DATA, END_STREAM, 1, b"llo");
            } else {
                let mut trailer = Vec::new();
                fields(&mut trailer, &mut numbers);
                headers(&mut out, &mut numbers, END_STREAM, &spoil(Layer::Block, trailer));
            }
        }
    }
    frame(&mut out, GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    out
}

/// A header block in one frame or more.
fn headers(out: &mut Vec<u8>, numbers: &mut Numbers, flags: u8, block: &[u8]) {
    let (mut left, mut kind, mut flags) = (block, HEADERS, flags);
    while numbers.below(3) == 0 {
        let (part, rest) = left.split_at(numbers.below(left.len() + 1));
        frame(out, kind, flags, 1, part);
        (left, kind, flags) = (rest, CONTINUATION, 0);
    }
    frame(out, kind, flags | END_HEADERS, 1, left);
}

/// Fields in every representation.
fn fields(block: &mut Vec<u8>, numbers: &mut Numbers) {
    let mut entries = 0;
    for _ in 0..numbers.below(12) {
        match numbers.below(5) {
            // Of the static table.
            0 => integer(block, 0x80, 7, 15 + numbers.below(47)),
            // Of the dynamic one.
            1 if entries > 0 => integer(block, 0x80, 7, 62 + numbers.below(entries)),
            way => {
                let (pattern, prefix) = [(0x40, 6), (0, 4), (0x10, 4)][way % 3];
                entries += usize::from(pattern == 0x40);
                match numbers.below(3) {
                    0 => integer(block, pattern, prefix, 1 + numbers.below(61)),
                    _ => {
                        block.push(pattern);
                        block.extend_from_slice(b"\x06x-name");
                    }
                }
                match numbers.below(3) {
                    // `www.example.com` in Huffman's code (RFC 7541, C.4.1).
                    0 => block
                        .extend_from_slice(b"\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
                    1 => block.push(0),
                    _ => {
                        let length = numbers.below(200);
                        integer(block, 0, 7, length);
                        block.resize(block.len() + length, b'v');
                    }
                }
            }
        }
    }
}

/// An integer of HPACK.
pub fn integer(block: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let full = (1 << prefix) - 1;
    if value < full {
        block.push(pattern | value as u8);
        return;
    }
    block.push(pattern | full as u8);
    let mut left = value - full;
    while left >= 0x80 {
        block.push(left as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
}
