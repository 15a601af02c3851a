//! Live capture by libpcap, in a thread of its own, and the flow table that it feeds.
//!
//! Frames are read where the kernel put them (`dispatch`, no copy) from a large TPACKET_V3 ring.
//! Such a ring hands out a block when it is full or `RETIRE` has passed, so on a quiet link a
//! packet is seen a little late. Whoever wants to have seen everything up to now
//! ([`Capture::flush`]) waits that long, by the clock and never for a packet, and then until the
//! kernel has counted no more packets than were read.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use nix::net::if_::InterfaceFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::completed::Flows;
use super::table::{FlowTable, Limits};
use crate::barrier::{guard, panic_point};
use crate::chain::Selection;
use crate::error::{Error, Result};
use crate::field::Timestamp;
use crate::packet::owner::{Owners, PortSet};
use crate::packet::{Link, Unread, dissect};

/// After this long the kernel hands out a block of packets that is not full.
const RETIRE: Duration = Duration::from_millis(20);
/// From a wish for everything up to now until everything up to now must have been handed out.
const SETTLE: Duration = Duration::from_millis(60);
/// Beyond that, how long to wait for packets that the kernel has counted and not handed out.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of the ring: two seconds of 200,000 packets/s.
pub const RING: usize = 128 << 20;
/// Bytes kept of a frame: link, IPv6 with extension headers, a full TCP header.
const SNAP_LENGTH: i32 = 256;

/// What was seen and what was lost, readable while the capture runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that passed the filter and were read.
    pub packets: AtomicU64,
    /// Frames that the kernel dropped because the ring was full.
    pub dropped: AtomicU64,
    /// Frames that the interface or its driver dropped.
    pub interface_dropped: AtomicU64,
    /// Frames that are not IP.
    pub not_ip: AtomicU64,
    /// Frames whose IP header could not be read.
    pub bad_ip: AtomicU64,
    /// Packets whose transport header could not be read.
    pub bad_transport: AtomicU64,
    /// Flows completed early because the table was full.
    pub evicted: AtomicU64,
    /// Flows that a function refused, and that are ignored.
    pub refused: AtomicU64,
    /// Packets that belong to no connection of the run.
    pub strangers: AtomicU64,
    /// Packets that have the addresses and ports of a flow and do not fit it.
    pub unexpected: AtomicU64,
    /// Finished flows whose facts were lost, since too many waited to be taken.
    pub lost: AtomicU64,
}

impl Counters {
    /// Whether anything was lost on the way from the interface to the flows.
    pub fn lossy(&self) -> bool {
        [&self.dropped, &self.interface_dropped, &self.evicted, &self.lost]
            .iter()
            .any(|n| n.load(Relaxed) > 0)
    }
}

/// A flush request: all flows from these source ports, after every packet up to its time has been taken in.
struct Flush {
    ports: PortSet,
    at: Instant,
    /// How many packets the kernel had counted when that time had come.
    counted: Option<u32>,
    reply: Sender<Flows>,
}

impl Flush {
    /// Whether everything it asked for has been read, or has been waited for long enough.
    fn is_ripe(&mut self, now: Instant, counted: u32, read: u32) -> bool {
        if now < self.at {
            return false;
        }
        let counted = *self.counted.get_or_insert(counted);
        // Both count modulo 2^32: the later one is less than half the circle ahead.
        let missing = counted.wrapping_sub(read).cast_signed();
        let late = missing > 0 && now >= self.at + PATIENCE;
        if late {
            log::warn!("the kernel counted {missing} packets more than it handed out");
        }
        missing <= 0 || late
    }
}

/// A capture whose interface is open and filling its ring, but which nobody reads yet.
pub struct Opened {
    capture: pcap::Capture<pcap::Active>,
    link: Link,
    /// Packets that the kernel counted and that are none of ours: they came before the filter.
    before: u32,
    /// Whether the kernel counts each packet twice, of which libpcap hands out one.
    loopback: bool,
}

