//! Completed flows: their keys and facts, first as the groups' state, then as columns.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, new_null_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;

use super::exchange::Exchange;
use super::kept::Packets;
use crate::barrier::guard;
use crate::chain::Closed;
use crate::flags::{Flag, Flags};
use crate::packet::FlowKey;
use crate::packet::template::Template;

/// Completed flows: their keys, and one row of columns for each.
#[derive(Debug, Default)]
pub struct Flows {
    /// Keys, in the direction of each flow's first packet.
    pub keys: Vec<FlowKey>,
    /// What may be missing from each flow.
    pub flags: Vec<Flags>,
    /// The course of each exchange; empty if the table has no owners.
    pub exchanges: Vec<Exchange>,
    /// The columns of [`Selection::fields`](crate::chain::Selection::fields), one row per key.
    pub columns: Vec<ArrayRef>,
    /// The first packets of flows, if they are kept and can be copied; in no order.
    pub firsts: Vec<(FlowKey, Template)>,
    /// The packets of each source port, if the capture keeps packets.
    pub packets: Vec<(u16, Packets)>,
}

impl Flows {
    /// Flows without facts because a function panicked.
    pub fn broken(&self) -> usize {
        self.flags.iter().filter(|flags| flags.has(Flag::InternalError)).count()
    }
}

/// Completed flows whose columns have not been made yet.
pub struct Completed {
    /// The types of the columns.
    pub(super) types: Arc<[DataType]>,
    pub(super) keys: Vec<FlowKey>,
    pub(super) flags: Vec<Flags>,
    /// As [`Flows::exchanges`].
    pub(super) exchanges: Vec<Exchange>,
    pub(super) groups: Vec<Box<dyn Closed>>,
    /// As [`Flows::firsts`].
    pub(super) firsts: Vec<(FlowKey, Template)>,
    /// Flows without facts, because a function panicked.
    pub(super) broken: Vec<(FlowKey, Flags, Option<Exchange>)>,
}

impl Completed {
    /// Makes the columns. Flows without facts come last.
    pub fn into_flows(mut self) -> Flows {
        let columns = self.columns(None).or_else(|| self.columns_of_the_sound());
        let columns = columns.unwrap_or_else(|| {
            let sound = vec![false; self.keys.len()];
            self.give_up(&sound);
            self.types.iter().map(|of| new_null_array(of, 0)).collect()
        });
        let Self { types, mut keys, mut flags, mut exchanges, broken, firsts, .. } = self;
        if broken.is_empty() {
            return Flows { keys, flags, exchanges, columns, packets: Vec::new(), firsts };
        }
        keys.extend(broken.iter().map(|(key, ..)| *key));
        flags.extend(broken.iter().map(|(_, flags, _)| *flags));
        exchanges.extend(broken.iter().filter_map(|(.., exchange)| *exchange));
        let columns = columns.iter().zip(types.iter()).map(|(column, of)| {
            let nothing = new_null_array(of, broken.len());
            // Both have the same type, so this cannot fail.
            concat(&[column, &nothing]).unwrap_or_else(|_| new_null_array(of, keys.len()))
        });
        let columns = columns.collect();
        Flows { keys, flags, exchanges, columns, packets: Vec::new(), firsts }
    }

    /// The columns of all flows, or of the `sound` ones. `None` on a panic, or if the columns do not have the expected
    /// number, lengths and types.
    fn columns(&self, sound: Option<&[bool]>) -> Option<Vec<ArrayRef>> {
        let rows = sound.map_or(self.keys.len(), |sound| sound.iter().filter(|is| **is).count());
        let groups = self.groups.iter();
        let columns =
            guard(|| groups.flat_map(|group| group.columns(&self.keys, sound)).collect::<Vec<_>>());
        let columns = columns.map_err(|panic| panic.report("facts cannot be put into columns"));
        let fits =
            |(column, of): (&ArrayRef, &DataType)| column.len() == rows && column.data_type() == of;
        columns.ok().filter(|columns| {
            columns.len() == self.types.len() && columns.iter().zip(self.types.iter()).all(fits)
        })
    }

    /// Gives up the flows whose own facts cannot be made; returns the columns of the others.
    #[cold]
    fn columns_of_the_sound(&mut self) -> Option<Vec<ArrayRef>> {
        let is_sound = |(place, key): (usize, &FlowKey)| {
            guard(|| self.groups.iter().for_each(|group| group.check(place, key))).is_ok()
        };
        let sound: Vec<bool> = self.keys.iter().enumerate().map(is_sound).collect();
        let columns = self.columns(Some(&sound))?;
        self.give_up(&sound);
        Some(columns)
    }

    /// Moves all flows that are not `sound` to those without facts.
    fn give_up(&mut self, sound: &[bool]) {
        let keys = std::mem::take(&mut self.keys);
        let flags = std::mem::take(&mut self.flags);
        let exchanges = std::mem::take(&mut self.exchanges);
        for (place, ((key, mut flags), sound)) in keys.into_iter().zip(flags).zip(sound).enumerate()
        {
            let exchange = exchanges.get(place).copied();
            if *sound {
                self.keys.push(key);
                self.flags.push(flags);
                self.exchanges.extend(exchange);
            } else {
                flags |= Flag::InternalError.into();
                self.broken.push((key, flags, exchange));
            }
        }
    }
}
