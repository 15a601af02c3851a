//! The flows of a run: each source port in use, and the target that it is used for.
//!
//! The engine claims a port for a target before the first packet leaves, and adds the local address as soon as the
//! kernel has chosen it. The capture looks up the direction of a packet here, and whether it belongs to the run. So the
//! direction of a flow depends on the port and not on the first packet, and unrelated packets never become flows.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use foldhash::fast::RandomState;

use super::Direction;

/// A set of ports, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; 1024]>);

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        self.0[usize::from(port >> 6)] |= 1 << (port & 63);
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)] >> (port & 63) & 1 == 1
    }

    /// Every port of the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|port| self.contains(*port))
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        let mut set = Self::default();
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A target's end of a flow in the flow table's form: the address as a number, and the port.
pub type Remote = (u128, u16);

/// The claims of a run, shared by the engine and the capture.
///
/// A claim is a hash of protocol and target under a random key; 0 if the port is free. Two targets have the same hash
/// with a probability of 2^-63. No host can raise it, because the key is secret.
pub struct Owners {
    hasher: RandomState,
    claims: Box<[AtomicU64]>,
    /// By port: a hash of this host's address; 0 while it is not known.
    locals: Box<[AtomicU64]>,
}

impl Default for Owners {
    fn default() -> Self {
        let none = || (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::default(), claims: none(), locals: none() }
    }
}

impl Owners {
    /// From now on the port is used for this target only.
    pub fn claim(&self, protocol: u8, port: u16, target: SocketAddr) {
        let (bits, is_v4) = bits(target.ip());
        let claim = self.claim_of(protocol, is_v4, (bits, target.port()));
        self.locals[usize::from(port)].store(0, Relaxed);
        self.claims[usize::from(port)].store(claim, Relaxed);
    }

    /// Sets the local address of a claimed port.
    pub fn bind(&self, port: u16, local: IpAddr) {
        let (bits, is_v4) = bits(local);
        self.locals[usize::from(port)].store(self.local_of(is_v4, bits), Relaxed);
    }

    /// Ends the claims on these ports.
    pub fn release(&self, ports: &PortSet) {
        ports.iter().for_each(|port| self.claims[usize::from(port)].store(0, Relaxed));
    }

    /// The direction of a packet between these ends, in the order of its header: forward is to the target. `None` if the
    /// packet does not belong to the run.
    pub fn direction(
        &self,
        (protocol, is_v4): (u8, bool),
        source: Remote,
        destination: Remote,
    ) -> Option<Direction> {
        let owns = |(address, port): Remote, remote| {
            let load = |of: &[AtomicU64]| of[usize::from(port)].load(Relaxed);
            match (load(&self.claims), load(&self.locals)) {
                (0, _) => false,
                (claim, local) => {
                    claim == self.claim_of(protocol, is_v4, remote)
                        && (local == 0 || local == self.local_of(is_v4, address))
                }
            }
        };
        match () {
            () if owns(source, destination) => Some(Direction::Forward),
            () if owns(destination, source) => Some(Direction::Reverse),
            () => None,
        }
    }

    fn local_of(&self, is_v4: bool, address: u128) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u128(address);
        hasher.write_u8(is_v4.into());
        hasher.finish().max(1)
    }

    fn claim_of(&self, protocol: u8, is_v4: bool, (address, port): Remote) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u128(address);
        hasher.write_u64(u64::from(port) << 16 | u64::from(protocol) << 1 | u64::from(is_v4));
        hasher.finish().max(1)
    }
}

fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claimed = self.claims.iter().filter(|claim| claim.load(Relaxed) != 0).count();
        f.debug_struct("Owners").field("claimed", &claimed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::protocol::{TCP, UDP};

    fn remote(text: &str) -> Remote {
        let address: SocketAddr = text.parse().unwrap();
        (bits(address.ip()).0, address.port())
    }

    #[test]
    fn direction_follows_from_the_claim() {
        let owners = Owners::default();
        // The target's port may be a source port of the run, too.
        owners.claim(TCP, 40_000, "192.0.2.1:40001".parse().unwrap());
        let (us, target) = (remote("198.51.100.1:40000"), remote("192.0.2.1:40001"));
        let way = |source, destination| owners.direction((TCP, true), source, destination);
        assert_eq!(way(us, target), Some(Direction::Forward));
        assert_eq!(way(target, us), Some(Direction::Reverse));
        assert_eq!(way(us, remote("192.0.2.2:40001")), None, "another host");
        assert_eq!(way(us, remote("192.0.2.1:80")), None, "another port");
        assert_eq!(owners.direction((UDP, true), us, target), None, "another protocol");
        assert_eq!(owners.direction((TCP, false), us, target), None, "the other version of IP");
        owners.bind(40_000, "198.51.100.1".parse().unwrap());
        assert_eq!(way(us, target), Some(Direction::Forward));
        let other = remote("198.51.100.2:40000");
        assert_eq!(way(other, target), None, "another local address");
        assert_eq!(way(target, other), None, "to another local address");
        owners.claim(TCP, 40_000, "192.0.2.1:40001".parse().unwrap());
        assert_eq!(way(other, target), Some(Direction::Forward), "not known yet");
        owners.release(&PortSet::from_iter([40_000]));
        assert_eq!(way(us, target), None);
    }

    #[test]
    fn a_set_contains_the_inserted_ports() {
        let ports = [0, 63, 64, 40_000, u16::MAX];
        let set = PortSet::from_iter(ports);
        assert_eq!(set.iter().collect::<Vec<_>>(), ports);
        assert!(!set.contains(1));
    }
}
