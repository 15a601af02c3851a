//! Packets of a run that are kept in memory until the verdict on their target is known.
//!
//! They are kept by source port, which no two attempts of a wave share. A [`Budget`] bounds the memory of all of them, and
//! [`Packets::MOST`] that of one attempt; packets above either are counted and not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::field::Timestamp;
use crate::packet::owner::PortSet;

/// Memory that the packets of a run share.
#[derive(Debug)]
pub struct Budget {
    octets: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of this many octets.
    pub fn new(octets: usize) -> Arc<Self> {
        Arc::new(Self { octets, used: AtomicUsize::new(0) })
    }

    /// Takes octets, if that many are left.
    fn take(&self, octets: usize) -> bool {
        let fits = |used: usize| used.checked_add(octets).filter(|sum| *sum <= self.octets);
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn release(&self, octets: usize) {
        self.used.fetch_sub(octets, Relaxed);
    }
}

/// A captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// Its octets on the wire.
    pub wire: u32,
    /// The captured part, from the link layer on.
    pub data: &'a [u8],
}

/// The packets of one attempt, in the order of the capture.
#[derive(Debug)]
pub struct Packets {
    budget: Arc<Budget>,
    /// Of each frame: time, octets on the wire, octets captured, and these.
    bytes: Vec<u8>,
    kept: u64,
    omitted: u64,
}

/// Octets before the data of a frame.
const HEAD: usize = 16;
/// Octets of a first allocation: a handshake and its end.
const FIRST: usize = 1 << 10;

impl Packets {
    /// The most octets that are kept of an attempt: about a thousand packets of data, as the capture cuts them.
    pub const MOST: usize = 256 << 10;

    fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: Vec::new(), kept: 0, omitted: 0 }
    }

    fn add(&mut self, frame: Frame<'_>) {
        let Frame { time, wire, data } = frame;
        if !self.make_room(HEAD + data.len()) {
            self.omitted += 1;
            return;
        }
        self.kept += 1;
        self.bytes.extend_from_slice(&time.0.to_le_bytes());
        self.bytes.extend_from_slice(&wire.to_le_bytes());
        // A captured frame is never longer than the snap length, which has 32 bits.
        self.bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(data);
    }

    /// Makes room for more octets within both bounds.
    fn make_room(&mut self, more: usize) -> bool {
        let needed = self.bytes.len() + more;
        let has = self.bytes.capacity();
        if needed <= has {
            return true;
        }
        let wanted = needed.max(has * 2).max(FIRST);
        if needed > Self::MOST || !self.budget.take(wanted - has) {
            return false;
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        true
    }

    /// Packets that were kept.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Packets that were not kept for want of memory.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// The frames, in the order of the capture.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (time, after) = rest.split_first_chunk()?;
            let (wire, after) = after.split_first_chunk()?;
            let (length, after) = after.split_first_chunk()?;
            let (data, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            let time = Timestamp(i64::from_le_bytes(*time));
            Some(Frame { time, wire: u32::from_le_bytes(*wire), data })
        })
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        self.budget.release(self.bytes.capacity());
    }
}

/// Packets by source port.
#[derive(Debug)]
pub(super) struct Kept {
    budget: Arc<Budget>,
    ports: Vec<Option<Packets>>,
}

impl Kept {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let ports = std::iter::repeat_with(|| None).take(1 << 16).collect();
        Self { budget, ports }
    }

    /// Keeps a frame of the attempt from this port.
    pub(super) fn add(&mut self, port: u16, frame: Frame<'_>) {
        let packets = &mut self.ports[usize::from(port)];
        packets.get_or_insert_with(|| Packets::new(self.budget.clone())).add(frame);
    }

    /// Drops what was kept of a port.
    pub(super) fn forget(&mut self, port: u16) {
        self.ports[usize::from(port)] = None;
    }

    /// Takes the packets of these ports.
    pub(super) fn take(&mut self, ports: &PortSet) -> Vec<(u16, Packets)> {
        let taken =
            ports.iter().filter_map(|port| Some((port, self.ports[usize::from(port)].take()?)));
        taken.collect()
    }
}

/// To which attempt a packet of the flow table belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// The packet with this number since the last call of
    /// [`FlowTable::belonging`](super::FlowTable::belonging) belongs to the attempt from this port.
    To { packet: usize, port: u16 },
    /// All packets so far from or to this port belong to an earlier connection.
    ToNone { port: u16 },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &[u8], time: i64) -> Frame<'_> {
        Frame { time: Timestamp(time), wire: 1500, data }
    }

    #[test]
    fn frames_come_back_as_they_were() {
        let budget = Budget::new(1 << 20);
        let mut kept = Kept::new(budget.clone());
        let [first, second] = [[1; 60], [2; 60]];
        kept.add(40_000, frame(&first, 7));
        kept.add(40_001, frame(&second, 8));
        kept.add(40_000, frame(&[], -1));
        kept.add(40_002, frame(&second, 9));
        kept.forget(40_002);
        let taken = kept.take(&[40_000, 40_002].into_iter().collect());
        let [(40_000, packets)] = &taken[..] else { panic!("{taken:?}") };
        let frames: Vec<_> = packets.frames().collect();
        assert_eq!(frames, [frame(&first, 7), frame(&[], -1)]);
        assert_eq!((packets.kept(), packets.omitted()), (2, 0));
        assert!(kept.take(&[40_000].into_iter().collect()).is_empty(), "taken");
        assert_ne!(budget.used.load(Relaxed), 0);
        drop((taken, kept));
        assert_eq!(budget.used.load(Relaxed), 0, "dropped packets give their memory back");
    }

    #[test]
    fn memory_is_bounded_for_an_attempt_and_for_all() {
        let budget = Budget::new(Packets::MOST + FIRST);
        let mut kept = Kept::new(budget.clone());
        let data = [0; 256];
        (0..5000).for_each(|time| kept.add(1, frame(&data, time)));
        (0..5000).for_each(|time| kept.add(2, frame(&data, time)));
        let taken = kept.take(&[1, 2].into_iter().collect());
        let counts: Vec<_> = taken.iter().map(|(_, of)| (of.kept(), of.omitted())).collect();
        let most = (Packets::MOST / (HEAD + data.len())) as u64;
        assert!(counts[0].0 <= most && counts[0].0 > most / 2, "{counts:?}");
        assert!(counts.iter().all(|(kept, omitted)| kept + omitted == 5000), "{counts:?}");
        assert!(taken.iter().all(|(_, of)| of.frames().count() as u64 == of.kept()));
        assert!(budget.used.load(Relaxed) <= Packets::MOST + FIRST);
    }
}
