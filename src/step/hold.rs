//! Holding back the kernel's resets: a step that no file can have.
//!
//! A plan adds it to each configuration whose TCP segments are made by hand. The kernel knows nothing about such
//! connections and would answer every reply with a reset of its own, to which the peer, and every middlebox, reacts. A
//! rule in the program's own table drops, at `output`, resets from the source ports of the configuration that do not carry
//! its mark: the engine's own resets do. It does not look at other ports, and so not at the connections of other programs.

use super::kind::Flows;

/// The step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HoldReset;

/// What it does, in plain words.
pub(super) const DOES: &str =
    "hold back the resets by which the kernel would answer for segments made by hand";

/// Its name among steps; not a key of a measurement file.
pub(super) const KIND: &str = "hold_reset";

/// The rule as nft(8) reads it; `ports` is the set of the configuration's source ports.
pub(super) fn rule(flows: &Flows, ports: &str) -> String {
    let Flows { mark } = flows;
    format!("tcp flags & rst == rst tcp sport @{ports} meta mark != {mark:#x} drop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_with_the_mark_pass() {
        assert_eq!(
            rule(&Flows { mark: 0x10 }, "ports_10"),
            "tcp flags & rst == rst tcp sport @ports_10 meta mark != 0x10 drop"
        );
    }
}
