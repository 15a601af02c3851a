//! The groups of functions that see a table's packets, inside the panic barrier.
//!
//! A panic costs only the facts of the flows in that call: the table gives them up and calls no group for
//! them any more. After a panic in `close` or `take` the groups may have different numbers of closed flows, so all
//! groups start over.

use crate::barrier::{Panicked, guard};
use crate::chain::{Admission, Closed, Group, Note, Selection, Visit};
use crate::packet::{FlowKey, Packet};

/// A call of a group panicked: the state of its flows must not be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Every group of a table.
pub(super) struct Groups {
    selection: Selection,
    make: fn(&Selection) -> Vec<Box<dyn Group>>,
    all: Vec<Box<dyn Group>>,
}

impl Groups {
    pub(super) fn new(selection: &Selection) -> Self {
        Self::made_by(selection, Selection::make_groups)
    }

    pub(super) fn made_by(
        selection: &Selection,
        make: fn(&Selection) -> Vec<Box<dyn Group>>,
    ) -> Self {
        Self { selection: selection.clone(), make, all: make(selection) }
    }

    /// Begins a flow in a slot. True if a function refuses it.
    pub(super) fn open(
        &mut self,
        slot: usize,
        key: &FlowKey,
        packet: &Packet<'_>,
    ) -> Result<bool, Broken> {
        let opened = guard(|| {
            self.all.iter_mut().fold(false, |refused, group| {
                refused | (group.open(slot, key, packet) == Admission::Refuse)
            })
        });
        opened.map_err(|panic| report(&panic, "a flow was given up at its first packet"))
    }

    /// Passes packets to every group; returns the bits of the visits after which a flow is over.
    pub(super) fn packets(
        &mut self,
        packets: &[Packet<'_>],
        visits: &[Visit],
    ) -> Result<u64, Broken> {
        let over = guard(|| {
            self.all.iter_mut().fold(0, |over, group| over | group.packets(packets, visits))
        });
        over.map_err(|panic| report(&panic, "the flows of some packets were given up"))
    }

    /// Passes a note about the flow in a slot to every group.
    pub(super) fn note(&mut self, slot: usize, note: Note) -> Result<(), Broken> {
        let noted = guard(|| self.all.iter_mut().for_each(|group| group.note(slot, note)));
        noted.map_err(|panic| report(&panic, "a flow was given up at a note about it"))
    }

    /// Sets the facts of flows aside, in this order. After an error [`restart`](Self::restart) must follow.
    pub(super) fn close(&mut self, slots: &[u32]) -> Result<(), Broken> {
        let closed = guard(|| self.all.iter_mut().for_each(|group| group.close(slots)));
        closed.map_err(|panic| report(&panic, "all open flows were given up as some were closed"))
    }

    /// Takes the facts of closed flows. After an error [`restart`](Self::restart) must follow.
    pub(super) fn take(&mut self) -> Result<Vec<Box<dyn Closed>>, Broken> {
        let taken = guard(|| self.all.iter_mut().map(|group| group.take()).collect());
        taken.map_err(|panic| report(&panic, "all open flows were given up as some were taken"))
    }

    /// Forgets every flow.
    pub(super) fn restart(&mut self) {
        let before = std::mem::replace(&mut self.all, (self.make)(&self.selection));
        let _ = guard(|| drop(before));
    }
}

#[cold]
fn report(panic: &Panicked, what: &str) -> Broken {
    panic.report(what);
    Broken
}
