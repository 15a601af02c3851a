//! Tables as text: pfx2as of CAIDA and `.dat` of pyasn.
//!
//! ```text
//! 192.0.2.0<TAB>24<TAB>64496_64497,64498   pfx2as: `_` between several origins, `,` in an AS set
//! 2001:db8::/32<TAB>64496                  pyasn
//! ; a comment
//! ```

use std::io::{BufRead, BufReader, Read as _};

use flate2::bufread::MultiGzDecoder;

use super::ranges::Builder;

/// Most octets of a line; an AS set has at most some hundred members.
const LONGEST: u64 = 64 * 1024;
/// Most octets of a table that gzip has compressed.
const LARGEST: u64 = 2 << 30;

/// Reads a table, compressed or not, and returns the name of its format.
///
/// # Errors
/// The first line that is not understood.
pub(super) fn read(octets: &[u8], table: &mut Builder) -> Result<&'static str, String> {
    match octets.starts_with(&[0x1f, 0x8b]) {
        true => lines(&mut BufReader::new(MultiGzDecoder::new(octets).take(LARGEST)), table),
        false => lines(&mut &octets[..], table),
    }
}

fn lines(from: &mut impl BufRead, table: &mut Builder) -> Result<&'static str, String> {
    let mut format = None;
    let (mut line, mut origins) = (Vec::new(), Vec::new());
    for number in 1_u64.. {
        let at = |why: String| format!("line {number}: {why}");
        line.clear();
        let read = from.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        match read.map_err(|why| at(why.to_string()))? {
            0 => break,
            _ if line.len() as u64 == LONGEST => return Err(at("it is too long".to_owned())),
            _ => {}
        }
        let text = std::str::from_utf8(&line).map_err(|_| at("it is not text".to_owned()))?;
        let text = text.trim();
        if text.is_empty() || text.starts_with([';', '#']) {
            continue;
        }
        let found = entry(text, &mut origins, table).map_err(&at)?;
        if *format.get_or_insert(found) != found {
            return Err(at(format!("it is a line of {found}, after lines of another format")));
        }
    }
    Ok(format.unwrap_or("pfx2as"))
}

/// Reads a line, and returns the format that it is of.
fn entry(text: &str, origins: &mut Vec<u32>, table: &mut Builder) -> Result<&'static str, String> {
    let mut words = text.split_whitespace();
    let unknown =
        || "it is neither `network length origins` (pfx2as) nor `network/length origin` (pyasn)";
    let first = words.next().ok_or_else(unknown)?;
    let (format, address, length) = match first.split_once('/') {
        Some((address, length)) => ("pyasn", address, Some(length)),
        None => ("pfx2as", first, words.next()),
    };
    let numbers = words.next().filter(|_| words.next().is_none()).ok_or_else(unknown)?;
    let address = address.parse().map_err(|_| unknown())?;
    let length = length.and_then(|length| length.parse().ok()).ok_or_else(unknown)?;
    origins.clear();
    for number in numbers.split(['_', ',', '{', '}']).filter(|number| !number.is_empty()) {
        let unknown = || format!("{number:?} is not an AS number");
        origins.push(asn(number).ok_or_else(unknown)?);
    }
    table.add(address, length, origins)?;
    Ok(format)
}

/// An AS number in decimal, as `AS64496`, or as two numbers of 16 bits (RFC 5396).
pub(super) fn asn(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("AS").or(text.strip_prefix("as")).unwrap_or(text);
    match digits.split_once('.') {
        Some((high, low)) => {
            Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?))
        }
        None => digits.parse().ok(),
    }
}
