//! The request to a web server.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::connect::machine::Peer;
use crate::connect::options::Options;
use crate::connect::tcp::MOST_BYTES;

/// The product in the User-Agent field.
pub(super) const AGENT: &str = concat!("pathspider/", env!("CARGO_PKG_VERSION"));

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connect) struct Request {
    /// `GET` or `HEAD`.
    pub(super) method: &'static str,
    /// The path.
    pub(super) path: String,
    /// The target's name, otherwise its address, in the form of a URI.
    pub(super) host: String,
    /// With the port, if it is not the scheme's default (RFC 9110, 7.2).
    pub(super) authority: String,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Octets of the whole request in HTTP/1, if it is padded.
    pub(super) octets: Option<usize>,
    /// Octets of content to read of the response, if the measurement says, and the most octets to read.
    pub(super) read: Option<u64>,
    pub(super) most_read: usize,
    /// The User-Agent: the product, and the run's contact if it has one.
    pub(super) agent: String,
}

impl Request {
    /// The request to a peer.
    ///
    /// # Errors
    ///
    /// If the target's name is not valid in a request; in the words of the `error` column.
    pub(in crate::connect) fn new(
        options: &Options,
        peer: Peer<'_>,
        scheme: &'static str,
    ) -> Result<Self, &'static str> {
        let host = match peer.name {
            Some(name) => host(name)?,
            None => literal(peer.address),
        };
        let usual = if scheme == "https" { 443 } else { 80 };
        let authority =
            if peer.port == usual { host.clone() } else { format!("{host}:{}", peer.port) };
        Ok(Self {
            method: options.method(),
            path: options.path().to_owned(),
            host,
            authority,
            scheme,
            octets: options.request_octets(),
            read: options.read(),
            most_read: options.most_read(MOST_BYTES),
            agent: match &options.contact {
                Some(contact) => format!("{AGENT} (+{contact})"),
                None => AGENT.to_owned(),
            },
        })
    }

    /// The target's name, otherwise its address without brackets: the name to verify the certificate for.
    pub(in crate::connect) fn server(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether the response has content.
    pub(super) fn has_body(&self) -> bool {
        self.method != "HEAD"
    }

    /// A complete request in HTTP/1.1, the only one on its connection.
    pub(in crate::connect) fn whole_http1(&self) -> Vec<u8> {
        (self.http1(1, "close") + "\r\n").into_bytes()
    }

    /// The request line and header of HTTP/1, without the blank line.
    pub(super) fn http1(&self, minor: u8, connection: &str) -> String {
        const PADDING: &str = "X-Padding: \r\n";
        let Self { method, path, authority, agent, .. } = self;
        let mut text = format!(
            "{method} {path} HTTP/1.{minor}\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n\
             Accept: */*\r\nConnection: {connection}\r\n"
        );
        let blank = "\r\n".len();
        if let Some(room) =
            self.octets.and_then(|all| all.checked_sub(text.len() + PADDING.len() + blank))
        {
            let padding = "x".repeat(room);
            text.push_str(&format!("X-Padding: {padding}\r\n"));
        }
        text
    }
}

/// An address in the form of a URI (RFC 3986, 3.2.2).
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A name in the form of a URI; names with other letters in their IDNA form (RFC 5891).
fn host(name: &str) -> Result<String, &'static str> {
    const WRONG: &str = "Target's name is not a valid host name";
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(literal(address));
    }
    let name = Name::from_str_relaxed(name).map_err(|_| WRONG)?.to_ascii();
    let name = name.trim_end_matches('.');
    // Other octets that the DNS allows in a name have a meaning of their own in a request.
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_converted_for_a_request_or_rejected() {
        for (name, expected) in [
            ("example.org", Some("example.org")),
            ("WWW.Example.org.", Some("www.example.org")),
            ("_x.example.org", Some("_x.example.org")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("192.0.2.7", Some("192.0.2.7")),
            ("2001:db8::7", Some("[2001:db8::7]")),
            ("[2001:db8::7]", Some("[2001:db8::7]")),
            ("a b", None),
            ("a\r\nX-Y: z", None),
            ("a/b", None),
            ("a:80", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(host(name).ok().as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn the_contact_is_in_the_user_agent() {
        let contact = Some("mailto:lab@example.org".to_owned());
        let options = Options { contact, ..Options::default() };
        let peer = Peer { address: "192.0.2.1".parse().unwrap(), port: 80, name: None, random: 0 };
        let request = Request::new(&options, peer, "http").unwrap().whole_http1();
        let agent = format!("\r\nUser-Agent: {AGENT} (+mailto:lab@example.org)\r\n");
        assert!(String::from_utf8(request).unwrap().contains(&agent));
    }

    #[test]
    fn the_port_is_named_unless_it_is_the_default() {
        let peer = |address: &str, port, name| Peer {
            address: address.parse().unwrap(),
            port,
            name,
            random: 0,
        };
        let request = |peer, scheme| Request::new(&Options::default(), peer, scheme).unwrap();
        assert_eq!(request(peer("192.0.2.1", 80, None), "http").authority, "192.0.2.1");
        assert_eq!(
            request(peer("192.0.2.1", 443, Some("a.example")), "https").authority,
            "a.example"
        );
        let six = request(peer("2001:db8::1", 8080, None), "http");
        assert_eq!((six.authority.as_str(), six.server()), ("[2001:db8::1]:8080", "2001:db8::1"));
    }
}
