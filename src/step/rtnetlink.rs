//! Rules, routes and interfaces of this network namespace, by rtnetlink(7).

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Nla as _,
    NlasIterator, Parseable as _, parse_string, parse_u32,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;
use nix::libc;

use super::netlink::{Netlink, Refusal};
use crate::error::{Error, Result};

/// The attributes of interfaces with their names and MTUs.
const NAME: u16 = libc::IFLA_IFNAME;
const MTU: u16 = libc::IFLA_MTU;

/// Rules, routes and interfaces of this network namespace, for one version of IP.
pub(super) struct Host {
    name: &'static str,
    family: AddressFamily,
    netlink: Netlink,
}

/// A rule, as far as it matters here.
pub(super) struct Rule {
    pub mark: Option<u32>,
    pub table: u32,
}

/// An interface.
#[derive(Debug)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
}

impl Host {
    /// Opens a socket for requests about one version of IP.
    pub fn open(name: &'static str, family: AddressFamily) -> Result<Self> {
        let netlink = Netlink::route();
        let netlink = netlink.map_err(|why| Error::failed("open a netlink socket", why))?;
        Ok(Self { name, family, netlink })
    }

    /// All rules.
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut body = RuleMessage::default();
        body.header.family = self.family;
        let decode = |bytes: &[u8]| {
            let rule = RuleMessage::parse(bytes)?;
            let mut read = Rule { mark: None, table: rule.header.table.into() };
            for attribute in &rule.attributes {
                match attribute {
                    RuleAttribute::FwMark(mark) => read.mark = Some(*mark),
                    RuleAttribute::Table(table) => read.table = *table,
                    _ => {}
                }
            }
            Ok(read)
        };
        let rules = self.netlink.list(libc::RTM_GETRULE, &body, decode);
        rules.map_err(|why| Error::failed(format!("list the {} rules", self.name), why))
    }

    /// The routes of a table; none if it does not exist.
    pub fn table(&mut self, number: u32) -> Result<Vec<RouteMessage>> {
        let mut body = RouteMessage::default();
        body.header.address_family = self.family;
        body.attributes = vec![RouteAttribute::Table(number)];
        match self.netlink.list(libc::RTM_GETROUTE, &body, RouteMessage::parse) {
            Err(why) if why.is(Errno::ENOENT) => Ok(Vec::new()),
            Err(why) => {
                let doing = format!("list the {} routing table {number}", self.name);
                Err(Error::failed(doing, why))
            }
            // Older kernels list all tables. Cloned entries are what the kernel has learned about routes.
            Ok(mut routes) => {
                routes.retain(|route| {
                    table(route) == number && !route.header.flags.contains(RouteFlags::Cloned)
                });
                Ok(routes)
            }
        }
    }

    /// The routes of the main table that can be used now. Direct routes come first: the gateways of others are found
    /// through them.
    pub fn main_table(&mut self, device: Option<u32>) -> Result<Vec<RouteMessage>> {
        let mut routes = self.table(RouteHeader::RT_TABLE_MAIN.into())?;
        routes.retain(|route| is_usable(route, device));
        for route in &routes {
            if let Some(kind) = encapsulation(&route.attributes) {
                return Err(Error::failed(
                    format!("copy the route to {} of the main table", destination(route)),
                    format!("it encapsulates packets ({kind}), which a route step cannot copy"),
                ));
            }
        }
        routes.sort_by_key(has_gateway);
        Ok(routes)
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let links = self.netlink.list(libc::RTM_GETLINK, &NoAttributes(LINK), read_link);
        links.map_err(|why| Error::failed("list the interfaces", why))
    }

    /// Adds a route to its table; routes with the same destination stay.
    pub fn add_route(&mut self, route: &RouteMessage) -> Result<(), Refusal> {
        self.netlink.request(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, route)
    }

    /// Adds the rule that leads from a mark to its table.
    pub fn add_rule(&mut self, mark: u32) -> Result<(), Refusal> {
        let rule = rule(self.family, mark);
        self.netlink.request(libc::RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &rule)
    }

    /// Whether a rule has this mark, or a table this number.
    pub fn is_in_use(&mut self, mark: u32) -> Result<bool> {
        let ours = |rule: &Rule| rule.mark == Some(mark) || rule.table == mark;
        Ok(self.rules()?.iter().any(ours) || !self.table(mark)?.is_empty())
    }

    /// Removes the rules with this mark that lead to the table, and its routes; returns the first error.
    pub fn remove(&mut self, mark: u32) -> Result<(), Refusal> {
        let mut outcome = Ok(());
        let rules = self.rules().unwrap_or_default();
        let ours = rules.iter().filter(|rule| rule.mark == Some(mark) && rule.table == mark);
        for _ in ours {
            let gone = self.netlink.request(libc::RTM_DELRULE, 0, &rule(self.family, mark));
            outcome = outcome.and(gone);
        }
        for mut route in self.table(mark).unwrap_or_default() {
            route.attributes.retain(|one| !matches!(one, RouteAttribute::CacheInfo(_)));
            let gone = self.netlink.request(libc::RTM_DELROUTE, 0, &route);
            outcome = outcome.and(gone);
        }
        outcome
    }
}

/// The size of what describes an interface, `struct ifinfomsg`.
const LINK: usize = 16;

/// A message of this many zeros.
struct NoAttributes(usize);

impl Emitable for NoAttributes {
    fn buffer_len(&self) -> usize {
        self.0
    }

    fn emit(&self, _: &mut [u8]) {}
}

