//! Addresses of name servers: given ones, or those of the system's resolv.conf.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use crate::error::{Error, Result, Setting};

const PORT: u16 = 53;

/// Reads `ADDR`, `ADDR:PORT`, `[ADDR]` or `[ADDR]:PORT`; IPv6 may have a zone (`fe80::1%eth0`).
pub fn server(text: &str) -> Result<SocketAddr, String> {
    let refuse =
        || format!("{text:?} is not ADDR or ADDR:PORT, as 192.0.2.53 or [2001:db8::53]:5353");
    if let Ok(server) = text.parse::<SocketAddr>() {
        return match server.port() {
            0 => Err("port 0 is not valid".into()),
            _ => Ok(server),
        };
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Some((address, zone)) = bare.split_once('%') {
        let address: Ipv6Addr = address.parse().map_err(|_| refuse())?;
        let zone = match zone.parse() {
            Ok(number) => number,
            Err(_) => nix::net::if_::if_nametoindex(zone)
                .map_err(|_| format!("there is no interface {zone:?}"))?,
        };
        return Ok(SocketAddrV6::new(address, PORT, 0, zone).into());
    }
    let address: IpAddr = bare.parse().map_err(|_| refuse())?;
    Ok(SocketAddr::new(address, PORT))
}

/// The name servers of a resolv.conf(5), in its order.
///
/// # Errors
/// [`Error::Usage`] if there is none.
pub fn of_system(path: &Path) -> Result<Vec<SocketAddr>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let servers = of_text(&text);
    if servers.is_empty() {
        return Err(Error::needs(
            Setting::Resolvers,
            format!("no resolver: {} names none", path.display()),
        ));
    }
    Ok(servers)
}

fn of_text(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // Skip invalid ones, as the C library does.
        if let Some(Ok(server)) = words.next().map(server)
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_server() {
        for (text, meant) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
            ("fe80::1%3", "[fe80::1%3]:53"),
        ] {
            assert_eq!(server(text).unwrap().to_string(), meant);
        }
        for text in ["", "dns.example", "192.0.2.53:0", "192.0.2.53:x", "fe80::1%no-such-0"] {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_resolv_conf() {
        let text = "# nameserver 192.0.2.1\nsearch example\nnameserver 192.0.2.2\nnameserver\n\
                    nameserver nonsense\nnameserver\t2001:db8::3 # third\nnameserver 192.0.2.2\n";
        let servers: Vec<String> = of_text(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.2:53", "[2001:db8::3]:53"]);
        let missing = of_system(Path::new("/nonexistent")).unwrap_err();
        assert!(
            matches!(missing, Error::NeedsSetting { setting: Setting::Resolvers, .. }),
            "{missing}"
        );
    }
}
