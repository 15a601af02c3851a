//! The frame layer of HTTP/2 (RFC 9113), as far as a client with one request and the lab's
//! server need it: reading and writing frames, and assembling header blocks.
//!
//! Every length is bounded before anything is stored.

mod frame;
mod headers;
mod hpack;
mod wrong;

pub(crate) use frame::{Frame, Frames, error_word, flag, kind, setting, write};
pub(crate) use headers::{Block, Headers};
pub(crate) use hpack::encode;
pub(crate) use wrong::Wrong;

/// What a client sends first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
