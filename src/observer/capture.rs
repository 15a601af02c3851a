//! Live capture by libpcap, in a thread of its own, and the flow table that it feeds.
//!
//! Frames are read from a large TPACKET_V3 ring (`dispatch`) and reach the flow table in batches. The
//! kernel releases a block of it when the block is full or `RETIRE` has passed, so on a quiet link a
//! packet is seen late. [`Capture::flush`] therefore waits that long, by the clock and never for a
//! packet, and then until the kernel has counted no more packets than were read.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use nix::net::if_::InterfaceFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::backlog::Backlog;
use super::completed::Flows;
use super::kept::{Budget, Kept};
use super::pcapng;
use super::pending::{Damage, Pending};
use super::ring::Ring;
use super::table::{FlowTable, Limits};
use crate::barrier::panic_point;
use crate::chain::Selection;
use crate::error::{Error, Result, Setting};
use crate::field::Timestamp;
use crate::packet::owner::{Owners, PortSet};
use crate::packet::{Link, link};

/// After this time the kernel releases a block that is not full.
const RETIRE: Duration = Duration::from_millis(20);
/// From a flush request until the kernel must have released every packet up to the request.
const SETTLE: Duration = Duration::from_millis(60);
/// Further time to wait for packets that the kernel has counted and not released.
const PATIENCE: Duration = Duration::from_secs(2);
/// Snap length in bytes: link, IPv6 with extension headers, a full TCP header.
pub const SNAP_LENGTH: i32 = 256;

/// Packets seen and lost, readable while the capture runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that passed the filter and were read.
    pub packets: AtomicU64,
    /// Frames that the kernel dropped because the ring was full.
    pub dropped: AtomicU64,
    /// Frames that the interface, its driver, or a receive queue of this host dropped.
    pub interface_dropped: AtomicU64,
    /// Frames that are not IP.
    pub not_ip: AtomicU64,
    /// Frames whose IP header could not be read.
    pub bad_ip: AtomicU64,
    /// Packets whose transport header could not be read.
    pub bad_transport: AtomicU64,
    /// Flows completed early because the table was full.
    pub evicted: AtomicU64,
    /// Flows that a function refused; their packets are ignored.
    pub refused: AtomicU64,
    /// Packets that do not belong to a connection of the run.
    pub strangers: AtomicU64,
    /// Packets with the addresses and ports of a flow that do not fit it.
    pub unexpected: AtomicU64,
    /// Finished flows whose facts were lost because too many had not been taken.
    pub lost: AtomicU64,
}

impl Counters {
    fn count(&self, damage: Damage) {
        self.not_ip.fetch_add(damage.not_ip, Relaxed);
        self.bad_ip.fetch_add(damage.bad_ip, Relaxed);
        self.bad_transport.fetch_add(damage.bad_transport, Relaxed);
    }

    /// Whether anything was lost on the way from the interface to the flows.
    pub fn lossy(&self) -> bool {
        [&self.dropped, &self.interface_dropped, &self.evicted, &self.lost]
            .iter()
            .any(|n| n.load(Relaxed) > 0)
    }
}

/// A flush request: all flows from these source ports, after every packet up to `at` has been processed.
struct Flush {
    ports: PortSet,
    at: Instant,
    /// The kernel's packet count at that time.
    counted: Option<u32>,
    reply: Sender<Flows>,
}

impl Flush {
    /// Whether every packet up to its time has been read, or the wait has timed out.
    fn is_ripe(&mut self, now: Instant, counted: u32, read: u32) -> bool {
        if now < self.at {
            return false;
        }
        let counted = *self.counted.get_or_insert(counted);
        // Both counts are modulo 2^32; the difference is less than half of that.
        let missing = counted.wrapping_sub(read).cast_signed();
        let late = missing > 0 && now >= self.at + PATIENCE;
        if late {
            log::warn!("the kernel counted {missing} packets more than it released");
        }
        missing <= 0 || late
    }
}

/// A capture whose interface is open and filling its ring, before the thread that reads it starts.
pub struct Opened {
    capture: pcap::Capture<pcap::Active>,
    link: Link,
    /// Packets that the kernel counted before the filter was in place.
    before: u32,
    /// Whether the kernel counts each packet twice and libpcap returns it once.
    loopback: bool,
    backlog: Backlog,
    interface: pcapng::Interface,
    kept: Option<Arc<Budget>>,
}

