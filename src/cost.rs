//! What an attempt sends to a target, and how that number comes about.

use std::time::Duration;

use crate::connect::Kind;
use crate::connect::forge::Packet;
use crate::measurement::{Connection, Plan};

/// Seconds after its first SYN at which Linux sends it again while nothing answers: with
/// net.ipv4.tcp_syn_retries = 6 and, since Linux 6.5, tcp_syn_linear_timeouts = 4. Older kernels do
/// so less often, after 1, 3, 7, 15, 31 and 63 s.
const SYN_AGAIN: [u64; 10] = [1, 2, 3, 4, 5, 7, 11, 19, 35, 67];

/// How often a FIN is sent again once the program has let the socket go (Linux:
/// net.ipv4.tcp_orphan_retries, whose 0 stands for 8), and at most while it has it
/// (net.ipv4.tcp_retries2).
const FIN_AGAIN: (u64, u64) = (8, 15);
/// The shortest time after which anything is sent again; it doubles each time, up to the longest.
const SHORTEST_RTO: Duration = Duration::from_millis(200);
const LONGEST_RTO: Duration = Duration::from_secs(120);

/// Octets of an IPv4 SYN with the kernel's usual options, and of the segments after it (timestamps).
const USUAL: (u64, u64) = (60, 52);
/// Octets of an IPv6 packet whose TCP header has all the options that fit.
const MOST: u64 = 40 + 60;
/// The least octets of data in a full segment: what is left of IPv6's smallest MTU, 1280.
const SEGMENT: u64 = 1280 - 40 - 60;

/// Packets of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What they are.
    pub packet: &'static str,
    /// How many a target gets that answers in one segment and closes.
    pub usual: u64,
    /// How many a target gets at most.
    pub most: u64,
    /// Octets of each, usually and at most (IP header included).
    pub octets: (u64, u64),
    /// How the number comes about.
    pub why: String,
}

/// What one attempt sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// By sort of packet.
    pub parts: Vec<Part>,
}

/// Packets and octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Packets.
    pub packets: u64,
    /// Octets of IP packets.
    pub octets: u64,
}

impl Cost {
    /// To a target that answers in one segment and closes, over a path that loses nothing; fewer where
    /// ACKs fall together or go with something else.
    pub fn usual(&self) -> Sum {
        self.sum(|part| (part.usual, part.octets.0))
    }

    /// To a target that does whatever costs most.
    pub fn most(&self) -> Sum {
        self.sum(|part| (part.most, part.octets.1))
    }

    fn sum(&self, of: impl Fn(&Part) -> (u64, u64)) -> Sum {
        let parts = self.parts.iter().map(of);
        parts.map(|(packets, octets)| Sum { packets, octets: packets * octets }).sum()
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Sum>>(sums: I) -> Sum {
        sums.fold(Sum { packets: 0, octets: 0 }, |all, one| Sum {
            packets: all.packets + one.packets,
            octets: all.octets + one.octets,
        })
    }
}

/// What the attempts of a configuration send to one target.
pub fn cost(connection: &Connection) -> Cost {
    let Connection { kind, timeout, options, .. } = connection;
    let encrypted = kind.kind == Kind::Https
        || (kind.kind == Kind::H2 && options.version.is_none_or(|version| version == "h2"));
    let says = Says { timeout: *timeout };
    let mut cost = match (&options.packet, kind.kind) {
        (Some(packet), _) => forge(packet),
        (None, Kind::DnsUdp) => Cost { parts: vec![question()] },
        (None, of) => Cost {
            parts: stream(
                *timeout,
                kind.most_read(),
                match of {
                    Kind::Http | Kind::Https | Kind::H2 if encrypted => says.encrypted(),
                    Kind::Http | Kind::Https | Kind::H2 => says.request(options.version),
                    Kind::DnsTcp => vec![says.once("question", 50, "asked once")],
                    Kind::TcpFastopen => vec![Part {
                        usual: 0,
                        ..says.once("data", 180, "only where it did not go with the SYN")
                    }],
                    Kind::Mptcp => vec![says.signals()],
                    Kind::Tcp | Kind::DnsUdp | Kind::Forge => Vec::new(),
                },
            ),
        },
    };
    let times = u64::from(options.repeat.unwrap_or(1));
    for part in &mut cost.parts {
        (part.usual, part.most) = (part.usual * times, part.most * times);
    }
    cost
}

/// A DNS question over UDP.
fn question() -> Part {
    Part {
        packet: "question",
        usual: 1,
        most: 1,
        octets: (60, 40 + 8 + 12 + 255 + 4),
        why: "sent once, also if nothing answers".into(),
    }
}

/// What is said over a connection.
struct Says {
    timeout: Duration,
}

impl Says {
    /// One segment of so many octets of data, sent again while nobody acknowledges it.
    fn once(&self, packet: &'static str, data: u64, why: &str) -> Part {
        let again = fin_again(self.timeout);
        let why = format!("{why}; to a target that falls silent again up to {again} times");
        Part { packet, usual: 1, most: 1 + again, octets: (USUAL.1 + data, MOST + SEGMENT), why }
    }

