//! Reasons why a frame, or a part of it, was not understood.

/// Why a frame, or a part of it, was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Not IP: ARP, LLDP and the like.
    NotIp,
    /// A link header that is cut short or contradicts itself.
    BadLink,
    /// An IP header, or a chain of extension headers, that is cut short or contradicts itself.
    BadIp,
    /// A transport header that the snap length cut short.
    CutTransport,
    /// A transport header that contradicts itself, or does not fit into its packet.
    BadTransport,
    /// An ICMP error whose quote is too short or too damaged to identify the flow.
    BadQuote,
}

impl Unread {
    /// Every reason, with its key in a file's metadata and the text printed after a number of packets.
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
