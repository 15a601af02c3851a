//! Reasons why a frame, or a part of it, was not understood.

/// Why a frame, or a part of it, was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Not IP at all: ARP, LLDP and the like.
    NotIp,
    /// A link header that is cut short or contradicts itself.
    BadLink,
    /// An IP header, or a chain of extension headers, that is cut short or contradicts itself.
    BadIp,
    /// A transport header of which the capture has not kept all.
    CutTransport,
    /// A transport header that contradicts itself, or that its packet is too short for.
    BadTransport,
    /// An ICMP error whose quote does not say which flow it is about.
    BadQuote,
}

impl Unread {
    /// Every reason: its key in the metadata of a file, and what a person reads after a number of packets.
    pub const ALL: [(Unread, &'static str, &'static str); 6] = [
        (Unread::NotIp, "packets_not_ip", "not IP"),
        (Unread::BadLink, "packets_bad_link", "with a broken link header"),
        (Unread::BadIp, "packets_bad_ip", "with a broken IP header"),
        (
            Unread::CutTransport,
            "packets_cut_transport",
            "with a transport header that the capture cut short",
        ),
        (Unread::BadTransport, "packets_bad_transport", "with a broken transport header"),
        (Unread::BadQuote, "packets_bad_quote", "ICMP errors whose quote is cut short or broken"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_reasons() {
        for (place, (reason, ..)) in Unread::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }
}
