//! Capture files, as their formats are described in draft-ietf-opsawg-pcap and -pcapng.

/// A frame and when it was captured, in nanoseconds since 1970.
#[derive(Clone)]
pub struct Frame {
    pub time: u64,
    pub bytes: Vec<u8>,
}

/// Writes numbers in one byte order.
struct Writer {
    big: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn u32(&mut self, value: u32) {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn u16(&mut self, value: u16) {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// A pcapng block: its length stands before and after it.
    fn block(&mut self, kind: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self { big: self.big, bytes: Vec::new() };
        fill(&mut inner);
        while !inner.bytes.len().is_multiple_of(4) {
            inner.bytes.push(0);
        }
        let length = inner.bytes.len() as u32 + 12;
        self.u32(kind);
        self.u32(length);
        self.bytes.extend(inner.bytes);
        self.u32(length);
    }
}

/// A pcap file of either byte order, with nanoseconds or microseconds.
pub fn pcap(link: u32, frames: &[Frame], big: bool, nano: bool) -> Vec<u8> {
    let mut out = Writer { big, bytes: Vec::new() };
    out.u32(if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
    out.u16(2);
    out.u16(4);
    out.u32(0);
    out.u32(0);
    out.u32(65_535);
    out.u32(link);
    for frame in frames {
        out.u32((frame.time / 1_000_000_000) as u32);
        let below = (frame.time % 1_000_000_000) as u32;
        out.u32(if nano { below } else { below / 1000 });
        out.u32(frame.bytes.len() as u32);
        out.u32(frame.bytes.len() as u32);
        out.bytes.extend(&frame.bytes);
    }
    out.bytes
}

/// A pcapng file of two sections of different byte order, each with two interfaces that count time in
/// different units and take turns.
pub fn pcapng(link: u32, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (first, second) = frames.split_at(frames.len() / 2);
    for (big, frames) in [(false, first), (true, second)] {
        let mut out = Writer { big, bytes: Vec::new() };
        out.block(0x0a0d_0d0a, |out| {
            out.u32(0x1a2b_3c4d);
            out.u16(1);
            out.u16(0);
            out.bytes.extend([0xff; 8]);
        });
        for resolution in [6u8, 9] {
            out.block(1, |out| {
                out.u16(link as u16);
                out.u16(0);
                out.u32(0);
                out.u16(9); // if_tsresol
                out.u16(1);
                out.bytes.extend([resolution, 0, 0, 0]);
                out.u32(0);
            });
        }
        for (i, frame) in frames.iter().enumerate() {
            let interface = i as u32 % 2;
            let ticks = if interface == 0 { frame.time / 1000 } else { frame.time };
            out.block(6, |out| {
                out.u32(interface);
                out.u32((ticks >> 32) as u32);
                out.u32(ticks as u32);
                out.u32(frame.bytes.len() as u32);
                out.u32(frame.bytes.len() as u32);
                out.bytes.extend(&frame.bytes);
            });
        }
        bytes.extend(out.bytes);
    }
    bytes
}
