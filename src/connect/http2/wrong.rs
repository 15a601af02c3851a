//! Errors in the peer's octets.

/// An error in the peer's octets, in the words of the `error` column.
pub(crate) type Wrong = &'static str;

/// The error for a block that violates HPACK.
pub(super) const UNDECODABLE: Wrong = "Peer's HTTP/2 headers cannot be decoded";
