//! Parses the header of a response in HTTP/1 (RFC 9112, 2.2 and 5) as leniently as curl.
//!
//! A measurement tests whether the path lets a response through, not whether the server writes valid HTTP. So
//! this parser accepts what curl 7.88 and browsers accept: blanks before a colon, folded lines, odd or
//! empty names, octets beyond ASCII, several blanks or lower case in the status line, LF alone, and a
//! connection that is closed after the status line. httparse rejects some of these in every configuration, and
//! needs the whole header and a bound on the number of fields. This parser handles one line at a time and
//! keeps at most [`KEPT`] octets of it, enough for the fields that matter; so fields may be long and
//! numerous, and memory stays bounded.

use super::super::answer::{
    Answer, HTTP_MALFORMED_FIELD, HTTP_MALFORMED_STATUS, HTTP_NOT_HTTP, HTTP_TOO_LONG,
};

/// Octets kept of one line.
const KEPT: usize = 1024;
/// The longest header that is read, including interim responses; curl's limit.
pub(in crate::connect) const MOST_HEAD: usize = 300 << 10;
/// The beginning of every response, in any case.
const START: &[u8] = b"HTTP/";

/// An error of a header, in the words of the `error` and `answer` columns.
pub(super) type Wrong = (&'static str, Answer);

const NO_STATUS: Wrong = ("Peer's HTTP status is invalid", HTTP_MALFORMED_STATUS);
const NO_LENGTH: Wrong = ("Peer's Content-Length is invalid", HTTP_MALFORMED_FIELD);

/// The relevant fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) status: u16,
    /// `1.0`, `1.1` or `2`.
    pub(super) version: &'static str,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
}

/// Parses headers up to that of a final response or of a protocol switch.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The beginning of a line, or of a field that may continue on the next line.
    line: Vec<u8>,
    /// Whether `line` is a whole field, without its end of line.
    whole: bool,
    /// Whether the current line is empty so far, except for a CR.
    empty: bool,
    /// The header so far.
    header: Option<Header>,
    /// Octets received.
    octets: usize,
}

impl Head {
    /// Consumes octets up to the end of the header.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, Wrong> {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|octet| *octet == b'\n');
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            *bytes = rest;
            self.octets += part.len();
            if self.octets > MOST_HEAD {
                return Err(("Peer's HTTP header is too long", HTTP_TOO_LONG));
            }
            self.take(part)?;
            if end.is_some()
                && let Some(header) = self.end_of_line()?
            {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// The header of a final response that the end of the connection cut off: valid if the status
    /// line is complete.
    pub(super) fn cut(&self) -> Option<Header> {
        self.header.filter(|header| header.status >= 200)
    }

    /// Whether any octet came.
    pub(super) fn has_begun(&self) -> bool {
        self.octets > 0
    }

    /// Handles a part of a line.
    fn take(&mut self, part: &[u8]) -> Result<(), Wrong> {
        if self.header.is_some() && part.contains(&0) {
            return Err(("Peer's HTTP field has a NUL", HTTP_MALFORMED_FIELD));
        }
        // A line that begins with a blank continues the previous field (RFC 9112, 5.2).
        let folded = matches!(part.first(), Some(b' ' | b'\t'));
        if std::mem::take(&mut self.whole) && !folded {
            self.field()?;
        }
        if part.iter().any(|octet| !matches!(octet, b'\r' | b'\n')) {
            self.empty = false;
        }
        let room = KEPT - self.line.len().min(KEPT);
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        let start = &self.line[..self.line.len().min(START.len())];
        if self.header.is_none() && !start.eq_ignore_ascii_case(&START[..start.len()]) {
            return Err(("Peer's answer is not HTTP", HTTP_NOT_HTTP));
        }
        Ok(())
    }

    /// Handles the end of a line; an empty line ends the header.
    fn end_of_line(&mut self) -> Result<Option<Header>, Wrong> {
        let empty = std::mem::replace(&mut self.empty, true);
        let Some(header) = self.header else {
            self.header = Some(status_line(&self.line)?);
            self.line.clear();
            return Ok(None);
        };
        if !empty {
            while matches!(self.line.last(), Some(b'\r' | b'\n')) {
                self.line.pop();
            }
            self.whole = true;
            return Ok(None);
        }
        let octets = self.octets;
        *self = Self { octets, empty: true, ..Self::default() };
        let is_last = header.status == 101 || header.status >= 200;
        Ok(is_last.then_some(header))
    }

    /// Handles a complete field.
    fn field(&mut self) -> Result<(), Wrong> {
        let line = std::mem::take(&mut self.line);
        let colon = line.iter().position(|octet| *octet == b':');
        let Some((header, colon)) = self.header.as_mut().zip(colon) else {
            return Err(("Peer's HTTP field has no colon", HTTP_MALFORMED_FIELD));
        };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            header.length = length(value)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let mut codings = value.split(|octet| *octet == b',');
            header.chunked |=
                codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        }
        Ok(())
    }
}

/// Parses the status line (RFC 9112, 4).
fn status_line(line: &[u8]) -> Result<Header, Wrong> {
    let rest = line.get(START.len()..).unwrap_or_default();
    let blank = rest.iter().position(|octet| matches!(octet, b' ' | b'\t'));
    let (version, rest) = rest.split_at(blank.ok_or(NO_STATUS)?);
    let version = match version {
        b"1.0" => "1.0",
        b"1.1" => "1.1",
        b"2" | b"2.0" => "2",
        _ => return Err(("Peer's HTTP version is not supported", HTTP_MALFORMED_STATUS)),
    };
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let status = std::str::from_utf8(&rest[..digits]).ok().filter(|_| digits == 3);
    let status = status.and_then(|digits| digits.parse().ok()).filter(|status| *status >= 100);
    Ok(Header { status: status.ok_or(NO_STATUS)?, version, length: None, chunked: false })
}

/// Parses a Content-Length as curl does: the number at its beginning, so `2, 2` is 2. `None` if it overflows,
/// which means content that ends with the connection.
fn length(value: &[u8]) -> Result<Option<u64>, Wrong> {
    let value = value.strip_prefix(b"+").unwrap_or(value);
    let digits = value.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if digits == 0 {
        return Err(NO_LENGTH);
    }
    Ok(std::str::from_utf8(&value[..digits]).ok().and_then(|digits| digits.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_line_is_kept() {
        let long = format!("HTTP/1.1 200 {}\r\nX: {}\r\n", "a".repeat(9000), "b".repeat(90_000));
        let folds = " c\r\n\td\r\n".repeat(9000);
        let fields = "Y: z\r\n".repeat(9000);
        let (mut head, mut most) = (Head::default(), 0);
        for part in (long + &folds + &fields).as_bytes().chunks(100) {
            let mut part = part;
            assert_eq!(head.read(&mut part), Ok(None));
            most = most.max(head.line.len());
        }
        assert_eq!(most, KEPT);
        assert_eq!(head.cut().map(|header| header.status), Some(200));
    }
}
