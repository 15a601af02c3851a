//! The parts of DNS messages that a client needs (RFC 1035, 4.1).
//!
//! A response is useful if its header and question match and its answer section can be read. Of the authority and
//! additional sections only the OPT record is used, so a malformed record there does not hide a good response. Servers that refuse
//! a query often send only a header: that is a message without a question ([`Question::None`]).

mod opt;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use opt::{DO, OPT, Opt, PADDING};

/// Octets of a header.
pub const HEADER: usize = 12;
/// The longest name, in octets on the wire (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 255;
/// The longest label.
const LONGEST_LABEL: u8 = 63;
/// The upper bits of an octet that begins a pointer (RFC 1035, 4.1.4).
const POINTER: u8 = 0xc0;
/// Class IN.
const INTERNET: u16 = 1;

/// A message whose header was read.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    octets: &'a [u8],
    /// The identifier.
    pub id: u16,
    /// QR: a response.
    pub response: bool,
    /// OPCODE.
    pub opcode: u8,
    /// AA: the server is an authority for the name.
    pub authoritative: bool,
    /// TC: cut to fit a datagram.
    pub truncated: bool,
    /// RCODE, without the upper bits that EDNS adds.
    pub rcode: u8,
    /// Records of the answer section, as the header counts them.
    pub answers: u16,
    /// The question section.
    pub question: Question<'a>,
    /// Records of the authority and the additional section.
    others: [u16; 2],
    /// Where the answer section begins.
    records: usize,
}

/// The question section of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// No question, or only a header.
    None,
    /// One question.
    One {
        /// The name on the wire. It is not compressed: nothing precedes it to which it could point.
        name: &'a [u8],
        /// Its type and class.
        of: [u8; 4],
    },
    /// More than one question.
    Several,
    /// A question that cannot be read.
    Unreadable,
}

/// Whether a message answers a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Its answer: identifier and question are those of the query, in the same letter case.
    Answer,
    /// The identifier matches, but not the whole question: the name is in another letter case, or an error has no
    /// question. A host off the path can guess such a message.
    Partial,
    /// The identifier matches, but the question cannot be read. Such a message can be guessed, too.
    Unreadable,
    /// Anything else.
    Stranger,
}

/// One record of the answer section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The owner: the name on the wire, in lower case.
    pub owner: Vec<u8>,
    /// The content.
    pub data: Data,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An address: A or AAAA (RFC 3596).
    Address(IpAddr),
    /// CNAME: the name on the wire, in lower case.
    Alias(Vec<u8>),
    /// Anything else.
    Other,
}

/// A record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Message<'a> {
    /// Reads the header and the question; `None` if the header is not complete.
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER] = octets.first_chunk()?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (question, records) = match count(4) {
            _ if octets.len() == HEADER => (Question::None, HEADER),
            0 => (Question::None, HEADER),
            1 => question(octets).unwrap_or((Question::Unreadable, octets.len())),
            _ => (Question::Several, octets.len()),
        };
        Some(Self {
            octets,
            id: count(0),
            response: header[2] & 0x80 != 0,
            opcode: header[2] >> 3 & 0x0f,
            authoritative: header[2] & 0x04 != 0,
            truncated: header[2] & 0x02 != 0,
            rcode: header[3] & 0x0f,
            answers: count(6),
            question,
            others: [count(8), count(10)],
            records,
        })
    }

    /// Octets of the whole message.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// The OPT record (RFC 6891); `None` if there is none, or if a record before it cannot be read.
    pub fn opt(&self) -> Option<Opt> {
        let [authority, additional] = self.others;
        let before = u32::from(self.answers) + u32::from(authority);
        opt::read(self.octets, self.records, before, additional)
    }

    /// The RCODE with the upper bits of the OPT record, if there is one (RFC 6891, 6.1.3).
    pub fn whole_rcode(&self, opt: Option<Opt>) -> u16 {
        u16::from(opt.map_or(0, |opt| opt.rcode_high)) << 4 | u16::from(self.rcode)
    }

    /// Whether it answers a query (RFC 5452, 9.1; draft-vixie-dnsext-dns0x20).
    pub fn fit(&self, asked: &Message<'_>) -> Fit {
        let answers = self.response && self.id == asked.id && self.opcode == asked.opcode;
        match self.question {
            _ if !answers => Fit::Stranger,
            Question::One { .. } if self.question == asked.question => Fit::Answer,
            Question::One { .. } if self.question.is(&asked.question) => Fit::Partial,
            // An error has no records, so it need not repeat the question.
            Question::None if self.rcode != 0 => Fit::Partial,
            Question::None if self.octets.len() == HEADER => Fit::Unreadable,
            Question::Unreadable => Fit::Unreadable,
            Question::None | Question::One { .. } | Question::Several => Fit::Stranger,
        }
    }

    /// The records of the answer section, up to an error at the first that cannot be read.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, Malformed>> + use<'a> {
        let (octets, mut at, mut left) = (self.octets, self.records, self.answers);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let Some((record, next)) = record(octets, at) else {
                left = 0;
                return Some(Err(Malformed));
            };
            at = next;
            Some(Ok(record))
        })
    }
}

