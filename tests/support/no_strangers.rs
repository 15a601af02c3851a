//! Options of a run over targets in namespaces of our own.

/// In a namespace there are no hosts of other people: addresses may be probed as fast as they answer.
pub const NO_STRANGERS: [&str; 5] =
    ["--allow-reserved", "--rate-per-address", "0", "--rate-per-prefix", "0"];
