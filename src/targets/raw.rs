//! A usable line of a list, between its format and its columns.

use std::net::IpAddr;
use std::sync::Arc;

use super::cell::Cell;

/// What every line must contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// An address or a name, and a port: a list to measure.
    #[default]
    Targets,
    /// An address: a list of targets whose ports may come later.
    Addresses,
    /// A name: a list to resolve. Addresses are ignored.
    Names,
}

/// A usable line, whose other values are not in their columns yet.
#[derive(Debug)]
pub struct Raw {
    /// The line number, from 1; 0 until the list sets it.
    pub line: u64,
    /// The address, if the line has one; always `None` in a list of names.
    pub addr: Option<IpAddr>,
    /// The port; 0 if neither the line nor a default gives one, which [`Want::Targets`] rejects.
    pub port: u16,
    /// Further addresses and ports on the same line; only some tools write these.
    pub also: Vec<(IpAddr, u16)>,
    /// The name, if any.
    pub name: Option<String>,
    /// All other values, without nulls.
    pub rest: Vec<(Arc<str>, Cell)>,
}
