//! Blocks of pcapng (draft-ietf-opsawg-pcapng) as this program writes them: a section header, an interface, packets, each
//! with a comment. Little-endian, times in nanoseconds. `blocks` reads them.

use std::io;

/// Codes of options.
mod option {
    /// Text, in any block.
    pub const COMMENT: u16 = 1;
    /// The operating system, in a section header.
    pub const OS: u16 = 3;
    /// The program that wrote the file, in a section header.
    pub const PROGRAM: u16 = 4;
    /// The name of an interface.
    pub const NAME: u16 = 2;
    /// The resolution of an interface's times.
    pub const RESOLUTION: u16 = 9;
    /// The filter of an interface.
    pub const FILTER: u16 = 11;
}

/// Block types.
mod kind {
    pub const SECTION: u32 = 0x0a0d_0d0a;
    pub const INTERFACE: u32 = 1;
    pub const ENHANCED_PACKET: u32 = 6;
}

/// The exponent of ten of a nanosecond.
const NANOSECONDS: u8 = 9;
/// A filter option holds a filter of libpcap's language after this octet.
const FILTER_IS_TEXT: u8 = 0;
/// The most octets of an option's value.
const MOST: usize = u16::MAX as usize;

/// The interface of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name on the host that captured.
    pub name: String,
    /// Its link type, a number of tcpdump.org/linktypes.html.
    pub link_type: u16,
    /// The most octets that were captured of a frame.
    pub snap_length: u32,
    /// The capture's filter.
    pub filter: String,
}

/// Begins a section with this comment, and describes its only interface.
pub fn section(out: &mut Vec<u8>, comment: &str, interface: &Interface) {
    block(out, kind::SECTION, |out| {
        out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        // Version 1.0, and a section of unknown length.
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        option(out, option::COMMENT, &[comment.as_bytes()]);
        option(out, option::OS, &[b"Linux"]);
        let program = concat!("pathspider ", env!("CARGO_PKG_VERSION"));
        option(out, option::PROGRAM, &[program.as_bytes()]);
        end_of_options(out);
    });
    block(out, kind::INTERFACE, |out| {
        out.extend_from_slice(&interface.link_type.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&interface.snap_length.to_le_bytes());
        option(out, option::NAME, &[interface.name.as_bytes()]);
        option(out, option::RESOLUTION, &[&[NANOSECONDS]]);
        option(out, option::FILTER, &[&[FILTER_IS_TEXT], interface.filter.as_bytes()]);
        end_of_options(out);
    });
}

/// Adds a packet of the section's interface. `time` is in nanoseconds since 1970, `wire` the octets on the wire.
pub fn packet(out: &mut Vec<u8>, time: i64, wire: u32, data: &[u8], comment: &str) {
    block(out, kind::ENHANCED_PACKET, |out| {
        let time = time.cast_unsigned();
        let numbers = [0, (time >> 32) as u32, time as u32, data.len() as u32, wire];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.extend_from_slice(data);
        pad(out, data.len());
        option(out, option::COMMENT, &[comment.as_bytes()]);
        end_of_options(out);
    });
}

/// Writes a block: type, length, body, length.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - begin + 4) as u32;
    out[begin + 4..begin + 8].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

/// Writes an option whose value has these parts. A longer text than an option can hold is cut.
fn option(out: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let value = parts.concat();
    let mut length = value.len().min(MOST);
    // Not within a character.
    while length < value.len() && value[length] & 0xc0 == 0x80 {
        length -= 1;
    }
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(&value[..length]);
    pad(out, length);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// Fills up to 32 bits.
fn pad(out: &mut Vec<u8>, length: usize) {
    out.extend(std::iter::repeat_n(0, length.next_multiple_of(4) - length));
}

/// The length of the whole blocks at the beginning of a file of this length; `head` reads the first octets of a block.
///
/// # Errors
/// Those of `head`.
pub fn whole_blocks(
    length: u64,
    mut head: impl FnMut(u64) -> io::Result<[u8; 8]>,
) -> io::Result<u64> {
    let mut whole = 0;
    while length - whole >= 12 {
        let [_, _, _, _, a, b, c, d] = head(whole)?;
        let block = u64::from(u32::from_le_bytes([a, b, c, d]));
        if block < 12 || !block.is_multiple_of(4) || block > length - whole {
            break;
        }
        whole += block;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_end_where_a_file_was_cut() {
        let interface =
            Interface { name: "eth0".into(), link_type: 1, snap_length: 256, filter: "tcp".into() };
        let mut file = Vec::new();
        section(&mut file, "one target", &interface);
        let head = file.len();
        packet(&mut file, 1_700_000_000_123_456_789, 1500, &[7; 61], "é");
        let all = file.len();
        let whole = |file: &[u8]| {
            let head = |at: u64| Ok(*file[at as usize..].first_chunk().unwrap());
            whole_blocks(file.len() as u64, head).unwrap() as usize
        };
        assert_eq!(whole(&file), all);
        for cut in [head + 1, head + 7, head + 40, all - 1] {
            assert_eq!(whole(&file[..cut]), head, "{cut}");
        }
        assert_eq!(whole(&[]), 0);
        assert_eq!(whole(&[0; 64]), 0);
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let mut out = Vec::new();
        option(&mut out, 1, &["é".repeat(40_000).as_bytes()]);
        let length = u16::from_le_bytes([out[2], out[3]]);
        assert_eq!(length, u16::MAX - 1);
        assert!(std::str::from_utf8(&out[4..4 + usize::from(length)]).is_ok());
    }
}
