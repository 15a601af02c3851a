//! Extensions of ICMP errors: where the quote ends (RFC 4884), the labels of the quoted packet (RFC 4950), and the
//! interface that it came in by (RFC 5837).

use etherparse::checksum::Sum16BitWords;

/// Octets of the message before the quote.
const HEAD: usize = 8;
/// Octets of quote before an extension whose place no length says (RFC 4884, 5).
const WITHOUT_LENGTH: usize = 128;
/// Octets of the header of an extension, of the header of an object, and of an entry of a label stack.
const WORD: usize = 4;
/// The only version (RFC 4884, 7).
const VERSION: u8 = 2;
/// The class of label stacks (RFC 4950).
const LABELS: u8 = 1;
/// The class of interfaces (RFC 5837).
const INTERFACE: u8 = 2;

/// The octets of an extension structure after its header: objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extension<'a>(&'a [u8]);

/// Where the quote of an error ends, and its extension. `message` is the whole ICMP message.
pub(super) fn split(message: &[u8], v4: bool) -> (usize, Extension<'_>) {
    let none = (message.len(), Extension::default());
    let (Some(kind), Some(words)) = (message.first(), message.get(if v4 { 5 } else { 4 })) else {
        return none;
    };
    // The types with a length field (RFC 4884, 4.1 to 4.5); its unit is 32 or 64 bits.
    let has_length = if v4 { matches!(kind, 3 | 11 | 12) } else { matches!(kind, 1 | 3) };
    if !has_length {
        return none;
    }
    let length = usize::from(*words) * if v4 { 4 } else { 8 };
    let end = HEAD + if length == 0 { WITHOUT_LENGTH } else { length };
    match message.get(end..).and_then(valid) {
        Some(objects) => (end, Extension(objects)),
        // Without a valid extension, a length still says where the quote ends.
        None if length > 0 && end <= message.len() => (end, Extension::default()),
        None => none,
    }
}

/// The objects of an extension structure with the right version and checksum (0 means none).
fn valid(structure: &[u8]) -> Option<&[u8]> {
    let (head, objects) = structure.split_first_chunk::<WORD>()?;
    let sum = Sum16BitWords::new().add_slice(structure).ones_complement();
    let is = head[0] >> 4 == VERSION && (sum == 0 || head[2..] == [0, 0]) && !objects.is_empty();
    is.then_some(objects)
}

impl<'a> Extension<'a> {
    /// Class, type and content of every object, up to the first that is not complete.
    fn objects(self) -> impl Iterator<Item = (u8, u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let head = rest.first_chunk::<WORD>()?;
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let content = rest.get(WORD..length)?;
            rest = &rest[length..];
            Some((head[2], head[3], content))
        })
    }

    /// The MPLS labels of the quoted packet, the outermost first.
    pub fn labels(self) -> impl Iterator<Item = u32> + 'a {
        let stacks = self.objects().filter(|(class, kind, _)| (*class, *kind) == (LABELS, 1));
        stacks.flat_map(|(_, _, stack)| {
            stack.as_chunks::<WORD>().0.iter().map(|entry| u32::from_be_bytes(*entry) >> 12)
        })
    }

    /// The name of the interface that the quoted packet came in by.
    pub fn interface(self) -> Option<&'a str> {
        // The role 0 is the incoming interface; the other bits say which parts follow (RFC 5837, 4.1).
        let mut interfaces = self
            .objects()
            .filter(|(class, kind, _)| (*class, kind >> 6) == (INTERFACE, 0) && kind & NAME != 0);
        interfaces.find_map(|(_, kind, mut content)| {
            if kind & INDEX != 0 {
                content = content.get(WORD..)?;
            }
            if kind & ADDRESS != 0 {
                let octets = match content.get(..2)? {
                    [0, 1] => 8,
                    [0, 2] => 20,
                    _ => return None,
                };
                content = content.get(octets..)?;
            }
            let length = usize::from(*content.first()?);
            let name = content.get(1..length)?;
            let end = name.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
            std::str::from_utf8(&name[..end]).ok().filter(|name| !name.is_empty())
        })
    }
}

/// Bits of the type of an interface object: its index, its address and its name follow.
const INDEX: u8 = 8;
const ADDRESS: u8 = 4;
const NAME: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(objects: &[&[u8]]) -> Vec<u8> {
        let mut all = vec![VERSION << 4, 0, 0, 0];
        for object in objects {
            all.extend_from_slice(object);
        }
        let sum = Sum16BitWords::new().add_slice(&all).ones_complement();
        all[2..4].copy_from_slice(&sum.to_ne_bytes());
        all
    }

    fn message(v4: bool, length: u8, quote: usize, extension: &[u8]) -> Vec<u8> {
        let mut all = vec![if v4 { 11 } else { 3 }, 0, 0, 0, 0, 0, 0, 0];
        all[if v4 { 5 } else { 4 }] = length;
        all.resize(HEAD + quote, 0x45);
        all.extend_from_slice(extension);
        all
    }

    const STACK: &[u8] = &[0, 12, 1, 1, 0x12, 0x34, 0x50, 1, 0, 0, 0x71, 9];

    #[test]
    fn the_quote_ends_where_the_length_says_or_after_128_octets() {
        let extension = structure(&[STACK]);
        for (v4, length, quote) in
            [(true, 32, 128), (false, 16, 128), (true, 0, 128), (true, 40, 160)]
        {
            let message = message(v4, length, quote, &extension);
            let (end, found) = split(&message, v4);
            assert_eq!(end, HEAD + quote, "{v4} {length}");
            assert_eq!(found.labels().collect::<Vec<_>>(), [0x12345, 7]);
        }
    }

    #[test]
    fn what_is_no_extension_belongs_to_the_quote() {
        let mut damaged = structure(&[STACK]);
        damaged[9] ^= 1;
        for extension in [damaged, structure(&[]), vec![0x10, 0, 0, 0, 1, 2, 3, 4], vec![7; 60]] {
            let message = message(true, 0, 128, &extension);
            assert_eq!(split(&message, true), (message.len(), Extension::default()));
        }
        // A length beyond the message.
        let short = message(true, 200, 60, &[]);
        assert_eq!(split(&short, true).0, short.len());
        assert_eq!(split(&[11, 0, 0], true).0, 3);
        // Packet too big has no length field.
        let mut too_big = message(false, 16, 128, &structure(&[STACK]));
        too_big[0] = 2;
        assert_eq!(split(&too_big, false).0, too_big.len());
    }

    #[test]
    fn interfaces_have_names() {
        let name = b"\x08xe-0/0\0";
        let mut object = vec![0, 24, INTERFACE, INDEX | ADDRESS | NAME, 0, 0, 0, 7];
        object.extend([0, 1, 0, 0, 192, 0, 2, 1]);
        object.extend(name);
        let extension = structure(&[STACK, &object]);
        let message = message(true, 32, 128, &extension);
        assert_eq!(split(&message, true).1.interface(), Some("xe-0/0"));
        for end in HEAD + 128..message.len() {
            split(&message[..end], true).1.interface();
        }
    }
}
