//! The query to a name server: its name and type, and EDNS.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{self, MessageType, OpCode};
use hickory_proto::rr::{Name, RecordType};

use super::edns::Edns;
use super::machine::Peer;
use crate::packet::dns::{HEADER, randomize_case};

/// Types that `question` accepts, with their meaning.
pub static QUESTIONS: &[(&str, &str)] = &[
    ("A", "the name's IPv4 addresses"),
    ("AAAA", "the name's IPv6 addresses (RFC 3596)"),
    ("NS", "the name servers of a zone"),
    ("SOA", "the start of a zone"),
    ("CNAME", "the canonical name"),
    ("PTR", "the name of an address"),
    ("MX", "mail servers"),
    ("TXT", "texts"),
    ("SRV", "servers of a service (RFC 2782)"),
    ("NAPTR", "rules of rewriting (RFC 3403)"),
    ("CAA", "who may issue certificates (RFC 8659)"),
    ("TLSA", "certificates of a service (RFC 6698)"),
    ("SSHFP", "fingerprints of SSH keys (RFC 4255)"),
    ("SVCB", "how a service is reached (RFC 9460)"),
    ("HTTPS", "how a web server is reached (RFC 9460)"),
    ("DS", "digests of a child zone's keys (RFC 4034)"),
    ("DNSKEY", "the keys of a zone (RFC 4034)"),
    ("RRSIG", "signatures (RFC 4034)"),
    ("NSEC", "the next name (RFC 4034)"),
    ("NSEC3PARAM", "parameters of hashed names (RFC 5155)"),
    ("CDS", "DS records for the parent (RFC 7344)"),
    ("CDNSKEY", "keys for the parent (RFC 7344)"),
    ("ANY", "some records of the name (RFC 8482)"),
];

/// The name in queries to targets without one: it is reserved, is in the DNS, and has
/// addresses of both families (RFC 2606).
pub const DEFAULT_NAME: &str = "example.org";

/// The longest name in octets (RFC 1035, 2.3.4), and one of usual length.
const LONGEST_NAME: usize = 255;
const USUAL_NAME: usize = 20;
/// Octets of type and class.
const FIELDS: usize = 4;

/// A name that no query can have.
const WRONG: &str = "Target's name cannot be queried";

/// A query, as a measurement describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its type: one of [`QUESTIONS`].
    pub of: &'static str,
    /// Its name, if it is not that of the target.
    pub name: Option<String>,
    /// Its OPT record, if it has one.
    pub edns: Option<Edns>,
}

impl Default for Query {
    fn default() -> Self {
        Self { of: QUESTIONS[0].0, name: None, edns: None }
    }
}

/// The pattern of what may be the name of a query, or of a text with a param.
pub const NAME: &str = "^(\\.|[^.]+(\\.[^.]+)*\\.?|.*\\$\\{.*)$";

/// Whether a text can be the name of a query.
pub fn is_name(text: &str) -> bool {
    let query = Query { name: Some(text.to_owned()), ..Query::default() };
    !text.is_empty() && query.message(ANY, false, None).is_ok()
}

/// A peer without a name.
const ANY: Peer<'_> =
    Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 53, name: None, random: 0 };

fn fully_qualified(text: &str) -> Option<Name> {
    let mut name = Name::from_str_relaxed(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

impl Query {
    /// Octets of the message, usually and at most.
    pub(super) fn octets(&self) -> (u64, u64) {
        let of = |name: usize| {
            let plain = HEADER + name + FIELDS;
            self.edns.map_or(plain, |edns| edns.octets(plain)) as u64
        };
        let own = self.name.as_ref().and_then(|_| self.message(ANY, false, None).ok());
        match own.map(|message| message.len() as u64) {
            Some(octets) => (octets, octets),
            None => (of(USUAL_NAME), of(LONGEST_NAME)),
        }
    }

    /// The message to a peer, padded to `exactly` this many octets if given. The lowest bits of the peer's random number
    /// are its identifier; with `random_case`, the others choose the case of the letters of its name.
    ///
    /// # Errors
    ///
    /// If the name does not fit a message, or the message this many octets; in the words of the `error` column.
    pub(super) fn message(
        &self,
        peer: Peer<'_>,
        random_case: bool,
        exactly: Option<usize>,
    ) -> Result<Vec<u8>, &'static str> {
        const ID_BITS: u32 = 16;
        let name = self.name.as_deref().or(peer.name).unwrap_or(DEFAULT_NAME);
        let name = fully_qualified(name).ok_or(WRONG)?;
        let of_type = self.of.parse().unwrap_or(RecordType::A);
        let mut message = op::Message::new(peer.random as u16, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(op::Query::query(name, of_type));
        let mut octets = message.to_vec().map_err(|_| WRONG)?;
        if random_case {
            randomize_case(&mut octets, peer.random.rotate_right(ID_BITS));
        }
        let length = match self.edns {
            Some(edns) => edns.append(&mut octets, exactly),
            None => exactly.is_none_or(|length| length == octets.len()).then_some(()),
        };
        length.ok_or("Query is longer than the packet")?;
        octets.shrink_to_fit();
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_one_of_the_dns() {
        for (word, _) in QUESTIONS {
            let of_type: RecordType = word.parse().unwrap();
            assert_eq!(of_type.to_string(), *word);
        }
    }

    #[test]
    fn names_are_checked() {
        let long = format!("{0}.{0}.{0}.{0}", "a".repeat(63));
        for (name, is) in
            [(".", true), ("example.org", true), ("_x.a", true), ("a..b", false), (&long, false)]
        {
            assert_eq!(is_name(name), is, "{name}");
        }
    }

    #[test]
    fn a_query_has_the_octets_that_it_costs() {
        let address = [192, 0, 2, 1].into();
        let peer = Peer { address, port: 53, name: None, random: 7 };
        for name in [".", "example.org", "octets-2000.example"] {
            for edns in [None, Some(Edns { padding: Some(128), ..Edns::default() })] {
                let query = Query { of: "TXT", name: Some(name.into()), edns };
                let octets = query.message(peer, true, None).unwrap().len() as u64;
                assert_eq!(query.octets(), (octets, octets), "{query:?}");
            }
        }
        let plain = Query::default();
        assert!(plain.message(peer, true, Some(100)).is_err(), "nothing to pad with");
    }
}
