//! MaxMind DB: networks with a record each, of which only the AS number is read.

use maxminddb::{Reader, WithinOptions};
use serde::Deserialize;

use super::ranges::Builder;
use super::text::asn;

/// What the metadata at the end of such a file begin with.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// Most octets of these metadata.
const METADATA: usize = 128 * 1024;

/// Whether a file is one.
pub(super) fn is(octets: &[u8]) -> bool {
    let end = &octets[octets.len().saturating_sub(METADATA)..];
    end.windows(MARKER.len()).any(|window| window == MARKER)
}

/// The columns that have an AS number: of MaxMind and DB-IP, and of IPinfo.
#[derive(Debug, Deserialize)]
struct Record<'a> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow)]
    asn: Option<&'a str>,
}

/// Reads a table and returns the name of its format.
///
/// # Errors
/// If the file is damaged, or if its records are of another kind.
pub(super) fn read(octets: &[u8], table: &mut Builder) -> Result<&'static str, String> {
    let damaged = |why: maxminddb::MaxMindDbError| format!("the MaxMind DB is damaged: {why}");
    let reader = Reader::from_source(octets).map_err(damaged)?;
    for network in reader.networks(WithinOptions::default()).map_err(damaged)? {
        let found = network.map_err(damaged)?;
        let network = found.network().map_err(damaged)?;
        let Some(record) = found.decode::<Record<'_>>().map_err(damaged)? else { continue };
        let number = match (record.autonomous_system_number, record.asn) {
            (Some(number), _) => number,
            (None, Some(text)) => {
                asn(text).ok_or_else(|| format!("{network}: {text:?} is not an AS number"))?
            }
            (None, None) => continue,
        };
        table.add(network.ip(), network.prefix(), &[number])?;
    }
    Ok("mmdb")
}
