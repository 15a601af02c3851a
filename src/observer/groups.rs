//! The groups of functions that watch the flows of a table, behind the panic barrier.
//!
//! A panic costs the facts of the flows that the call was about, and no other's: the table gives those flows up
//! and calls no group for them any more. Only where the rows of closed flows may no longer be in step (a
//! panic while one is closed or all are taken) everything starts anew.

use crate::barrier::{Panicked, guard};
use crate::chain::{Admission, Closed, Group, Note, Selection, Visit};
use crate::packet::{FlowKey, Packet};

/// A call of a group panicked: what it was about must not be used any more.
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
        let make = |selection: &Selection| {
            selection.groups().map(|group| (group.new)(selection.clone())).collect()
        };
        Self::made_by(selection, make)
    }

    pub(super) fn made_by(
        selection: &Selection,
        make: fn(&Selection) -> Vec<Box<dyn Group>>,
    ) -> Self {
        Self { selection: selection.clone(), make, all: make(selection) }
    }

    /// A flow begins in a slot; whether a function refuses it.
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

    /// Lets every group see packets; bits of the visits after which a flow is over.
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

    /// Tells every group something about the flow in a slot.
    pub(super) fn note(&mut self, slot: usize, note: Note) -> Result<(), Broken> {
        let noted = guard(|| self.all.iter_mut().for_each(|group| group.note(slot, note)));
        noted.map_err(|panic| report(&panic, "a flow was given up at what the table said of it"))
    }

    /// Sets the facts of a flow aside. After an error [`restart`](Self::restart) must follow.
    pub(super) fn close(&mut self, slot: usize) -> Result<(), Broken> {
        let closed = guard(|| self.all.iter_mut().for_each(|group| group.close(slot)));
        closed.map_err(|panic| report(&panic, "all open flows were given up as one was closed"))
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
