//! Packet filters in pcap's language, as tcpdump answers on the same file.
//!
//! libpcap translates a filter for a capture file with a link type and a byte order, both of which matter. The
//! program that comes out is run here, for libpcap's binding knows no packet that is longer than what was
//! captured of it, and `greater` and `less` ask for the length on the wire.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use crate::packet::link::TYPES;

/// The snap length that libpcap is told; it sees no packet.
const SNAP_LENGTH: u32 = 1 << 18;
/// Instructions that are run for a packet. Only `protochain` makes loops, which end with the packet.
const MOST: usize = 1 << 20;
/// Words of memory that a program has.
const MEMORY: usize = 16;

/// A filter, and what came of translating it for the link types that were met.
#[derive(Debug)]
pub(super) struct Filter {
    text: String,
    programs: HashMap<(u16, bool), Result<Arc<Program>, String>>,
}

impl Filter {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), programs: HashMap::new() }
    }

    /// The program for captures of a link type in files of a byte order. The error is libpcap's.
    pub(super) fn program(&mut self, linktype: u16, big: bool) -> Result<Arc<Program>, String> {
        let entry = self.programs.entry((linktype, big));
        entry.or_insert_with(|| compile(&self.text, linktype, big).map(Arc::new)).clone()
    }

    /// Whether the filter is one, whatever the link type.
    ///
    /// # Errors
    /// If no link type that is understood can have it: that of Ethernet.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let any = TYPES.iter().any(|row| self.program(row.number, false).is_ok());
        if any { Ok(()) } else { self.program(1, false).map(drop) }
    }
}

fn compile(text: &str, linktype: u16, big: bool) -> Result<Program, String> {
    let doing = |why: &dyn std::fmt::Display| format!("--filter {text}: {why}");
    let capture = empty_capture(linktype, big).map_err(|why| doing(&why))?;
    let program = capture.compile(text, true).map_err(|why| doing(&why))?;
    let instructions = program.get_instructions().iter();
    let instructions: Option<Vec<_>> =
        instructions.map(|each| Instruction::read(&each.to_string())).collect();
    instructions.map(Program).ok_or_else(|| doing(&"its program cannot be read"))
}

/// The name of a link type, if it has one: libpcap's, which names none of those that are for private use.
pub fn link_name(linktype: u16) -> Option<String> {
    if let 147..=162 = linktype {
        return Some(format!("USER{}", linktype - 147));
    }
    empty_capture(linktype, false).ok()?.get_datalink().get_name().ok()
}

/// A capture file without packets, open in libpcap: it knows what a number in such a file means.
fn empty_capture(linktype: u16, big: bool) -> Result<pcap::Capture<pcap::Offline>, String> {
    let fields = [0xa1b2_c3d4, 0, 0, 0, SNAP_LENGTH, u32::from(linktype)];
    let order = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut header = fields.map(order);
    let version = [2u16, 4].map(|number| if big { number.to_be() } else { number.to_le() });
    header[1][..2].copy_from_slice(&version[0].to_ne_bytes());
    header[1][2..].copy_from_slice(&version[1].to_ne_bytes());
    let (reader, mut writer) = std::io::pipe().map_err(|why| why.to_string())?;
    writer.write_all(header.as_flattened()).map_err(|why| why.to_string())?;
    // By this name the binding opens it without unsafe code; the capture has a descriptor of its own.
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    pcap::Capture::from_file(path).map_err(|why| why.to_string())
}

/// A program of the classic BPF machine.
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
    /// The binding shows its four numbers, and nothing else of it.
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
    /// Whether it lets a frame through, of which these bytes were captured of `wire` octets. What reads behind
    /// the bytes does not match.
    pub(super) fn matches(&self, bytes: &[u8], wire: u32) -> bool {
        self.run(bytes, wire).is_some_and(|accepted| accepted > 0)
    }

    /// What the program returns; `None` if it reads what is not there, divides by zero or does not end.
    fn run(&self, bytes: &[u8], wire: u32) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY];
        let mut at = 0usize;
        for _ in 0..MOST {
            let Instruction { code, if_true, if_false, k } = *self.0.get(at)?;
            at += 1;
            let operand = if code & 0x08 == 0 { k } else { x };
            let cell = || memory.get(k as usize).copied();
            let indirect = || Some((x as usize).checked_add(k as usize)?);
            // Class, then size and mode or operation.
            match code & 0x07 {
                // A is loaded.
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
                // X is.
                1 => {
                    x = match code & 0xe0 {
                        0x00 => k,
                        0x60 => cell()?,
                        0x80 => wire,
                        // The length of an IPv4 header.
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
                        // Also back.
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

/// A number of some octets in network byte order.
fn load(bytes: &[u8], at: usize, size: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.get(..size)?;
    Some(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

#[cfg(test)]
mod tests;