/// Opens an interface for capture with a ring of this size: packets are kept from now on.
pub fn open(interface: &str, filter: &str, ring: Ring) -> Result<Opened> {
    let doing = format!("capture on {interface}");
    let failed = |why: pcap::Error| Error::failed(&doing, explain(&why));
    let retire = i32::try_from(RETIRE.as_millis()).unwrap_or(i32::MAX);
    let mut capture = pcap::Capture::from_device(interface)
        .map_err(failed)?
        // Immediate mode would turn TPACKET_V3 off.
        .immediate_mode(false)
        .timeout(retire)
        .buffer_size(i32::try_from(ring.octets).unwrap_or(i32::MAX))
        .snaplen(SNAP_LENGTH)
        .promisc(false)
        .precision(pcap::Precision::Nano)
        .open()
        .map_err(failed)?;
    capture.filter(filter, true).map_err(failed)?;
    let linktype = capture.get_datalink();
    let link = Link::from_linktype(linktype.0).ok_or_else(|| {
        let (number, name) = (linktype.0, linktype.get_name().unwrap_or("without a name".into()));
        Error::needs(
            Setting::Interface,
            format!("{doing}: link type {number} ({name}) is not supported"),
        )
    })?;
    let mut capture = capture.setnonblock().map_err(failed)?;
    // Skip packets from before the filter was in place, so that from here on every packet that the kernel
    // counts will be read.
    let start = Instant::now();
    while start.elapsed() < SETTLE {
        wait(&capture)?;
        let (read, _) = dispatch(&mut capture, |_| {})?;
        log::trace!("{read} packets before the filter");
    }
    let before = handed_out(&statistics(&mut capture)?);
    let (loopback, backlog) = (is_loopback(interface), Backlog::start());
    let interface = pcapng::Interface {
        name: interface.to_owned(),
        link_type: link::in_files(linktype.0),
        snap_length: SNAP_LENGTH.cast_unsigned(),
        filter: filter.to_owned(),
    };
    Ok(Opened { capture, link, before, loopback, backlog, interface, kept: None })
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

/// Reads the available packets; returns their number, and whether the ring is empty.
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
        return format!("{text}; needs CAP_NET_RAW (run as root; the lab needs no privilege)");
    }
    if text.contains("No such device") {
        return format!("{text}; `ip link` lists the interfaces");
    }
    text
}

/// A capture that is being read.
pub struct Capture {
    /// Packets seen and lost.
    pub counters: Arc<Counters>,
    flushes: Sender<Flush>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Flows>>,
}

impl Opened {
    /// The interface, as capture files describe it.
    pub fn interface(&self) -> &pcapng::Interface {
        &self.interface
    }

    /// Keeps the packets of attempts, within this budget: [`Flows::packets`] has them.
    pub fn keep(self, budget: Arc<Budget>) -> Self {
        Self { kept: Some(budget), ..self }
    }

    /// Starts the thread that reads the packets. With `owners`, only their flows are kept.
    pub fn start(
        self,
        selection: &Selection,
        limits: Limits,
        owners: Option<Arc<Owners>>,
    ) -> Result<Capture> {
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (flushes, inbox) = mpsc::channel();
        let mut pending = Pending::new(self.link);
        let mut table = match &owners {
            Some(owners) => FlowTable::of_run(selection, limits, owners.clone()),
            None => FlowTable::new(selection, limits),
        };
        if let Some(budget) = self.kept {
            pending.keep(Kept::new(budget));
            table.follow();
        }
        let mut reader = Reader {
            capture: self.capture,
            pending,
            table,
            owners,
            counters: counters.clone(),
            read: self.before,
            loopback: self.loopback,
            backlog: self.backlog,
            backlogged: 0,
        };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || reader.run(&inbox, &stopped))
            .map_err(|why| Error::failed("start the capture thread", why))?;
        Ok(Capture { counters, flushes, stop, thread })
    }
}

impl Capture {
    /// Requests all flows from these source ports, after every packet up to now has been processed, and all other
    /// completed flows. The claims on the ports end then. The receiver yields the flows; it closes without them if the
    /// capture has failed.
    pub fn flush(&self, ports: PortSet) -> Receiver<Flows> {
        let (reply, flows) = mpsc::channel();
        // A failed capture closes `reply`; so the caller notices.
        let at = Instant::now() + SETTLE;
        let _ = self.flushes.send(Flush { ports, at, counted: None, reply });
        flows
    }

    /// Whether the thread still reads; if not, [`stop`](Self::stop) says why.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends the capture; completes and returns the flows that are still open.
    pub fn stop(self) -> Result<Flows> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| Error::Failed("the capture thread panicked".into()))?
    }
}

