//! A capture file, observed by some threads: one reads it, two sort its packets into flows, each of
//! which has a flow table of its own, and the caller's gets the flows.
//!
//! All packets of a flow have the same two addresses (a fragment too, and what an ICMP error
//! quotes), by which pieces of the file are dealt out. Each table has half of the flows that there may be at
//! the same time. The flows come in an order that is the same every time: piece by piece, and of
//! each piece those of the first table before those of the second.

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

/// Tables that share the work on a file that is worth it. Not as many as there are processors: the order of
/// the flows would be another on another machine.
const TABLES: usize = 2;
/// Flows that are handed on together, about.
const BATCH: usize = 2048;
/// Pieces and batches that wait for a thread, at most.
const QUEUE: usize = 2;

/// What was seen of a file.
pub struct Observed {
    /// What was read and what was not understood.
    pub counts: Counts,
    /// How reading it ended.
    pub end: Result<()>,
}

/// Observes a file. `each` gets the complete flows of every piece, in columns; also when there are none, for
/// progress is to be told.
///
/// # Errors
/// That of `each`, which is called no more after it; or if a thread cannot be started.
pub fn observe(
    mut file: File,
    selection: &Selection,
    limits: Limits,
    stop: &(dyn Fn() -> bool + Sync),
    mut each: impl FnMut(Flows) -> Result<()>,
) -> Result<Observed> {
    let mut first = Piece::default();
    let more = file.fill(&mut first);
    // The pieces of a pipe are never the same. A small table may evict flows, and which ones must not depend on how
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
        // In turn: each table has one batch for every piece, and more at the end.
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

/// Reads the file, from its first piece on, and deals the pieces out. Returns what was read and how that ended.
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
        // Who takes no more has nobody who takes its flows, and that one knows why.
        if feeds.iter().any(|feed| feed.send(shared.clone()).is_err()) {
            return Ok(());
        }
        drop(shared);
        if !more? || stop() {
            return Ok(());
        }
        // The last of those who had it gives it back as the only one.
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
            // At the end nobody reads into it any more.
            let _ = empty.send(piece);
            let batch = (table.completed() >= BATCH).then(|| Batched::Facts(table.take()));
            if batches.send(batch).is_err() {
                break;
            }
        }
        // A batch at a time, or the records of all that is still open would be in memory at once.
        while !table.is_empty() || table.completed() > 0 {
            table.flush_oldest(BATCH);
            // Nothing else is left to do for this thread.
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

/// Complete flows, on their way to the caller's thread.
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
