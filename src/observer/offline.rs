//! Observes a capture file with several threads: one reads it, two sort its packets into flows, each with
//! a flow table of its own, and the caller's thread receives the flows.
//!
//! All packets of a flow have the same two addresses, as have its fragments and the packets that ICMP errors
//! quote. The addresses decide which table gets a packet. Each table may have half of the limit on live flows.
//! The order of the flows is deterministic: piece by piece, and within a piece the first table's flows
//! before the second's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use super::completed::{Completed, Flows};
use super::file::File;
use super::frame::Counts;
use super::piece::Piece;
use super::table::{FlowTable, Limits};
use crate::chain::Selection;
use crate::error::{Doing as _, Error, Result};

/// Flow tables for a file of more than one piece. Independent of the number of processors, so that the order of the
/// flows is the same on every machine.
const TABLES: usize = 2;
/// Approximate number of flows passed on together.
const BATCH: usize = 2048;
/// Limit on the pieces and batches that wait for a thread.
const QUEUE: usize = 2;

/// The outcome of observing a file.
pub struct Observed {
    /// What was read and what was not understood.
    pub counts: Counts,
    /// How reading it ended.
    pub end: Result<()>,
}

/// Observes a file. `each` gets the completed flows of every piece, in columns; also if there are none, so that the
/// caller can report progress.
///
/// # Errors
/// The first error of `each`, which is not called again after it; or if a thread cannot be started.
pub fn observe(
    mut file: File,
    selection: &Selection,
    limits: Limits,
    stop: &(dyn Fn() -> bool + Sync),
    mut each: impl FnMut(Flows) -> Result<()>,
) -> Result<Observed> {
    let mut first = Piece::default();
    let more = file.fill(&mut first);
    // The pieces of a pipe vary from run to run. A small table may evict flows, and which ones must not depend on how
    // the file was read.
    let alone = file.is_live() || limits.max_flows < Limits::default().max_flows;
    let tables = if matches!(more, Ok(true)) && !alone { TABLES } else { 1 };
    let max_flows = limits.max_flows.div_ceil(tables);
    let (empty, emptied) = mpsc::channel();
    std::thread::scope(|scope| {
        let (mut feeds, mut sorters, mut inboxes) = (Vec::new(), Vec::new(), VecDeque::new());
        for share in 0..tables {
            let (feed, pieces) = mpsc::sync_channel(QUEUE);
            let (batches, inbox) = mpsc::sync_channel(QUEUE);
            let table = FlowTable::new(selection, Limits { max_flows, ..limits });
            let sorter = Sorter { share, table, pieces, empty: empty.clone(), batches };
            let thread = std::thread::Builder::new().name("flows".into());
            let thread = thread.spawn_scoped(scope, move || sorter.run());
            sorters.push(thread.doing(|| "start a thread for flows")?);
            feeds.push(feed);
            inboxes.push_back(inbox);
        }
        let reader = std::thread::Builder::new().name("read".into());
        let reader =
            reader.spawn_scoped(scope, move || read(file, first, more, &feeds, &emptied, stop));
        let reader = reader.doing(|| "start a thread to read")?;
        // In turn: each table sends one batch for every piece, and more at the end.
        while let Some(inbox) = inboxes.pop_front() {
            if let Ok(batch) = inbox.recv() {
                each(Batched::into_flows(batch))?;
                inboxes.push_back(inbox);
            }
        }
        let panicked = |_| Error::Failed("a thread of the observer panicked".into());
        let mut counts = Counts::default();
        for sorter in sorters {
            counts.add(sorter.join().map_err(panicked)?);
        }
        let (read, end) = reader.join().map_err(panicked)?;
        counts.add(read);
        Ok(Observed { counts, end })
    })
}

/// Reads the file, from its first piece on, and distributes the pieces. Returns the counts and how reading ended.
fn read(
    mut file: File,
    first: Piece,
    more: Result<bool>,
    feeds: &[SyncSender<Arc<Piece>>],
    emptied: &Receiver<Arc<Piece>>,
    stop: &(dyn Fn() -> bool + Sync),
) -> (Counts, Result<()>) {
    let end = read_on(&mut file, first, more, feeds, emptied, stop);
    (file.counts(), end)
}

fn read_on(
    file: &mut File,
    first: Piece,
    more: Result<bool>,
    feeds: &[SyncSender<Arc<Piece>>],
    emptied: &Receiver<Arc<Piece>>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let (mut piece, mut more) = (first, more);
    loop {
        piece.deal(feeds.len());
        let shared = Arc::new(piece);
        // A closed channel means that the consumer of the flows stopped; it reports the cause.
        if feeds.iter().any(|feed| feed.send(shared.clone()).is_err()) {
            return Ok(());
        }
        drop(shared);
        if !more? || stop() {
            return Ok(());
        }
        // The table that is last to release a piece returns its memory.
        piece = emptied.try_iter().find_map(Arc::into_inner).unwrap_or_default();
        more = file.fill(&mut piece);
    }
}

/// Sorts the packets of a share into flows.
struct Sorter {
    share: usize,
    table: FlowTable,
    pieces: Receiver<Arc<Piece>>,
    empty: Sender<Arc<Piece>>,
    batches: SyncSender<Option<Batched>>,
}

impl Sorter {
    fn run(self) -> Counts {
        let Self { share, mut table, pieces, empty, batches } = self;
        let mut counts = Counts::default();
        for piece in pieces {
            piece.read(share, |batch| {
                counts.understood += batch.packets().len() as u64;
                counts.unread.iter_mut().zip(batch.unread).for_each(|(sum, more)| *sum += more);
                table.packets(batch.packets());
                if let Some(clock) = batch.step {
                    table.clock_step(clock);
                }
            });
            // The reader may have ended already.
            let _ = empty.send(piece);
            let batch = (table.completed() >= BATCH).then(|| Batched::Facts(table.take()));
            if batches.send(batch).is_err() {
                break;
            }
        }
        // One batch at a time, or the records of all open flows would be in memory at once.
        while !table.is_empty() || table.completed() > 0 {
            table.flush_oldest(BATCH);
            // This thread has nothing else left to do.
            let columns = Batched::Columns(table.take().into_flows());
            if batches.send(Some(columns)).is_err() {
                break;
            }
        }
        Counts {
            evicted: table.evicted(),
            refused: table.refused(),
            unexpected: table.unexpected(),
            ..counts
        }
    }
}

/// Completed flows on their way to the caller's thread.
enum Batched {
    Facts(Completed),
    Columns(Flows),
}

impl Batched {
    fn into_flows(batch: Option<Self>) -> Flows {
        match batch {
            None => Flows::default(),
            Some(Batched::Facts(completed)) => completed.into_flows(),
            Some(Batched::Columns(flows)) => flows,
        }
    }
}