struct Reader {
    capture: pcap::Capture<pcap::Active>,
    pending: Pending,
    table: FlowTable,
    owners: Option<Arc<Owners>>,
    counters: Arc<Counters>,
    /// Packets read so far, modulo 2^32, to be compared with the kernel's count.
    read: u32,
    loopback: bool,
    backlog: Backlog,
    /// What this host's receive queues had dropped when flows were last requested.
    backlogged: u64,
}

impl Reader {
    fn run(&mut self, inbox: &Receiver<Flush>, stop: &AtomicBool) -> Result<Flows> {
        let mut flushes: Vec<Flush> = Vec::new();
        loop {
            wait(&self.capture)?;
            let before = Instant::now();
            while !self.dispatch()? {}
            flushes.extend(inbox.try_iter());
            if !flushes.is_empty() {
                self.backlogged = self.backlog.dropped();
            }
            let counted = self.count_losses()?;
            if !flushes.is_empty() {
                panic_point("capture");
            }
            // The ring was empty at some time after `before`.
            for mut flush in std::mem::take(&mut flushes) {
                if flush.is_ripe(before, counted, self.read) {
                    self.table.flush(|key| flush.ports.contains(key.source.1));
                    self.owners.iter().for_each(|owners| owners.release(&flush.ports));
                    let mut flows = self.table.take().into_flows();
                    flows.packets =
                        self.pending.kept().map_or(Vec::new(), |k| k.take(&flush.ports));
                    // The receiver is gone if the run was aborted.
                    let _ = flush.reply.send(flows);
                } else {
                    flushes.push(flush);
                }
            }
            if stop.load(Relaxed) && flushes.is_empty() {
                self.table.flush(|_| true);
                return Ok(self.table.take().into_flows());
            }
        }
    }

    /// Processes the available packets; returns whether the ring is empty.
    fn dispatch(&mut self) -> Result<bool> {
        let Self { capture, pending, table, counters, .. } = self;
        let (packets, empty) = dispatch(capture, |frame| {
            // With nanosecond precision libpcap puts nanoseconds into the field for microseconds.
            let nanos = frame.header.ts.tv_sec.wrapping_mul(1_000_000_000);
            let time = Timestamp(nanos.wrapping_add(frame.header.ts.tv_usec));
            pending.add(frame.data, frame.header.len, time);
            if pending.is_full() {
                counters.count(pending.read(table));
            }
        })?;
        counters.count(pending.read(table));
        self.read = self.read.wrapping_add(packets);
        counters.packets.fetch_add(u64::from(packets), Relaxed);
        Ok(empty)
    }

    /// Updates the counts of losses; returns the number of packets that the kernel counted.
    fn count_losses(&mut self) -> Result<u32> {
        let stats = statistics(&mut self.capture)?;
        self.counters.dropped.store(u64::from(stats.dropped), Relaxed);
        let interface = u64::from(stats.if_dropped) + self.backlogged;
        self.counters.interface_dropped.store(interface, Relaxed);
        self.counters.evicted.store(self.table.evicted(), Relaxed);
        self.counters.refused.store(self.table.refused(), Relaxed);
        self.counters.strangers.store(self.table.strangers(), Relaxed);
        self.counters.unexpected.store(self.table.unexpected(), Relaxed);
        self.counters.lost.store(self.table.lost(), Relaxed);
        // Flows on a silent link must be completed too. Packet time is the system clock.
        if let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            self.table.advance(Timestamp(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)));
        }
        // If the two counts cannot be compared, only time decides.
        Ok(if self.loopback { self.read } else { handed_out(&stats) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush_at(at: Instant) -> Flush {
        let (reply, _) = mpsc::channel();
        Flush { ports: PortSet::default(), at, counted: None, reply }
    }

    #[test]
    fn a_flush_waits_for_its_time_and_for_the_packets_counted_by_then() {
        let at = Instant::now();
        let later = at + Duration::from_millis(1);
        let mut flush = flush_at(later);
        assert!(!flush.is_ripe(at, 7, 7), "not yet");
        assert!(!flush.is_ripe(later, 10, 7), "three packets are in a block that is not full");
        assert!(flush.is_ripe(later, 99, 10), "later packets are not waited for");
    }

    #[test]
    fn a_flush_times_out_and_survives_the_wrap_of_the_count() {
        let at = Instant::now();
        let mut flush = flush_at(at);
        assert!(!flush.is_ripe(at, 10, 7));
        assert!(flush.is_ripe(at + PATIENCE, 10, 7));
        assert!(!flush_at(at).is_ripe(at, 1, u32::MAX), "two packets are missing, across the wrap");
        assert!(flush_at(at).is_ripe(at, u32::MAX, 1));
    }
}