/// Reads an interface. Other attributes, of which drivers have many, are not looked at.
fn read_link(bytes: &[u8]) -> Result<Link, DecodeError> {
    let index = parse_u32(bytes.get(4..8).unwrap_or_default())?;
    let mut link = Link { index, name: String::new(), mtu: u32::MAX };
    for attribute in NlasIterator::new(bytes.get(LINK..).unwrap_or_default()) {
        let attribute = DefaultNla::parse(&attribute?)?;
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        match attribute.kind() {
            NAME => link.name = parse_string(&value)?,
            MTU => link.mtu = parse_u32(&value)?,
            _ => {}
        }
    }
    Ok(link)
}

/// The rule that leads from a mark to its table.
fn rule(family: AddressFamily, mark: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::FwMark(mark),
        RuleAttribute::Table(mark),
        RuleAttribute::Protocol(RouteProtocol::Boot),
    ];
    rule
}

/// The number of the table that a route is in.
pub(super) fn table(route: &RouteMessage) -> u32 {
    let number = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    number.unwrap_or_else(|| route.header.table.into())
}

/// The destination of a route, as ip(8) writes it.
pub(super) fn destination(route: &RouteMessage) -> String {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(v4.to_string()),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(v6.to_string()),
        _ => None,
    });
    match address {
        Some(address) => format!("{address}/{}", route.header.destination_prefix_length),
        None => "default".into(),
    }
}

/// The next hops of a route that has several.
pub(super) fn next_hops(route: &RouteMessage) -> &[RouteNextHop] {
    let hops = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops.as_slice()),
        _ => None,
    });
    hops.unwrap_or_default()
}

/// The device of a route that has one next hop.
fn device(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// The devices that a route leads through.
pub(super) fn devices(route: &RouteMessage) -> impl Iterator<Item = u32> {
    next_hops(route).iter().map(|hop| hop.interface_index).chain(device(route))
}

pub(super) fn has_gateway(route: &RouteMessage) -> bool {
    let is_gateway = |attribute: &RouteAttribute| {
        matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_))
    };
    !next_hops(route).is_empty() || route.attributes.iter().any(is_gateway)
}

/// How a route encapsulates packets, if it does.
fn encapsulation(attributes: &[RouteAttribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::EncapType(kind) => Some(kind.to_string()),
        RouteAttribute::MultiPath(hops) => {
            hops.iter().find_map(|hop| encapsulation(&hop.attributes))
        }
        _ => None,
    })
}

/// Whether packets can take a route now, and through the device that sockets are bound to.
fn is_usable(route: &RouteMessage, through: Option<u32>) -> bool {
    // A route that leads nowhere (`unreachable`) has no device.
    if route.header.kind != RouteType::Unicast {
        return true;
    }
    let is_device = |index: u32| through.is_none_or(|through| through == index);
    match next_hops(route) {
        [] => {
            !route.header.flags.contains(RouteFlags::Dead)
                && is_device(device(route).unwrap_or_default())
        }
        hops => hops.iter().any(|hop| {
            !hop.flags.contains(RouteNextHopFlags::Dead) && is_device(hop.interface_index)
        }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use netlink_packet_route::route::RouteLwEnCapType;

    use super::*;

    pub fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Kernel;
        route.header.kind = kind;
        route.header.flags = RouteFlags::Linkdown | RouteFlags::Onlink;
        route.attributes = attributes;
        route
    }

    pub fn hop(index: u32, flags: RouteNextHopFlags) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        (hop.interface_index, hop.flags, hop.hops) = (index, flags, 2);
        hop
    }

    #[test]
    fn encapsulation_is_found_in_next_hops_too() {
        let encap = RouteAttribute::EncapType(RouteLwEnCapType::Mpls);
        let mut inner = hop(3, RouteNextHopFlags::empty());
        inner.attributes = vec![encap.clone()];
        for attributes in [vec![encap], vec![RouteAttribute::MultiPath(vec![inner])]] {
            assert_eq!(encapsulation(&attributes).as_deref(), Some("mpls"));
        }
        assert_eq!(encapsulation(&[RouteAttribute::Oif(3)]), None);
    }

    #[test]
    fn only_routes_of_the_device_are_usable() {
        let through = |index| {
            let mut route = route(RouteType::Unicast, vec![RouteAttribute::Oif(index)]);
            route.header.flags = RouteFlags::empty();
            route
        };
        assert!(is_usable(&through(1), None) && is_usable(&through(1), Some(1)));
        assert!(!is_usable(&through(2), Some(1)));
        assert!(is_usable(&route(RouteType::Unreachable, vec![]), Some(1)));
        let mut dead = through(1);
        dead.header.flags = RouteFlags::Dead;
        assert!(!is_usable(&dead, None));
        let hops = [hop(2, RouteNextHopFlags::empty()), hop(1, RouteNextHopFlags::empty())];
        let hops = route(RouteType::Unicast, vec![RouteAttribute::MultiPath(hops.to_vec())]);
        assert!(is_usable(&hops, Some(1)) && !is_usable(&hops, Some(3)));
    }

    #[test]
    fn interfaces_are_read_whatever_else_they_have() {
        let mut bytes = vec![0; LINK];
        bytes[4] = 7;
        let name = DefaultNla::new(NAME, b"eth0\0".to_vec());
        let other = DefaultNla::new(12345, vec![1]);
        let mtu = DefaultNla::new(MTU, 1500_u32.to_ne_bytes().to_vec());
        for nla in [name, other, mtu] {
            let mut attribute = vec![0; nla.buffer_len()];
            nla.emit(&mut attribute);
            bytes.extend(attribute);
        }
        let link = read_link(&bytes).unwrap();
        assert_eq!((link.index, link.name.as_str(), link.mtu), (7, "eth0", 1500));
        for cut in 0..bytes.len() {
            drop(read_link(&bytes[..cut]));
        }
    }
}
