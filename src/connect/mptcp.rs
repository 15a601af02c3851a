//! Kind `mptcp`: as `tcp`, over a Multipath TCP socket (RFC 8684).

use super::cost::{Part, segment, stream};
use super::kind::{KindDef, Transport};
use super::tcp::{self, MOST_BYTES};

/// The row of the kind.
pub(super) const KIND: KindDef = KindDef {
    name: "mptcp",
    doc: "open a Multipath TCP connection (RFC 8684)",
    transport: Transport::Mptcp,
    options: &[],
    cost: |_, timeout| {
        let why = "to a server that supports it: DATA_FIN, DATA_ACK";
        let signals = segment(timeout, "signals of Multipath TCP", 0, why);
        stream(timeout, MOST_BYTES, vec![Part { usual: 2, ..signals }])
    },
    ..tcp::BASE
};
