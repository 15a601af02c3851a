//! Options of a run over targets that are nobody else's.

/// In namespaces there are no strangers: their addresses may be asked, as fast as they answer.
pub const NO_STRANGERS: [&str; 5] =
    ["--allow-reserved", "--rate-per-address", "0", "--rate-per-prefix", "0"];
