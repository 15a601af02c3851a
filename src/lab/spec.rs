//! What a lab consists of: hosts, routers, the faults on the path to each host, and the truth about them per measurement.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::lab::chain::{Fault, RouterSpec};
use crate::lab::truth::Truth;

/// The smallest block of addresses of a host, so that neighbouring hosts are easy to distinguish.
pub(crate) const SMALLEST_BLOCK: usize = 16;

/// A lab, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The hosts in file order.
    pub hosts: Vec<HostSpec>,
    /// The routers beyond the first one, in file order: each after the router that it is behind.
    pub routers: Vec<RouterSpec>,
    /// What is true over IPv4 for a host that does not say otherwise.
    pub truth_v4: Truth,
    /// The same over IPv6.
    pub truth_v6: Truth,
    /// What is true over IPv4 besides if a run locates a label of a host, unless the host says otherwise.
    pub located_v4: Truth,
    /// The same over IPv6.
    pub located_v6: Truth,
}

/// One kind of host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Short unique name: small letters, digits and hyphens.
    pub name: String,
    /// What it does, in one sentence.
    pub title: String,
    /// Number of its IPv4 addresses, and of its IPv6 addresses.
    pub count: usize,
    /// The server at the far end.
    pub server: ServerSpec,
    /// nftables rules applied to packets towards the host.
    pub path: Vec<String>,
    /// nftables rules applied to packets from the host.
    pub path_back: Vec<String>,
    /// The index in [`Spec::routers`] of the last router on the path; `None` if the lab's first router is the only one.
    pub behind: Option<usize>,
    /// Faults at the routers of the path, besides `path` and `path_back`, which are rules of the first router.
    pub faults: Vec<Fault>,
    /// The delay in milliseconds of each packet towards the host.
    pub delay_ms: u64,
    /// The largest packet in octets that the router forwards to the host.
    pub mtu: Option<u32>,
    /// Whether the router reports errors (RFC 792, RFC 4443) about packets to the host.
    pub icmp: bool,
    /// The conditions that are true over IPv4, per measurement: all of them, and no others. Includes what is true of
    /// every host.
    pub truth_v4: Truth,
    /// The same over IPv6.
    pub truth_v6: Truth,
    /// What is true over IPv4 besides if a run locates one of these conditions, per measurement: the labels about its
    /// place. Includes what is stated for every host.
    pub located_v4: Truth,
    /// The same over IPv6.
    pub located_v6: Truth,
    /// For a host with a delay: what is true of every host over IPv4 and not overridden for this one. It is separate
    /// because it depends on packets that come late; on a busy machine they may still be seen.
    pub late_v4: Truth,
    /// The same over IPv6.
    pub late_v6: Truth,
    /// Measurements whose outcome is random, and so not compared.
    pub unmeasured: Vec<String>,
    /// The first address of its block, counted from the start of the lab's ranges.
    pub(crate) offset: usize,
    /// Whether the IPv4 addresses of the lab are private ones.
    pub(crate) private: bool,
}

impl HostSpec {
    /// Size of its block of addresses: a power of two.
    pub(crate) fn block(&self) -> usize {
        self.count.next_power_of_two().max(SMALLEST_BLOCK)
    }
}

/// The far end of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// How it treats a connection.
    #[serde(default)]
    pub plays: Play,
    /// Kernel parameters of the server's namespace.
    #[serde(default)]
    pub sysctl: BTreeMap<String, Value>,
    /// Whether it accepts Multipath TCP, if the kernel can.
    #[serde(default)]
    pub mptcp: bool,
    /// Whether it speaks HTTP/2, with and without TLS.
    #[serde(default = "yes")]
    pub h2: bool,
    /// How it speaks TLS on port 443.
    #[serde(default)]
    pub tls: Encryption,
    /// Whether it also accepts datagrams without a checksum over IPv6 (RFC 6935).
    #[serde(default)]
    pub udp_zero6: bool,
    /// How it answers questions, over UDP and TCP.
    #[serde(default)]
    pub dns: Answers,
    /// Not a kernel but a responder, which sends what no kernel would. It excludes all of the above.
    #[serde(default)]
    pub responder: Option<Responder>,
}

/// How a responder differs from a usual server. It speaks HTTP/1.1 and DNS, but not TLS: port 443 is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Responder {
    /// The ECN flags of its SYN-ACK.
    #[serde(default)]
    pub ecn: Mirror,
    /// The maximum segment size that it announces, in octets; by default the one for Ethernet.
    #[serde(default)]
    pub mss: Option<u16>,
    /// Further options of its SYN-ACK, requested or not: the kind of each, and its octets.
    #[serde(default)]
    pub options: Vec<Vec<u8>>,
    /// Whether its SYN-ACK repeats the options of the kinds 253 and 254 that the SYN has (RFC 6994).
    #[serde(default)]
    pub echoes_experiments: bool,
}

/// The ECN flags of a responder's SYN-ACK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mirror {
    /// None: it does not know ECN.
    #[default]
    None,
    /// ECE and CWR as in the SYN, without support for them.
    Reflect,
    /// Accurate ECN (RFC 9768): AE, CWR and ECE report the codepoint of the SYN.
    Accurate,
}

fn yes() -> bool {
    true
}

impl Default for ServerSpec {
    fn default() -> Self {
        let (plays, sysctl, tls, dns) = Default::default();
        Self { plays, sysctl, mptcp: false, h2: true, tls, udp_zero6: false, dns, responder: None }
    }
}

/// How a server speaks TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// TLS 1.2 and 1.3, with the lab's certificate.
    #[default]
    Usual,
    /// It rejects every client with the alert handshake_failure.
    Refused,
}

/// How a server answers questions on port 53.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Every name has the queried server's address; in the other family, one for documentation. A name that begins
    /// with `octets-N` has a TXT record with which the answer has N octets. Over UDP an answer has at most 512
    /// octets or, with EDNS, what the question allows, but not more than 4096; a longer one is truncated.
    #[default]
    Right,
    /// With an identifier that is not the question's.
    OtherId,
    /// With the answer to another question.
    OtherQuestion,
    /// Correctly, but with the name in lower case, whatever the case of the question.
    LowerCase,
    /// With the code SERVFAIL.
    Servfail,
    /// With the code REFUSED, in a header alone.
    Refused,
    /// As a server that does not know EDNS: without an OPT record, and over UDP with at most 512 octets.
    NoEdns,
    /// A question with EDNS with the code FORMERR, in a header alone; others correctly.
    EdnsFormerr,
    /// Not at all.
    Silent,
}

/// How a server treats a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Play {
    /// Linux: answers HTTP on port 80, HTTP over TLS on port 443, DNS on port 53. A client that closes port 80
    /// without sending data gets a line of text.
    #[default]
    Greeting,
    /// Linux: closes as soon as the connection is established, and sends nothing.
    Close,
    /// Linux without listeners: connections are refused with a reset.
    Nothing,
}

/// The value of a kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Number(number) => number.fmt(f),
            Value::Text(text) => text.fmt(f),
        }
    }
}
