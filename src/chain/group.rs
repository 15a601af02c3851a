//! Common to all groups: state by slot, columns, and which functions run on which headers.

use arrow_array::ArrayRef;

use super::{
    Admission, Chain, ChainSet, Closed, Group, GroupDef, Note, Progress, Seen, Selection, Visit,
};
use crate::field::Row;
use crate::packet::{Direction, FlowKey, Packet};

/// The state of one flow in a group's functions, from which the facts of the record are made. It is as small as
/// possible, since there is one for each live flow.
pub(super) trait Facts: Default + Send {
    /// The facts for the record.
    type Row: Row;
    /// The facts so far of the flow with this key.
    fn row(&self, key: &FlowKey) -> Self::Row;
    /// A flow begins with this packet. `runs` has the functions in `new_flow_chain`.
    fn open(&mut self, _key: &FlowKey, _packet: &Packet<'_>, _runs: Runs<'_>) -> Admission {
        Admission::Watch
    }
    /// A packet of the flow, including the first. `runs` has the functions of the group that read one of its headers.
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress;
    /// Something besides its packets is known of the flow.
    fn note(&mut self, _note: Note) {}
}

/// Which functions of a group run on a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs<'a> {
    placed: &'a [ChainSet],
    headers: ChainSet,
}

impl Runs<'_> {
    /// Whether the function with this index in the group's table runs.
    #[inline(always)]
    pub(super) fn function(&self, place: usize) -> bool {
        self.placed[place].meets(self.headers)
    }
}

/// The state of all flows, contiguous, indexed by slot.
struct Store<F: Facts> {
    selection: Selection,
    /// Where each function of the group was placed, in the order of its table.
    placed: Vec<ChainSet>,
    flows: Vec<F>,
    /// The state of complete flows, in order of closing.
    closed: Vec<F>,
}

/// Makes the object that keeps the state of a group's flows.
pub(super) fn store<F: Facts + 'static>(group: &GroupDef, selection: Selection) -> Box<dyn Group> {
    let placed = group.functions.iter().map(|function| selection.chains(function.name)).collect();
    Box::new(Store::<F> { selection, placed, flows: Vec::new(), closed: Vec::new() })
}

impl<F: Facts + 'static> Group for Store<F> {
    fn open(&mut self, slot: usize, key: &FlowKey, packet: &Packet<'_>) -> Admission {
        if slot >= self.flows.len() {
            self.flows.resize_with(slot + 1, F::default);
        }
        self.flows[slot] = F::default();
        let runs = Runs { placed: &self.placed, headers: ChainSet::of(&[Chain::NewFlow]) };
        self.flows[slot].open(key, packet, runs)
    }

    fn packets(&mut self, packets: &[Packet<'_>], visits: &[Visit]) -> u64 {
        let Self { placed, flows, .. } = self;
        let mut over = 0;
        for (place, visit) in visits.iter().enumerate() {
            let runs = Runs { placed, headers: visit.seen.headers };
            let progress = flows[visit.slot].packet(&packets[visit.packet], visit.seen, runs);
            over |= u64::from(progress == Progress::Over) << place;
        }
        over
    }

    fn note(&mut self, slot: usize, note: Note) {
        self.flows[slot].note(note);
    }

    fn close(&mut self, slots: &[u32]) {
        let Self { flows, closed, .. } = self;
        closed.extend(slots.iter().map(|slot| std::mem::take(&mut flows[*slot as usize])));
    }

    fn take(&mut self) -> Box<dyn Closed> {
        let next = Vec::with_capacity(self.closed.len());
        let flows = std::mem::replace(&mut self.closed, next);
        Box::new(Rows { selection: self.selection.clone(), flows })
    }
}

/// Complete flows, before they become columns.
struct Rows<F: Facts> {
    selection: Selection,
    flows: Vec<F>,
}

impl<F: Facts> Closed for Rows<F> {
    fn columns(&self, keys: &[FlowKey], wanted: Option<&[bool]>) -> Vec<ArrayRef> {
        let flows = self.flows.iter().zip(keys);
        let rows: Vec<F::Row> = match wanted {
            None => flows.map(|(flow, key)| flow.row(key)).collect(),
            Some(wanted) => {
                let flows = flows.zip(wanted).filter(|(_, wanted)| **wanted);
                flows.map(|((flow, key), _)| flow.row(key)).collect()
            }
        };
        self.selection.pick(F::Row::FIELDS, F::Row::collect(&rows))
    }

    fn check(&self, place: usize, key: &FlowKey) {
        drop(self.flows[place].row(key));
    }
}

/// Selects the fact of one direction.
#[inline(always)]
pub(super) fn of<T>(direction: Direction, forward: T, reverse: T) -> T {
    match direction {
        Direction::Forward => forward,
        Direction::Reverse => reverse,
    }
}
