//! The observer: sorts the packets that cross an interface, or are in a file, into flows and passes them
//! to the chain functions, which record facts.
//!
//! [`FlowTable`] has no clock and no device; packets come from [`capture`] or [`offline`].
//!
//! Imports [`chain`](crate::chain), [`packet`](crate::packet) and [`barrier`](crate::barrier); never the engine.

mod backlog;
mod blocks;
pub mod capture;
mod clock;
mod completed;
mod exchange;
mod expected;
pub mod file;
mod filter;
mod fragments;
mod frame;
mod frames;
mod groups;
mod identity;
mod index;
mod input;
mod interface;
mod kept;
pub mod offline;
pub mod pcapng;
mod pending;
mod piece;
mod reader;
mod records;
pub mod ring;
mod steps;
mod table;

pub use completed::{Completed, Flows};
pub use exchange::Exchange;
pub use filter::link_name;
pub use frame::Counts;
pub use kept::{Budget, Frame, Packets};
pub use piece::Piece;
pub use table::{FlowTable, Limits};
