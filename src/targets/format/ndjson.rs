//! Lists with one JSON object per line.

use std::borrow::Cow;

use super::members::Members;
use super::roles::{ADDRESS_WORDS, NAME_WORDS, PORT_WORDS, URL_WORDS, unclear_port};
use super::{Line, Raw, Want, tool};
use crate::targets::cell::Cell;
use crate::targets::refusal::shown;

/// Parses a line.
pub fn read(line: &str, want: Want, default_port: Option<u16>) -> Result<Raw, String> {
    let mut members = Members::parse(line)?;
    if let Some(read) = tool::of_object(&members) {
        return read(members)?.raw(want, default_port);
    }
    let addr = match members.take(&ADDRESS_WORDS) {
        Some(Cell::Text(text)) => Ok(text.into()),
        Some(other) => Err(format!("the address is not text but {}", shown(&other.json()))),
        None => Ok("".into()),
    };
    let port = members.take(&PORT_WORDS).map(|port| port.into_text().into());
    let name = members.take(&NAME_WORDS).map(Cell::into_text).filter(|text| !text.is_empty());
    let url = URL_WORDS.iter().find_map(|word| members.text(word));
    if port.is_none() && url.is_none() {
        unclear_port(members.0.iter().map(|(key, _)| key.as_ref()))?;
    }
    let url = url.map(Cow::from);
    let line = Line { addr, port, name, url, rest: members.rest(), ..Line::new() };
    line.raw(want, default_port)
}
