//! Checks addresses and ports: whether a connection can go there, and if not, why.

use std::net::IpAddr;

use super::refusal::shown;

/// Parses an address; IPv6 may be in brackets.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("no address".into());
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Some((before, _)) = bare.split_once('%')
        && before.parse::<IpAddr>().is_ok()
    {
        return Err(format!("{} has a zone: link-local targets are not supported", shown(text)));
    }
    let address: IpAddr =
        bare.parse().map_err(|_| format!("{} is not an IP address", shown(text)))?;
    usable(address)
}

/// Normalizes an address: an IPv4-mapped IPv6 address becomes the IPv4 address.
///
/// # Errors
/// A lowercase fragment that says why no connection can go there.
pub fn usable(address: IpAddr) -> Result<IpAddr, String> {
    let address = address.to_canonical();
    let why = match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "an unspecified address (0.0.0.0/8)",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unspecified() => "the unspecified address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "a link-local address, and its interface is not known"
        }
        _ if address.is_multicast() => "a multicast address",
        _ => return Ok(address),
    };
    Err(format!("{address} is {why}"))
}

/// Parses a port; spreadsheets and data frames write 80 as "80.0".
pub fn port(text: &str) -> Result<u16, String> {
    let text = text.trim();
    let digits = text.strip_suffix(".0").unwrap_or(text);
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && !digits.starts_with('+') => Ok(port),
        _ => Err(format!("{} is not a port (1 to 65535)", shown(text))),
    }
}
