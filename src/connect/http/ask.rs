//! What is asked of a web server.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::connect::{METHODS, Options, Peer};

/// Who asks.
pub(super) const AGENT: &str = concat!("pathspider/", env!("CARGO_PKG_VERSION"));

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connect) struct Ask {
    /// `GET` or `HEAD`.
    pub(super) method: &'static str,
    /// The path.
    pub(super) path: String,
    /// The target's name, else its address, as it stands in a URI.
    pub(super) host: String,
    /// With the port, where it is not that of the scheme (RFC 9110, 7.2).
    pub(super) authority: String,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Who asks, and where they can be reached if they say so.
    pub(super) agent: String,
}

impl Ask {
    /// What is asked of a peer.
    ///
    /// # Errors
    ///
    /// If the target's name cannot stand in a request; in the words of the `error` column.
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
            method: options.method.unwrap_or(METHODS[0].0),
            path: options.path.clone().unwrap_or_else(|| "/".to_owned()),
            host,
            authority,
            scheme,
            agent: match &options.contact {
                Some(contact) => format!("{AGENT} (+{contact})"),
                None => AGENT.to_owned(),
            },
        })
    }

    /// The target's name, else its address without brackets: what its certificate should be for.
    pub(in crate::connect) fn server(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether content follows the header.
    pub(super) fn has_body(&self) -> bool {
        self.method != "HEAD"
    }

    /// A request in HTTP/1.1 of a connection with no other.
    pub(in crate::connect) fn whole_http1(&self) -> Vec<u8> {
        (self.http1(1, "close") + "\r\n").into_bytes()
    }

    /// The request line and header of HTTP/1, without the blank line.
    pub(super) fn http1(&self, minor: u8, connection: &str) -> String {
        let Self { method, path, authority, agent, .. } = self;
        format!(
            "{method} {path} HTTP/1.{minor}\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n\
             Accept: */*\r\nConnection: {connection}\r\n"
        )
    }
}

/// An address as it stands in a URI (RFC 3986, 3.2.2).
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A name as it stands in a URI: of other letters, what IDNA makes of them (RFC 5891).
fn host(name: &str) -> Result<String, &'static str> {
    const WRONG: &str = "Target's name is no name of a host";
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(literal(address));
    }
    let name = Name::from_str_relaxed(name).map_err(|_| WRONG)?.to_ascii();
    let name = name.trim_end_matches('.');
    // What else a name may have in the DNS would be something of its own in a request.
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
    fn names_are_made_fit_for_a_request_or_refused() {
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
    fn who_asks_can_be_reached() {
        let contact = Some("mailto:lab@example.org".to_owned());
        let options = Options { contact, ..Options::default() };
        let peer = Peer { address: "192.0.2.1".parse().unwrap(), port: 80, name: None, random: 0 };
        let request = Ask::new(&options, peer, "http").unwrap().whole_http1();
        let agent = format!("\r\nUser-Agent: {AGENT} (+mailto:lab@example.org)\r\n");
        assert!(String::from_utf8(request).unwrap().contains(&agent));
    }

    #[test]
    fn the_port_is_named_where_it_is_not_the_usual_one() {
        let peer = |address: &str, port, name| Peer {
            address: address.parse().unwrap(),
            port,
            name,
            random: 0,
        };
        let ask = |peer, scheme| Ask::new(&Options::default(), peer, scheme).unwrap();
        assert_eq!(ask(peer("192.0.2.1", 80, None), "http").authority, "192.0.2.1");
        assert_eq!(ask(peer("192.0.2.1", 443, Some("a.example")), "https").authority, "a.example");
        let six = ask(peer("2001:db8::1", 8080, None), "http");
        assert_eq!((six.authority.as_str(), six.server()), ("[2001:db8::1]:8080", "2001:db8::1"));
    }
}
