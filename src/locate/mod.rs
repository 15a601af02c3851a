//! Where on the path a feature is changed or dropped: the search, without sockets and without a clock.
//!
//! Copies of the very packets of the baseline and of an experiment are sent with a limited TTL, and routers quote them in
//! ICMP errors. `Search` decides for one target which copy to send next, and what follows from the answers;
//! [`Phase`] runs many searches at a time, shares what is known of their first hops, and limits what is sent to each hop.
//! Time is an argument, so the tests run in virtual time. The engine sends the copies and reads the answers.
//!
//! The result is an interval of hops, never a hop that "did it": a router that rewrites packets when it sends them quotes
//! them as they were, and the next hop is the first that shows the change (RFC 1812, 4.3.2.3, requires no more).
//!
//! Imports [`field`](crate::field) and [`packet`](crate::packet).

mod bucket;
mod copy;
mod evidence;
mod facts;
mod phase;
mod posterior;
mod search;
mod store;

pub use copy::{Copies, Pair};
pub use facts::{LOCATE, Located};
pub use phase::{Next, Pace, Phase, Sending, Subject};
pub use search::{Goal, Limits, Outcome};

use std::net::IpAddr;

/// Which configuration's packet a copy is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The baseline's.
    Zero,
    /// The experiment's.
    One,
}

/// What a quote shows of the feature: the fields in which the experiment's packet differs from the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Its fields are as they were sent.
    Same,
    /// At least one of them is not.
    Changed,
    /// The quote is too short to show them.
    Hidden,
}

/// The answer to a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A router says that the time to live was exceeded.
    Quote {
        /// The address that it answered from.
        from: IpAddr,
        /// What its quote shows.
        shown: Shown,
        /// How many octets of the transport it quotes.
        octets: u16,
    },
    /// A router or host says that it does not let the packet pass (destination unreachable).
    Refused {
        /// The address that it answered from.
        from: IpAddr,
    },
    /// A packet with the target's address that answers the copy: a SYN-ACK, a datagram.
    Reply {
        /// Its time to live, if it is known.
        ttl: Option<u8>,
    },
    /// A reset with the target's address.
    Reset,
}

#[cfg(test)]
mod tests;
