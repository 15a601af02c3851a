//! Source ports: chosen by the engine, so that an attempt's flow is known before its first packet.
//!
//! The range below the kernel's own ephemeral ports is cut into one part per configuration and
//! parity of the wave. So a flow's port says under which configuration and in which of two
//! consecutive waves it was made, and no port comes twice within a wave: the key of a flow
//! (port, target address, target port) is unique even if a target is listed many times.

use std::ops::RangeInclusive;

use crate::step::Slot;

/// The source ports of a run: those of the first slot are above the well-known and most registered
/// services and below Linux's default `ip_local_port_range`, those of the others above it, so that other
/// programs' connections are not met, nor those of other runs.
pub fn of(slot: Slot) -> RangeInclusive<u16> {
    match slot.number() {
        0 => 10240..=32767,
        1 => 61000..=63267,
        _ => 63268..=65535,
    }
}

/// How the ports are divided.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    first: u16,
    share: u16,
}

impl Ports {
    /// A division of these for this many configurations (at least one).
    pub fn new(all: &RangeInclusive<u16>, configurations: usize) -> Self {
        let parts = u16::try_from(configurations.max(1) * 2).unwrap_or(u16::MAX);
        Self { first: *all.start(), share: ((all.end() - all.start() + 1) / parts).max(1) }
    }

    /// How many ports a configuration has in one wave: the most targets that a wave may have.
    pub fn per_wave(&self) -> usize {
        usize::from(self.share)
    }

    /// The ports of a configuration in a wave.
    pub fn range(&self, configuration: usize, wave: u64) -> RangeInclusive<u16> {
        let part = configuration * 2 + usize::from(wave % 2 == 1);
        let first = self.first + u16::try_from(part).unwrap_or(u16::MAX).saturating_mul(self.share);
        first..=first + (self.share - 1)
    }

    /// The ports of a configuration in a wave one by one, beginning where its wave before the last ended: a
    /// target that is listed many times does not meet its own connections in TIME_WAIT.
    pub fn draw(&self, configuration: usize, wave: u64) -> Draw {
        let first = *self.range(configuration, wave).start();
        let share = u64::from(self.share);
        let skip = (wave / 2 % share * (self.largest_wave() as u64 % share)) % share;
        // Both are smaller than `share`, which is a u16.
        Draw { first, share: self.share, at: skip as u16, left: self.share }
    }

    /// The most targets that a wave may have: some ports are spare, should others hold them.
    pub fn largest_wave(&self) -> usize {
        (self.per_wave() * 15 / 16).max(1)
    }
}

/// Source ports that are still to be had.
#[derive(Debug, Clone)]
pub struct Draw {
    first: u16,
    share: u16,
    at: u16,
    left: u16,
}

impl Iterator for Draw {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        let port = self.first + self.at;
        self.at = if self.at + 1 == self.share { 0 } else { self.at + 1 };
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_and_consecutive_waves_share_no_port() {
        for (configurations, slot) in (1..=8).flat_map(|n| Slot::all().map(move |slot| (n, slot))) {
            let all = of(slot);
            let ports = Ports::new(&all, configurations);
            let mut seen = std::collections::HashSet::new();
            for configuration in 0..configurations {
                for wave in 0..2 {
                    for port in ports.range(configuration, wave) {
                        assert!(all.contains(&port) && seen.insert(port), "{port}");
                    }
                }
                assert_eq!(ports.range(configuration, 0), ports.range(configuration, 2));
            }
            assert_eq!(ports.range(0, 0).len(), ports.per_wave());
        }
    }

    #[test]
    fn slots_share_no_port() {
        let ranges: Vec<_> = Slot::all().map(of).collect();
        assert!(ranges.is_sorted_by(|a, b| a.end() < b.start()), "{ranges:?}");
    }

    #[test]
    fn a_draw_has_every_port_of_its_range_once() {
        let ports = Ports::new(&of(Slot::default()), 2);
        for wave in [0, 1, 2, 3, 1000, u64::MAX] {
            let mut drawn: Vec<u16> = ports.draw(1, wave).collect();
            drawn.sort_unstable();
            assert_eq!(drawn, ports.range(1, wave).collect::<Vec<_>>());
        }
        assert_ne!(ports.draw(0, 0).next(), ports.draw(0, 2).next());
    }
}