/// Opens an interface for capture: from here on packets are kept.
pub fn open(interface: &str, filter: &str) -> Result<Opened> {
    let doing = format!("capture on {interface}");
    let failed = |why: pcap::Error| Error::failed(&doing, explain(&why));
    let retire = i32::try_from(RETIRE.as_millis()).unwrap_or(i32::MAX);
    let mut capture = pcap::Capture::from_device(interface)
        .map_err(failed)?
        // Immediate mode would turn TPACKET_V3 off.
        .immediate_mode(false)
        .timeout(retire)
        .buffer_size(RING as i32)
        .snaplen(SNAP_LENGTH)
        .promisc(false)
        .precision(pcap::Precision::Nano)
        .open()
        .map_err(failed)?;
    capture.filter(filter, true).map_err(failed)?;
    let linktype = capture.get_datalink();
    let link = Link::from_linktype(linktype.0).ok_or_else(|| {
        let (number, name) = (linktype.0, linktype.get_name().unwrap_or("without a name".into()));
        Error::Usage(format!(
            "{doing}: link type {number} ({name}) is not supported; choose another interface with -i"
        ))
    })?;
    let mut capture = capture.setnonblock().map_err(failed)?;
    // What came before the filter was in place is passed over, so that from here on every packet
    // that the kernel counts is one to be read.
    let start = Instant::now();
    while start.elapsed() < SETTLE {
        wait(&capture)?;
        let (read, _) = dispatch(&mut capture, |_| {})?;
        log::trace!("{read} packets before the filter");
    }
    let before = handed_out(&statistics(&mut capture)?);
    Ok(Opened { capture, link, before, loopback: is_loopback(interface) })
}

fn is_loopback(interface: &str) -> bool {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    addresses
        .filter(|address| address.interface_name == interface)
        .any(|address| address.flags.contains(InterfaceFlags::IFF_LOOPBACK))
}

/// Packets that the kernel put into the ring, modulo 2^32.
fn handed_out(stats: &pcap::Stat) -> u32 {
    stats.received.wrapping_sub(stats.dropped)
}

fn statistics(capture: &mut pcap::Capture<pcap::Active>) -> Result<pcap::Stat> {
    capture.stats().map_err(|why| Error::failed("read capture statistics", why))
}

fn wait(capture: &pcap::Capture<pcap::Active>) -> Result<()> {
    let mut fds = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(RETIRE).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(why) => Err(Error::failed("wait for packets", why)),
    }
}

/// Reads what is there; says how many packets, and whether that was all.
fn dispatch(
    capture: &mut pcap::Capture<pcap::Active>,
    mut each: impl FnMut(pcap::Packet<'_>),
) -> Result<(u32, bool)> {
    let mut packets = 0u32;
    let read = capture.dispatch(None, |packet| {
        packets = packets.wrapping_add(1);
        each(packet);
    });
    match read {
        Ok(read) => Ok((packets, read == 0)),
        Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => Ok((packets, true)),
        Err(why) => Err(Error::failed("read packets", why)),
    }
}

fn explain(why: &pcap::Error) -> String {
    let text = why.to_string();
    if text.contains("ermission") || text.contains("not permitted") {
        return format!(
            "{text}; needs CAP_NET_RAW (run as root, or try --lab, which needs no privilege)"
        );
    }
    if text.contains("No such device") {
        return format!("{text}; `ip link` lists the interfaces");
    }
    text
}

/// A capture that is being read.
pub struct Capture {
    /// What was seen and lost.
    pub counters: Arc<Counters>,
    wishes: Sender<Flush>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Flows>>,
}

impl Opened {
    /// Starts the thread that reads the packets. With `owners`, only flows of theirs are kept.
    pub fn start(
        self,
        selection: &Selection,
        limits: Limits,
        owners: Option<Arc<Owners>>,
    ) -> Result<Capture> {
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (wishes, inbox) = mpsc::channel();
        let mut reader = Reader {
            capture: self.capture,
            link: self.link,
            table: match &owners {
                Some(owners) => FlowTable::of_run(selection, limits, owners.clone()),
                None => FlowTable::new(selection, limits),
            },
            owners,
            counters: counters.clone(),
            read: self.before,
            loopback: self.loopback,
        };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || reader.run(&inbox, &stopped))
            .map_err(|why| Error::failed("start the capture thread", why))?;
        Ok(Capture { counters, wishes, stop, thread })
    }
}

impl Capture {
    /// Asks for all flows from these source ports, after every packet up to now has been taken in, and for what
    /// else is complete. Claims on the ports end then. The flows come through the receiver, which closes without
    /// them if the capture has failed.
    pub fn flush(&self, ports: PortSet) -> Receiver<Flows> {
        let (reply, flows) = mpsc::channel();
        // A failed capture closes `reply`, which is how the caller learns of it.
        let at = Instant::now() + SETTLE;
        let _ = self.wishes.send(Flush { ports, at, counted: None, reply });
        flows
    }

    /// Whether the thread still reads; if not, [`stop`](Self::stop) says why.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends the capture; what is still open is completed and given back.
    pub fn stop(self) -> Result<Flows> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| Error::Failed("the capture thread panicked".into()))?
    }
}

struct Reader {
    capture: pcap::Capture<pcap::Active>,
    link: Link,
    table: FlowTable,
    owners: Option<Arc<Owners>>,
    counters: Arc<Counters>,
    /// Packets read so far, to be compared with what the kernel counts (modulo 2^32).
    read: u32,
    loopback: bool,
}