impl Question<'_> {
    /// Whether both are the same, ignoring the letter case of names (RFC 4343).
    pub fn is(&self, other: &Question<'_>) -> bool {
        match (self, other) {
            (Question::One { name, of }, Question::One { name: other, of: others }) => {
                of == others && name.eq_ignore_ascii_case(other)
            }
            _ => false,
        }
    }
}

/// Sets the case of each letter of the question's name by the bits of `random` in turn (draft-vixie-dnsext-dns0x20).
/// Names are case-insensitive (RFC 4343) and servers repeat the question unchanged, so the case is a secret that a
/// response must match.
pub fn randomize_case(message: &mut [u8], random: u64) {
    let Some(Question::One { name, .. }) = Message::read(message).map(|message| message.question)
    else {
        return;
    };
    let name = HEADER..HEADER + name.len();
    // A length is at most 63, which is not a letter.
    let letters = message[name].iter_mut().filter(|octet| octet.is_ascii_alphabetic());
    for (place, letter) in letters.enumerate() {
        match random >> (place % 64) & 1 {
            0 => letter.make_ascii_lowercase(),
            _ => letter.make_ascii_uppercase(),
        }
    }
}

/// The question after the header, and where it ends.
fn question(octets: &[u8]) -> Option<(Question<'_>, usize)> {
    let mut at = HEADER;
    loop {
        let length = *octets.get(at)?;
        if length > LONGEST_LABEL {
            return None;
        }
        at += usize::from(length) + 1;
        if at - HEADER > LONGEST_NAME {
            return None;
        }
        if length == 0 {
            break;
        }
    }
    let of = octets.get(at..)?.first_chunk()?;
    Some((Question::One { name: &octets[HEADER..at], of: *of }, at + of.len()))
}

/// The record at an offset, and where it ends.
fn record(octets: &[u8], at: usize) -> Option<(Record, usize)> {
    let (owner, at) = name(octets, at)?;
    let fields: &[u8; 10] = octets.get(at..)?.first_chunk()?;
    let number = |at: usize| u16::from_be_bytes([fields[at], fields[at + 1]]);
    let start = at + fields.len();
    let end = start + usize::from(number(8));
    let data = octets.get(start..end)?;
    let data = match (number(0), number(2)) {
        (1, INTERNET) => Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        (28, INTERNET) => Data::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        (5, INTERNET) => match name(octets, start)? {
            (alias, after) if after == end => Data::Alias(alias),
            _ => return None,
        },
        _ => Data::Other,
    };
    Some((Record { owner, data }, end))
}