    fn request(&self, version: Option<&str>) -> Vec<Part> {
        let mut parts = vec![self.once("request", 120, "fits a segment")];
        if version.is_some_and(|version| version.starts_with("h2c")) {
            parts.push(self.once(
                "answers to HTTP/2 settings",
                20,
                "with what else HTTP/2 must answer",
            ));
        }
        parts
    }

    fn encrypted(&self) -> Vec<Part> {
        vec![
            self.once(
                "ClientHello",
                270,
                "the groups of the key exchange are such that it fits a segment",
            ),
            Part {
                usual: 0,
                ..self.once(
                    "second ClientHello",
                    310,
                    "only to a server that asks for another group than the first",
                )
            },
            self.once("end of the TLS handshake", 80, "with the request, or before it"),
            self.once("request", 200, "with answers to HTTP/2 settings, where it is spoken"),
            self.once("alert that ends TLS", 24, "before the FIN, or with it"),
        ]
    }

    /// What Multipath TCP sends beside TCP's own.
    fn signals(&self) -> Part {
        Part {
            usual: 2,
            ..self.once(
                "signals of Multipath TCP",
                0,
                "to a server that speaks it: DATA_FIN, DATA_ACK",
            )
        }
    }
}

/// What an attempt with a packet made by hand sends: that packet once, whatever becomes of it.
fn forge(packet: &Packet) -> Cost {
    let mut parts = vec![Part {
        packet: "packet made by hand",
        usual: 1,
        most: 1,
        octets: packet.octets(),
        why: "sent once, also if nothing answers".into(),
    }];
    if packet.opens() {
        parts.push(Part {
            packet: "RST",
            usual: 1,
            most: 1,
            octets: (40, 60),
            why: "to a SYN-ACK, once; those of the kernel are held back".into(),
        });
    }
    Cost { parts }
}

/// What a connection over TCP sends, with what the kind says in between.
/// `read` is how many octets are read at most.
fn stream(timeout: Duration, read: usize, says: Vec<Part>) -> Vec<Part> {
    let control = (USUAL.1, MOST);
    // One that falls together with the timeout may still be sent before it.
    let again = SYN_AGAIN.iter().filter(|second| Duration::from_secs(**second) <= timeout);
    let again: Vec<String> = again.map(u64::to_string).collect();
    let syn_why = match again.as_slice() {
        [] => "one: the timeout comes before the kernel would send it again".to_owned(),
        seconds => format!(
            "one, and while nothing answers again after {} s (Linux 6.5 and later; before, less often)",
            seconds.join(", ")
        ),
    };
    let fin_again = fin_again(timeout);
    // One more: the segment that goes over the limit.
    let data = (read as u64).div_ceil(SEGMENT) + 1;
    let mut parts = vec![
        Part {
            packet: "SYN",
            usual: 1,
            most: 1 + again.len() as u64,
            octets: (USUAL.0, MOST),
            why: syn_why,
        },
        Part {
            packet: "ACK of the SYN-ACK",
            usual: 1,
            most: 1,
            octets: control,
            why: "ends the handshake".into(),
        },
    ];
    parts.extend(says);
    parts.extend([
        Part {
            packet: "FIN",
            usual: 1,
            most: 1 + fin_again,
            octets: control,
            why: format!(
                "sent at once; to a target that falls silent the kernel sends it again up to {fin_again} times"
            ),
        },
        Part {
            packet: "ACK of data",
            usual: 1,
            most: data,
            octets: control,
            why: format!(
                "at most one for each segment ({SEGMENT} octets or more) until {} KiB are read",
                read >> 10
            ),
        },
        Part {
            packet: "ACK of the FIN",
            usual: 1,
            most: 1,
            octets: control,
            why: "ends the connection; a reset instead if more data came".into(),
        },
    ]);
    parts
}

/// How often a FIN can be sent again: while the attempt has time left, or afterwards.
fn fin_again(timeout: Duration) -> u64 {
    let (after, most) = FIN_AGAIN;
    let mut count = 0;
    let (mut at, mut wait) = (SHORTEST_RTO, SHORTEST_RTO);
    while at <= timeout && count < most {
        count += 1;
        wait = LONGEST_RTO.min(wait * 2);
        at += wait;
    }
    count.max(after)
}

/// What a target is sent under all configurations, and by a probe before them, usually and at most, each time that it
/// is asked.
pub fn in_all(plan: &Plan) -> (Sum, Sum) {
    let probe = plan.probe().map(|probe| cost(&probe.connection));
    let all: Vec<Cost> = costs(plan).chain(probe).collect();
    (all.iter().map(Cost::usual).sum(), all.iter().map(Cost::most).sum())
}

/// What it is sent at most, with the rounds of one that looks broken or transient.
pub fn with_rounds(plan: &Plan) -> Sum {
    let (_, most) = in_all(plan);
    let times = 1 + u64::from(plan.confirm.rounds);
    Sum { packets: most.packets * times, octets: most.octets * times }
}

/// What each configuration sends a target.
pub fn costs(plan: &Plan) -> impl Iterator<Item = Cost> {
    plan.configs.iter().map(|config| cost(&config.connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(timeout: Duration) -> Cost {
        Cost { parts: stream(timeout, 64 << 10, Vec::new()) }
    }

    fn syns(timeout: Duration) -> u64 {
        tcp(timeout).parts[0].most
    }

    #[test]
    fn syns_are_sent_again_within_the_timeout() {
        assert_eq!(syns(Duration::from_millis(900)), 1);
        assert_eq!(syns(Duration::from_secs(3)), 4);
        assert_eq!(syns(Duration::from_secs(3600)), 11);
    }

    #[test]
    fn a_target_that_answers_and_closes_gets_five_packets() {
        let cost = tcp(Duration::from_secs(3));
        assert_eq!(cost.usual(), Sum { packets: 5, octets: 60 + 4 * 52 });
        assert!(cost.most().packets > 60, "{:?}", cost.most());
        assert_eq!(cost.most(), Sum { packets: 72, octets: 7_200 });
    }

    #[test]
    fn a_packet_made_by_hand_is_sent_once() {
        let syn = forge(&Packet::default());
        assert_eq!(syn.usual(), Sum { packets: 2, octets: 80 });
        assert_eq!(syn.most(), Sum { packets: 2, octets: 120 });
        let fin = forge(&Packet { flags: 1, ..Packet::default() });
        assert_eq!(fin.most(), Sum { packets: 1, octets: 60 });
    }

    #[test]
    fn fins_double_their_wait() {
        assert_eq!(fin_again(Duration::from_secs(1)), 8);
        assert_eq!(fin_again(Duration::from_secs(60)), 8);
        assert_eq!(fin_again(Duration::from_secs(120)), 9);
        assert_eq!(fin_again(Duration::from_secs(3600)), 15);
    }
}
