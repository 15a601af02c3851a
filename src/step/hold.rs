//! Holding back the kernel's resets: a step that no file writes.
//!
//! A plan adds it to each configuration whose TCP segments are made by hand. The kernel knows nothing of such
//! connections and would answer whatever comes back with a reset of its own, to which the far end, and every
//! middlebox, reacts. A rule in the tool's own table drops, at `output`, resets from the source ports
//! of the configuration that do not carry its mark: those that the engine makes do. Other ports, and so
//! other programs' connections, are not looked at.

use super::applied::Flows;

/// What it does, in plain words.
pub(super) const DOES: &str =
    "hold back the resets by which the kernel would answer for segments made by hand";

/// Its key among steps; not one of a measurement file.
pub(super) const KIND: &str = "hold_reset";

/// The rule as nft(8) reads it; `ports` is the set of the configuration's source ports.
pub(super) fn rule(flows: &Flows, ports: &str) -> String {
    let Flows { mark } = flows;
    format!("tcp flags & rst == rst tcp sport @{ports} meta mark != {mark:#x} drop")
}
