//! The routers of a lab and the faults at them: where in a router a rule acts.
//!
//! The first router is next to the prober and on the path to every host. Further ones form a tree behind it. The number
//! of a hop is the TTL with which a packet of the prober expires there.

use schemars::JsonSchema;
use serde::Deserialize;

/// The name of the first router, in faults and lists.
pub const FIRST: &str = "r1";
/// Number of routers besides the first that a lab can have: their addresses are from RFC 5737's third range.
pub const MOST_ROUTERS: usize = 200;
/// The autonomous system of the prober and the first router (RFC 5398).
pub const OWN_AS: u32 = 64_496;

/// A router beyond the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSpec {
    /// Short unique name.
    pub name: String,
    /// The router before it on the way from the prober; `None` is the first router.
    pub behind: Option<usize>,
    /// The autonomous system of its address.
    pub asn: u32,
    /// Whether this program plays it in user space, for what Linux cannot do.
    pub wire: bool,
    /// Whether it sends no ICMP errors.
    pub silent: bool,
    /// ICMP errors per second to one address, after a burst of six, as Linux limits them by default. `None`: no limit.
    pub errors_per_second: Option<u32>,
}

/// A fault at one router for the packets of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The router; `None` is the first one.
    pub router: Option<usize>,
    /// Where in the router the rules act.
    pub hook: Hook,
    /// nftables rules for packets towards the host.
    pub path: Vec<String>,
    /// nftables rules for packets from the host.
    pub path_back: Vec<String>,
    /// What a router in user space does besides.
    pub edits: Edits,
    /// The ICMP errors about packets to the host that the router sends.
    pub errors: Errors,
}

/// What a router in user space does to packets and in its errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// The codepoint that packets towards the host get.
    #[schemars(range(max = 63))]
    pub dscp: Option<u8>,
    /// The ECN codepoint that they get: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    #[schemars(range(max = 3))]
    pub ecn: Option<u8>,
    /// Whether the flag AE (RFC 9768) of a SYN is cleared.
    #[serde(default)]
    pub clear_ae: bool,
    /// Kinds of TCP options that are removed, so that the header becomes shorter.
    #[serde(default)]
    pub strip: Vec<u8>,
    /// Whether the router writes the marks with which a packet came into errors that quote it on their way back.
    #[serde(default)]
    pub repair: bool,
    /// Whether the router has two branches, of which one makes the changes; it has another address there.
    pub branch: Option<Branch>,
    /// Octets of the transport that its errors quote.
    pub quote: Option<u8>,
    /// MPLS labels in its errors (RFC 4950).
    pub labels: Option<Vec<u32>>,
    /// The name of the incoming interface in its errors (RFC 5837).
    pub interface: Option<String>,
}

impl Edits {
    /// Whether it changes packets towards the host.
    pub fn changes(&self) -> bool {
        self.dscp.is_some() || self.ecn.is_some() || self.clear_ae || !self.strip.is_empty()
    }
}

/// How packets are distributed among two branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// By source port.
    Flow,
    /// In turn.
    Packet,
}

impl Fault {
    /// Whether it changes or drops packets towards the host.
    pub fn shows(&self) -> bool {
        !self.path.is_empty() || self.edits.changes()
    }
}

/// The ICMP errors that a router sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Errors {
    /// Every one.
    #[default]
    All,
    /// None.
    None,
    /// This number per second, after a burst of five.
    PerSecond(u32),
}

/// Where in a router a rule acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before the TTL is checked, so the router's own quote shows a change: nftables' `prerouting`.
    Ingress,
    /// After the TTL is checked, so only later routers' quotes show a change: `forward`.
    #[default]
    Forward,
    /// As the packet leaves: `postrouting`.
    Egress,
    /// Translation of addresses as the packet leaves: `postrouting` of a chain of the type `nat`.
    Nat,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 4] = [Hook::Ingress, Hook::Forward, Hook::Egress, Hook::Nat];

    /// The word in lab files and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Ingress => "ingress",
            Hook::Forward => "forward",
            Hook::Egress => "egress",
            Hook::Nat => "nat",
        }
    }
}