/// The name at an offset, without pointers and in lower case, and where it ends there. Pointers must point backwards,
/// so that there is no loop.
fn name(octets: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut at, mut end) = (Vec::new(), at, None);
    let mut before = at;
    loop {
        let length = *octets.get(at)?;
        if length & POINTER == POINTER {
            let low = *octets.get(at + 1)?;
            end.get_or_insert(at + 2);
            at = usize::from(u16::from_be_bytes([length & !POINTER, low]));
            if at >= before {
                return None;
            }
            before = at;
            continue;
        }
        if length > LONGEST_LABEL {
            return None;
        }
        let label = octets.get(at..=at + usize::from(length))?;
        name.extend(label.iter().map(u8::to_ascii_lowercase));
        if name.len() > LONGEST_NAME {
            return None;
        }
        at += label.len();
        if length == 0 {
            return Some((name, end.unwrap_or(at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with an identifier of 0x1234, flags and counts.
    fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
        [0x1234, flags].iter().chain(&counts).flat_map(|number| number.to_be_bytes()).collect()
    }

    const QUESTION: &[u8] = b"\x01a\x07example\0\0\x01\0\x01";

    #[test]
    fn a_header_alone_is_a_message_without_a_question() {
        for counts in [[0; 4], [1, 0, 0, 0]] {
            let octets = header(0x8405, counts);
            let message = Message::read(&octets).unwrap();
            assert_eq!((message.id, message.rcode, message.opcode), (0x1234, 5, 0));
            assert!(message.response && message.authoritative && !message.truncated);
            assert_eq!(message.question, Question::None);
        }
        assert!(Message::read(&header(0, [0; 4])[..11]).is_none());
    }

    #[test]
    fn questions() {
        let octets = [header(0, [1, 0, 0, 0]), QUESTION.to_vec()].concat();
        let shouted = octets.to_ascii_uppercase();
        let (message, other) = (Message::read(&octets).unwrap(), Message::read(&shouted).unwrap());
        assert!(message.question.is(&other.question));
        assert!(!message.question.is(&Question::None) && !Question::None.is(&Question::None));
        let mut aaaa = octets.clone();
        aaaa[octets.len() - 3] = 28;
        assert!(!message.question.is(&Message::read(&aaaa).unwrap().question));
        for length in HEADER + 1..octets.len() {
            let cut = Message::read(&octets[..length]).unwrap();
            assert_eq!(cut.question, Question::Unreadable, "{length}");
        }
        let several = [header(0, [2, 0, 0, 0]), QUESTION.to_vec()].concat();
        assert_eq!(Message::read(&several).unwrap().question, Question::Several);
    }

    #[test]
    fn each_letter_gets_the_case_of_its_bit() {
        // A label of 63 octets has the length `?`, and one of 48 the length `0`: neither is a letter.
        let label = |octet: u8, length: u8| [vec![length], vec![octet; length.into()]].concat();
        let name = [label(b'x', 63), label(b'y', 48), label(b'9', 3), vec![0]].concat();
        let question = [header(0, [1, 0, 0, 0]), name, vec![0, 1, 0, 1]].concat();
        let mut message = question.clone();
        randomize_case(&mut message, 0b101);
        let upper: Vec<usize> =
            (0..message.len()).filter(|at| message[*at].is_ascii_uppercase()).collect();
        // The bits repeat after 64 letters.
        assert_eq!(upper, [13, 15, 78, 80]);
        assert!(message.eq_ignore_ascii_case(&question));
        randomize_case(&mut message, 0);
        assert_eq!(message, question);
        let mut garbage = b"abcdefghijklmnop".to_vec();
        randomize_case(&mut garbage, u64::MAX);
        assert_eq!(garbage, b"abcdefghijklmnop");
    }

    #[test]
    fn only_the_exact_question_makes_an_answer() {
        let asked =
            [header(0x0100, [1, 0, 0, 0]), b"\x01A\x07exAmple\0\0\x01\0\x01".to_vec()].concat();
        let asked = Message::read(&asked).unwrap();
        let exact = &b"\x01A\x07exAmple\0\0\x01\0\x01"[..];
        for (flags, count, question, fit) in [
            (0x8180, 1, exact, Fit::Answer),
            (0x8183, 1, exact, Fit::Answer),
            (0x8180, 1, QUESTION, Fit::Partial),
            (0x8183, 0, b"", Fit::Partial),
            (0x8180, 0, b"", Fit::Unreadable),
            (0x8180, 1, b"\xff", Fit::Unreadable),
            (0x0180, 1, exact, Fit::Stranger),
            // Another OPCODE.
            (0xa180, 1, exact, Fit::Stranger),
            (0x8180, 2, exact, Fit::Stranger),
            (0x8180, 1, b"\x01B\x07exAmple\0\0\x01\0\x01", Fit::Stranger),
            // Another type, another class.
            (0x8180, 1, b"\x01A\x07exAmple\0\0\x1c\0\x01", Fit::Stranger),
            (0x8180, 1, b"\x01A\x07exAmple\0\0\x01\0\x03", Fit::Stranger),
        ] {
            let octets = [header(flags, [count, 0, 0, 0]), question.to_vec()].concat();
            let message = Message::read(&octets).unwrap();
            assert_eq!(message.fit(&asked), fit, "{flags:#x} {count} {question:?}");
        }
    }

    #[test]
    fn records_are_read_up_to_the_first_that_is_malformed() {
        let records: &[&[u8]] = &[
            b"\xc0\x0c\0\x05\0\x01\0\0\0\0\0\x04\x01b\xc0\x0e",
            b"\x01B\xc0\x0e\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01",
            b"\xc0\x0c\0\x10\0\x01\0\0\0\0\0\x01x",
        ];
        let octets = [&header(0x8000, [1, 3, 1, 0]), QUESTION, &records.concat(), b"junk"].concat();
        let read = |octets: &[u8]| -> Vec<_> { Message::read(octets).unwrap().records().collect() };
        let owner = |letter: u8| [&[1, letter], &b"\x07example\0"[..]].concat();
        let address = Data::Address([192, 0, 2, 1].into());
        let expected = [
            Ok(Record { owner: owner(b'a'), data: Data::Alias(owner(b'b')) }),
            Ok(Record { owner: owner(b'b'), data: address }),
            Ok(Record { owner: owner(b'a'), data: Data::Other }),
        ];
        assert_eq!(read(&octets), expected);
        let cut = octets.len() - b"junk".len() - records[2].len();
        assert_eq!(read(&octets[..cut + 3]), [&expected[..2], &[Err(Malformed)]].concat());
        // An address of three octets, a pointer to itself, a pointer ahead.
        for wrong in [
            &b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x03\xc0\0\x02"[..],
            b"\xc0\x1b\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01",
            b"\xc0\x1d\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01",
        ] {
            let octets = [&header(0x8000, [1, 1, 0, 0]), QUESTION, wrong].concat();
            assert_eq!(read(&octets), [Err(Malformed)]);
        }
    }
}
