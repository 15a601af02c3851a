//! The response as far as it was read, and the progress of reading it.

use std::borrow::Cow;

use super::meter::Meter;
use crate::connect::answer::Answer;

/// The most octets kept of a response's content.
const MOST_BODY: usize = 256;

/// The part of the response that was read.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// The status code of the final response.
    pub(super) status: Option<u16>,
    /// Its version of HTTP.
    pub(super) version: Option<&'static str>,
    /// Whether the header of the final response was read completely.
    pub(super) whole: bool,
    body: Vec<u8>,
    /// Its times, and the octets of its content.
    pub(super) meter: Meter,
    /// Octets of content after which the response is over, however much is left.
    limit: Option<u64>,
}

impl Response {
    /// A response of which at most this many octets of content are read.
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Counts the content, and keeps its beginning.
    pub(super) fn body(&mut self, part: &[u8]) {
        let left = self.limit.map_or(u64::MAX, |limit| limit - self.meter.octets());
        self.meter.handle_content(left.min(part.len() as u64));
        let room = MOST_BODY - self.body.len();
        self.body.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Whether as much content was read as was wanted.
    pub(super) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.meter.octets() >= limit)
    }

    /// The kept content as text.
    pub(super) fn text(&self) -> String {
        text(&self.body)
    }
}

/// The result of octets from the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// The response is over.
    Done,
    /// The response failed: the error, and the peer's answer instead of a response, if its header was not complete.
    Wrong(Cow<'static, str>, Answer),
}

impl Progress {
    pub(super) fn wrong(word: impl Into<Cow<'static, str>>, answer: Answer) -> Self {
        Self::Wrong(word.into(), answer)
    }
}

/// Octets as text, without an incomplete last character.
fn text(octets: &[u8]) -> String {
    let cut = match std::str::from_utf8(octets) {
        Err(wrong) if octets.len() == MOST_BODY && wrong.error_len().is_none() => {
            wrong.valid_up_to()
        }
        _ => octets.len(),
    };
    String::from_utf8_lossy(&octets[..cut]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_not_cut_inside_a_character() {
        let mut octets = vec![b'a'; MOST_BODY - 1];
        octets.push(0xc3);
        assert_eq!(text(&octets), "a".repeat(MOST_BODY - 1));
        assert_eq!(text(b"a\xc3\xa4\xff"), "aä\u{fffd}");
        assert_eq!(text(b"a\xc3"), "a\u{fffd}");
    }
}
