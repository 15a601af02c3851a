//! Packet filters in pcap's language, with the answers that tcpdump gives on the same file.
//!
//! libpcap compiles a filter for a capture file with a link type and a byte order; both matter. The program is
//! run here and not by the libpcap binding, which has no parameter for the length on the wire, and `greater` and
//! `less` need it.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use crate::packet::link::TYPES;

/// The snap length in the header that libpcap reads; libpcap sees no packet.
const SNAP_LENGTH: u32 = 1 << 18;
/// Limit on the instructions run for one packet. Only `protochain` compiles to loops, and they end with the packet.
const MOST: usize = 1 << 20;
/// Words of scratch memory (BPF_MEMWORDS).
const MEMORY: usize = 16;

/// A filter, and its programs for the link types seen so far.
#[derive(Debug)]
pub(super) struct Filter {
    text: String,
    programs: HashMap<(u16, bool), Result<Arc<Program>, String>>,
}

impl Filter {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), programs: HashMap::new() }
    }

    /// The program for a link type in files of a byte order.
    ///
    /// # Errors
    /// libpcap's message if the filter does not compile for this link type.
    pub(super) fn program(&mut self, linktype: u16, big: bool) -> Result<Arc<Program>, String> {
        let entry = self.programs.entry((linktype, big));
        entry.or_insert_with(|| compile(&self.text, linktype, big).map(Arc::new)).clone()
    }

    /// Checks that the filter compiles for some link type.
    ///
    /// # Errors
    /// libpcap's message for Ethernet if it compiles for none.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let any = TYPES.iter().any(|row| self.program(row.number, false).is_ok());
        if any { Ok(()) } else { self.program(1, false).map(drop) }
    }
}

fn compile(text: &str, linktype: u16, big: bool) -> Result<Program, String> {
    let doing = |why: &dyn std::fmt::Display| format!("apply the filter `{text}`: {why}");
    let capture = empty_capture(linktype, big).map_err(|why| doing(&why))?;
    let program = capture.compile(text, true).map_err(|why| doing(&why))?;
    let instructions = program.get_instructions().iter();
    let instructions: Option<Vec<_>> =
        instructions.map(|each| Instruction::read(&each.to_string())).collect();
    instructions.map(Program).ok_or_else(|| doing(&"its program cannot be read"))
}

/// The name of a link type, if it has one. libpcap has no names for those reserved for private use.
pub fn link_name(linktype: u16) -> Option<String> {
    if let 147..=162 = linktype {
        return Some(format!("USER{}", linktype - 147));
    }
    empty_capture(linktype, false).ok()?.get_datalink().get_name().ok()
}

/// An empty capture file, opened by libpcap, which maps the link type in the file to its own number.
fn empty_capture(linktype: u16, big: bool) -> Result<pcap::Capture<pcap::Offline>, String> {
    let fields = [0xa1b2_c3d4, 0, 0, 0, SNAP_LENGTH, u32::from(linktype)];
    let order = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut header = fields.map(order);
    let version = [2u16, 4].map(|number| if big { number.to_be() } else { number.to_le() });
    header[1][..2].copy_from_slice(&version[0].to_ne_bytes());
    header[1][2..].copy_from_slice(&version[1].to_ne_bytes());
    let (reader, mut writer) = std::io::pipe().map_err(|why| why.to_string())?;
    writer.write_all(header.as_flattened()).map_err(|why| why.to_string())?;
    // The path lets the binding open the pipe without unsafe code; libpcap gets a descriptor of its own.
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    pcap::Capture::from_file(path).map_err(|why| why.to_string())
}

/// A classic BPF program.
#[derive(Debug)]
pub(super) struct Program(Vec<Instruction>);

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

impl Instruction {
    /// Parses the binding's `Display` form, its only access to the four numbers.
    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace();
        let mut number = || numbers.next()?.parse::<u32>().ok();
        Some(Self {
            code: number()?.try_into().ok()?,
            if_true: number()?.try_into().ok()?,
            if_false: number()?.try_into().ok()?,
            k: number()?,
        })
    }
}

impl Program {
    /// Whether a frame matches: `bytes` were captured of the `wire` octets. A program that reads beyond `bytes`
    /// does not match.
    pub(super) fn matches(&self, bytes: &[u8], wire: u32) -> bool {
        self.run(bytes, wire).is_some_and(|accepted| accepted > 0)
    }

    /// The program's return value; `None` if it reads out of bounds, divides by zero or does not end.
    fn run(&self, bytes: &[u8], wire: u32) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY];
        let mut at = 0usize;
        for _ in 0..MOST {
            let Instruction { code, if_true, if_false, k } = *self.0.get(at)?;
            at += 1;
            let operand = if code & 0x08 == 0 { k } else { x };
            let cell = || memory.get(k as usize).copied();
            let indirect = || (x as usize).checked_add(k as usize);
            // The instruction class; the other bits are size and mode, or the operation.
            match code & 0x07 {
                // BPF_LD
                0 => {
                    let size = match code & 0x18 {
                        0x00 => 4,
                        0x08 => 2,
                        _ => 1,
                    };
                    a = match code & 0xe0 {
                        0x00 => k,
                        0x20 => load(bytes, k as usize, size)?,
                        0x40 => load(bytes, indirect()?, size)?,
                        0x60 => cell()?,
                        _ => wire,
                    };
                }
                // BPF_LDX
                1 => {
                    x = match code & 0xe0 {
                        0x00 => k,
                        0x60 => cell()?,
                        0x80 => wire,
                        // BPF_MSH: the length of an IPv4 header.
                        _ => (load(bytes, k as usize, 1)? & 0xf) * 4,
                    };
                }
                2 => *memory.get_mut(k as usize)? = a,
                3 => *memory.get_mut(k as usize)? = x,
                4 => {
                    a = match code & 0xf0 {
                        0x00 => a.wrapping_add(operand),
                        0x10 => a.wrapping_sub(operand),
                        0x20 => a.wrapping_mul(operand),
                        0x30 => a.checked_div(operand)?,
                        0x40 => a | operand,
                        0x50 => a & operand,
                        0x60 => a.checked_shl(operand).unwrap_or(0),
                        0x70 => a.checked_shr(operand).unwrap_or(0),
                        0x80 => a.wrapping_neg(),
                        0x90 => a.checked_rem(operand)?,
                        _ => a ^ operand,
                    };
                }
                5 => {
                    let holds = match code & 0xf0 {
                        // BPF_JA; the offset is signed.
                        0x00 => {
                            at = at.checked_add_signed(k.cast_signed() as isize)?;
                            continue;
                        }
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    at += usize::from(if holds { if_true } else { if_false });
                }
                6 => return Some(if code & 0x18 == 0x10 { a } else { k }),
                _ if code & 0xf8 == 0x80 => a = x,
                _ => x = a,
            }
        }
        None
    }
}

/// Loads `size` octets in network byte order.
fn load(bytes: &[u8], at: usize, size: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.get(..size)?;
    Some(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

#[cfg(test)]
mod tests;
