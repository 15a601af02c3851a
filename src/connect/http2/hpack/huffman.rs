//! The Huffman code of HPACK (RFC 7541, 5.2 and appendix B).
//!
//! The code is canonical: among codes of one length, a larger symbol has a larger code, and the codes
//! of a length continue where those of the next shorter length end. So only the lengths are stored.

use crate::connect::http2::wrong::{UNDECODABLE, Wrong};

/// The length of each symbol's code in bits. The last symbol is the end of the string (EOS).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;
const EOS: u16 = 256;

/// The code, arranged for reading.
struct Code {
    /// By length: the first code of that length, their number, and the index of the first in `symbols`.
    lengths: [(u32, u32, usize); LONGEST + 1],
    /// Symbols by the length of their code, then by value.
    symbols: [u16; 257],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self { lengths: [(0, 0, 0); LONGEST + 1], symbols: [0; 257] };
        let (mut next, mut place, mut length) = (0u32, 0, 1);
        while length <= LONGEST {
            next <<= 1;
            let (first, start) = (next, place);
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    code.symbols[place] = symbol as u16;
                    place += 1;
                    next += 1;
                }
                symbol += 1;
            }
            code.lengths[length] = (first, next - first, start);
            length += 1;
        }
        code
    }
}

/// Decodes a string. 5 octets become at most 8.
pub(super) fn decode(octets: &[u8]) -> Result<Vec<u8>, Wrong> {
    let mut text = Vec::with_capacity(octets.len() * 8 / 5);
    let (mut bits, mut length) = (0u32, 0usize);
    for octet in octets {
        for place in (0..8).rev() {
            bits = bits << 1 | u32::from(octet >> place & 1);
            length += 1;
            // The code is complete, so every sequence of the longest length is a symbol.
            let (first, count, start) = CODE.lengths[length];
            let Some(offset) = bits.checked_sub(first).filter(|offset| *offset < count) else {
                continue;
            };
            match CODE.symbols[start + offset as usize] {
                EOS => return Err(UNDECODABLE),
                symbol => text.push(symbol as u8),
            }
            (bits, length) = (0, 0);
        }
    }
    // The rest is padding: less than an octet, and the beginning of EOS, which is all ones.
    let padded = length < 8 && bits == (1 << length) - 1;
    if padded { Ok(text) } else { Err(UNDECODABLE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of a symbol, and its length.
    fn code(symbol: u16) -> (u32, usize) {
        let length = usize::from(LENGTHS[usize::from(symbol)]);
        let (first, count, start) = CODE.lengths[length];
        let places = &CODE.symbols[start..start + count as usize];
        let place = places.iter().position(|known| *known == symbol).unwrap();
        (first + place as u32, length)
    }

    /// Symbols as octets, padded with ones.
    fn encode(symbols: &[u16]) -> Vec<u8> {
        let mut bits = Vec::new();
        for symbol in symbols {
            let (code, length) = code(*symbol);
            bits.extend((0..length).rev().map(|place| code >> place & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|eight| eight.iter().fold(0, |o, bit| o << 1 | u8::from(*bit))).collect()
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (symbol, expected) in [
            (0, (0x1ff8, 13)),
            (b'0'.into(), (0x0, 5)),
            (b'a'.into(), (0x3, 5)),
            (b' '.into(), (0x14, 6)),
            (b'z'.into(), (0x7b, 7)),
            (b'\\'.into(), (0x7fff0, 19)),
            (10, (0x3fff_fffc, 30)),
            (255, (0x3ff_ffee, 26)),
            (EOS, (0x3fff_ffff, 30)),
        ] {
            assert_eq!(code(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn every_octet_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        let symbols: Vec<u16> = (0..=255).collect();
        assert_eq!(decode(&encode(&symbols)), Ok(all));
        assert_eq!(decode(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_ones_and_less_than_an_octet() {
        // `a` is 00011.
        assert_eq!(decode(&[0b0001_1111]), Ok(b"a".to_vec()));
        assert_eq!(decode(&[0b0001_1110]), Err(UNDECODABLE));
        assert_eq!(decode(&[0b0001_1111, 0xff]), Err(UNDECODABLE));
        assert_eq!(decode(&encode(&[EOS])), Err(UNDECODABLE));
    }
}
