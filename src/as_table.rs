//! Tables of networks and the autonomous systems (ASes) that originate them.
//!
//! Three formats are read, recognised by their content: CAIDA's pfx2as and pyasn's `.dat` (text, also compressed by
//! gzip), and MaxMind DB (`.mmdb`). A network with several origins (a MOAS prefix, an AS set) keeps all of them. A
//! look-up is a binary search in ranges that do not overlap: the longest prefix of the table that has the address
//! gave the range its origins. A table of today's Internet takes some 30 MB.
//!
//! Imports [`error`](crate::error), [`files`] and [`hex`](crate::hex).

mod mmdb;
mod ranges;
mod text;

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::ranges::{Builder, Ranges};
use crate::error::{Doing as _, Error, Result};
use crate::files;
use crate::hex::hex;

/// Largest file in octets; tables of today have less than a tenth.
const LARGEST: u64 = 256 << 20;
/// Most networks of a table; today there are 1.3 million.
const MOST: usize = 16_000_000;

/// A table of networks and their origins.
#[derive(Debug)]
pub struct AsTable {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// All sets of origins, one after the other.
    origins: Vec<u32>,
    /// Where each set ends; the first is empty.
    ends: Vec<usize>,
    about: About,
}

/// What to say of a table in the metadata of results that were made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// `pfx2as`, `pyasn` or `mmdb`.
    pub format: &'static str,
    /// Networks in it.
    pub networks: u64,
    /// Octets of the file as it is stored.
    pub bytes: u64,
    /// SHA-256 of the file as it is stored, in hexadecimal.
    pub sha256: String,
}

/// Where a table comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file of the user.
    File(PathBuf),
    /// This text: the table of a lab's networks.
    Text(String),
}

impl Source {
    /// Reads the table.
    ///
    /// # Errors
    /// As [`AsTable::open`].
    pub fn open(&self) -> Result<AsTable> {
        match self {
            Self::File(path) => AsTable::open(path),
            Self::Text(text) => AsTable::parse(text.as_bytes())
                .map_err(|why| Error::failed("read the AS table of the lab", why)),
        }
    }
}

impl AsTable {
    /// Reads a table.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is in no known format, is larger than 256 MiB, has no network, or has a line that is
    /// not a network with its origins: nothing is left out.
    pub fn open(path: &Path) -> Result<Self> {
        let doing = || format!("read {}", path.display());
        let file = files::regular(path).map_err(|why| files::unreadable(path, why))?;
        let mut octets = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut octets).doing(doing)?;
        Self::parse(&octets).map_err(|why| Error::Usage(format!("{}: {why}", doing())))
    }

    /// From the contents of a file.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(octets: &[u8]) -> std::result::Result<Self, String> {
        if octets.len() as u64 > LARGEST {
            return Err(format!("it is larger than {} MiB", LARGEST >> 20));
        }
        let mut builder = Builder::default();
        let format = match mmdb::is(octets) {
            true => mmdb::read(octets, &mut builder)?,
            false => text::read(octets, &mut builder)?,
        };
        let networks = builder.len();
        if networks == 0 {
            return Err("it has no network with an AS number".to_owned());
        }
        let about = About {
            format,
            networks: networks as u64,
            bytes: octets.len() as u64,
            sha256: hex(&Sha256::digest(octets)),
        };
        Ok(builder.table(about))
    }

    /// The origins of the longest prefix with this address, in the order of the table; none if no network has it. An
    /// IPv4-mapped address counts as the IPv4 address.
    pub fn origins(&self, address: IpAddr) -> &[u32] {
        let set = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        };
        let end = |set: usize| self.ends.get(set).copied().unwrap_or_default();
        let start = set.checked_sub(1).map_or(0, end);
        self.origins.get(start..end(set)).unwrap_or_default()
    }

    /// The file that it was read from.
    pub fn about(&self) -> &About {
        &self.about
    }
}

#[cfg(test)]
mod tests;
