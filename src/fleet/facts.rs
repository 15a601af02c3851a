//! What a result file says of itself.

use std::path::Path;

use super::message::Offered;
use super::store;
use crate::error::{Error, Result};
use crate::results::input::Input;
use crate::targets::Positions;

/// A result of one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What a hub is offered of it.
    pub offered: Offered,
    /// The SHA-256 of the measurement's text.
    pub measurement: String,
    /// The SHA-256 of the target list.
    pub list: String,
    /// The shard.
    pub shard: String,
    /// Whether every target of the shard was probed.
    pub complete: bool,
}

impl Facts {
    /// Reads a result that is intact.
    ///
    /// # Errors
    /// If it is not a result, or not as it was written.
    pub fn read(path: &Path) -> Result<Self> {
        let octets = store::need(path)?;
        let input = Input::open(path, "read", false)?;
        let value = |key: &str| input.value(key).unwrap_or_default().to_owned();
        let number = |key: &str| {
            input.number(key).ok_or_else(|| {
                Error::Usage(format!("read {}: its metadata have no {key}", path.display()))
            })
        };
        let last = number("targets_last_position")?;
        let withheld = Positions::parse(&value("targets_withheld"), last).unwrap_or_default();
        let columns: Vec<String> = input.schema.fields().iter().map(|f| format!("{f:?}")).collect();
        Ok(Self {
            offered: Offered {
                sha256: store::digest(&octets),
                octets: octets.len() as u64,
                records: number("records")?,
                withheld: withheld.len(),
                started: value("started"),
                ended: value("ended"),
                schema: store::digest(columns.join("\n").as_bytes()),
                interface: value("interface"),
            },
            measurement: value("measurement_sha256"),
            list: value("targets_sha256"),
            shard: value("shard"),
            complete: input.is_complete(),
        })
    }
}
