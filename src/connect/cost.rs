//! The packets that an attempt sends to a target, and the reason for each number.

use std::time::Duration;

/// Seconds after its first SYN at which Linux retransmits it without an answer: with
/// net.ipv4.tcp_syn_retries = 6 and, since Linux 6.5, tcp_syn_linear_timeouts = 4. Older kernels
/// retransmit less often, after 1, 3, 7, 15, 31 and 63 s.
const SYN_RETRIES: [u64; 10] = [1, 2, 3, 4, 5, 7, 11, 19, 35, 67];

/// Retransmissions of a FIN after the program has closed the socket (Linux:
/// net.ipv4.tcp_orphan_retries, whose 0 stands for 8), and the most while it is open
/// (net.ipv4.tcp_retries2).
const FIN_RETRIES: (u64, u64) = (8, 15);
/// The shortest retransmission timeout; it doubles each time, up to the longest.
const SHORTEST_RTO: Duration = Duration::from_millis(200);
const LONGEST_RTO: Duration = Duration::from_secs(120);

/// Octets of an IPv4 SYN with the kernel's usual options, and of the segments after it (timestamps).
const USUAL: (u64, u64) = (60, 52);
/// Octets of an IPv6 packet whose TCP header has as many options as fit.
const MOST: u64 = 40 + 60;
/// The fewest octets of data in a full segment: the space left in IPv6's smallest MTU, 1280.
const SEGMENT: u64 = 1280 - 40 - 60;
/// Octets of data in a full segment over Ethernet and IPv4, with timestamps.
const FULL: u64 = 1448;

/// The acknowledgments of what a target sends.
const ACKS: &str = "ACK of data";

/// Packets of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Their sort.
    pub packet: &'static str,
    /// Their number to a target that answers in one segment and closes.
    pub usual: u64,
    /// Their highest number.
    pub most: u64,
    /// Octets of each, usually and at most, including the IP header.
    pub octets: (u64, u64),
    /// The reason for the number.
    pub why: String,
}

/// One segment with this many octets of data, retransmitted until it is acknowledged.
pub(super) fn segment(timeout: Duration, packet: &'static str, data: u64, why: &str) -> Part {
    let retries = fin_retries(timeout);
    let why = format!("{why}; retransmitted up to {retries} times to a target that falls silent");
    Part { packet, usual: 1, most: 1 + retries, octets: (USUAL.1 + data, MOST + SEGMENT), why }
}

/// Segments with this many octets of data in all, at most one full packet's: one, or two where the MTU is smaller.
pub(super) fn segments(timeout: Duration, packet: &'static str, data: u64, why: &str) -> Part {
    let one = segment(timeout, packet, data, why);
    Part { most: data.div_ceil(SEGMENT) * one.most, ..one }
}

/// The packets of a connection over TCP, with those of the kind in between.
/// At most `read` octets are read.
pub(super) fn stream(timeout: Duration, read: usize, parts: Vec<Part>) -> Vec<Part> {
    let control = (USUAL.1, MOST);
    // A retransmission at the moment of the timeout may still be sent.
    let retries = SYN_RETRIES.iter().filter(|second| Duration::from_secs(**second) <= timeout);
    let retries: Vec<String> = retries.map(u64::to_string).collect();
    let syn_why = match retries.as_slice() {
        [] => "one: the timeout comes before the kernel would retransmit it".to_owned(),
        seconds => format!(
            "one, retransmitted after {} s without an answer (Linux 6.5 and later; older kernels less often)",
            seconds.join(", ")
        ),
    };
    let fin_retries = fin_retries(timeout);
    // One more: the segment that exceeds the limit.
    let data = (read as u64).div_ceil(SEGMENT) + 1;
    let mut all = vec![
        Part {
            packet: "SYN",
            usual: 1,
            most: 1 + retries.len() as u64,
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
    all.extend(parts);
    all.extend([
        Part {
            packet: "FIN",
            usual: 1,
            most: 1 + fin_retries,
            octets: control,
            why: format!(
                "sent at once; the kernel retransmits it up to {fin_retries} times to a target that falls silent"
            ),
        },
        Part {
            packet: ACKS,
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
    all
}

/// The packets of a connection over which a target sends this many octets of content, if the measurement says that they are
/// read.
pub(super) fn reading(mut parts: Vec<Part>, content: Option<u64>) -> Vec<Part> {
    if let (Some(octets), Some(acks)) = (content, parts.iter_mut().find(|part| part.packet == ACKS))
    {
        acks.usual = octets.div_ceil(2 * FULL);
        acks.why.push_str("; usually one for every other full segment (RFC 9293, 3.8.6.3)");
    }
    parts
}

/// The most retransmissions of a FIN: while the attempt has time left, or afterwards.
fn fin_retries(timeout: Duration) -> u64 {
    let (after, most) = FIN_RETRIES;
    let mut count = 0;
    let (mut at, mut wait) = (SHORTEST_RTO, SHORTEST_RTO);
    while at <= timeout && count < most {
        count += 1;
        wait = LONGEST_RTO.min(wait * 2);
        at += wait;
    }
    count.max(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syns(timeout: Duration) -> u64 {
        stream(timeout, 64 << 10, Vec::new())[0].most
    }

    #[test]
    fn syns_are_retransmitted_within_the_timeout() {
        assert_eq!(syns(Duration::from_millis(900)), 1);
        assert_eq!(syns(Duration::from_secs(3)), 4);
        assert_eq!(syns(Duration::from_secs(3600)), 11);
    }

    #[test]
    fn the_wait_for_a_fin_doubles() {
        assert_eq!(fin_retries(Duration::from_secs(1)), 8);
        assert_eq!(fin_retries(Duration::from_secs(60)), 8);
        assert_eq!(fin_retries(Duration::from_secs(120)), 9);
        assert_eq!(fin_retries(Duration::from_secs(3600)), 15);
    }
}