impl Reader {
    fn run(&mut self, inbox: &Receiver<Flush>, stop: &AtomicBool) -> Result<Flows> {
        let mut wishes: Vec<Flush> = Vec::new();
        loop {
            wait(&self.capture)?;
            let before = Instant::now();
            while !self.dispatch()? {}
            let counted = self.count_losses()?;
            wishes.extend(inbox.try_iter());
            if !wishes.is_empty() {
                panic_point("capture");
            }
            // The ring was found empty after `before`.
            for mut wish in std::mem::take(&mut wishes) {
                if wish.is_ripe(before, counted, self.read) {
                    self.table.flush(|key| wish.ports.contains(key.source.1));
                    self.owners.iter().for_each(|owners| owners.release(&wish.ports));
                    // Nobody waits any more if the run was broken off.
                    let _ = wish.reply.send(self.table.take().into_flows());
                } else {
                    wishes.push(wish);
                }
            }
            if stop.load(Relaxed) && wishes.is_empty() {
                self.table.flush(|_| true);
                return Ok(self.table.take().into_flows());
            }
        }
    }

    /// Takes in the packets that are there; says whether there were none.
    fn dispatch(&mut self) -> Result<bool> {
        let Self { capture, link, table, counters, .. } = self;
        let (packets, empty) = dispatch(capture, |frame| {
            // With nanosecond precision libpcap puts nanoseconds where microseconds stand.
            let nanos = frame.header.ts.tv_sec.wrapping_mul(1_000_000_000);
            let time = Timestamp(nanos.wrapping_add(frame.header.ts.tv_usec));
            let dissected = guard(|| dissect(*link, frame.data, time)).unwrap_or_else(|panic| {
                panic.report("a packet was not read");
                Err(Unread::BadIp)
            });
            match dissected {
                Ok(packet) => {
                    log::trace!("{packet:?}");
                    if packet.flaw.is_some() {
                        count(&counters.bad_transport);
                    }
                    table.packet(&packet);
                }
                Err(Unread::NotIp) => count(&counters.not_ip),
                Err(Unread::BadLink | Unread::BadIp) => count(&counters.bad_ip),
                Err(Unread::CutTransport | Unread::BadTransport | Unread::BadQuote) => {
                    count(&counters.bad_transport);
                }
            }
        })?;
        self.read = self.read.wrapping_add(packets);
        counters.packets.fetch_add(u64::from(packets), Relaxed);
        Ok(empty)
    }

    /// Notes what was lost so far; gives the number of packets that the kernel counted.
    fn count_losses(&mut self) -> Result<u32> {
        let stats = statistics(&mut self.capture)?;
        self.counters.dropped.store(u64::from(stats.dropped), Relaxed);
        self.counters.interface_dropped.store(u64::from(stats.if_dropped), Relaxed);
        self.counters.evicted.store(self.table.evicted(), Relaxed);
        self.counters.refused.store(self.table.refused(), Relaxed);
        self.counters.strangers.store(self.table.strangers(), Relaxed);
        self.counters.unexpected.store(self.table.unexpected(), Relaxed);
        self.counters.lost.store(self.table.lost(), Relaxed);
        // A link that fell silent still completes its flows. Packet time is the system's clock.
        if let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            self.table.advance(Timestamp(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)));
        }
        // Where the two counts cannot be compared, time alone must do.
        Ok(if self.loopback { self.read } else { handed_out(&stats) })
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(at: Instant) -> Flush {
        let (reply, _) = mpsc::channel();
        Flush { ports: PortSet::default(), at, counted: None, reply }
    }

    #[test]
    fn a_wish_waits_for_its_time_and_for_what_was_counted_then() {
        let at = Instant::now();
        let later = at + Duration::from_millis(1);
        let mut flush = wish(later);
        assert!(!flush.is_ripe(at, 7, 7), "not yet");
        assert!(!flush.is_ripe(later, 10, 7), "three packets are in a block that is not full");
        assert!(flush.is_ripe(later, 99, 10), "what came after is not waited for");
    }

    #[test]
    fn a_wish_does_not_wait_for_ever_and_survives_the_end_of_the_count() {
        let at = Instant::now();
        let mut flush = wish(at);
        assert!(!flush.is_ripe(at, 10, 7));
        assert!(flush.is_ripe(at + PATIENCE, 10, 7));
        assert!(!wish(at).is_ripe(at, 1, u32::MAX), "two packets behind, across the wrap");
        assert!(wish(at).is_ripe(at, u32::MAX, 1));
    }
}
