//! Checks before the first packet: a run that cannot work ends here with exit code 2 and leaves nothing behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::interface;
use super::route::{Kernel, Routes as _, Way};
use crate::engine::driver::Engine;
use crate::error::Result;
use crate::measurement::Plan;
use crate::step::{Problem, ThisHost};
use crate::targets::Target;

/// How many of the first targets are checked for a route.
pub const SAMPLE: usize = 64;

/// Finds steps that cannot work on this host, without changing it.
///
/// # Errors
/// All of them, each with its place in the file.
pub fn inspect(plan: &Plan, origin: &str) -> Result<()> {
    let found = plan.inspect(&ThisHost { sockets: true });
    for what in &found.unchecked {
        log::info!("not checked: {what}");
    }
    refuse(plan, origin, found.problems)
}

/// Tries the steps of all configurations and undoes them.
///
/// # Errors
/// The steps that this host rejects, each with its place in the file; or a change that could not be restored.
pub fn rehearse(engine: &Engine<'_>, plan: &Plan, origin: &str) -> Result<()> {
    refuse(plan, origin, engine.rehearse()?)
}

/// Checks that packets to the first targets leave through the watched interface, and that their answers are accepted.
/// Warns if this fails for some of them.
///
/// # Errors
/// If it fails for all of them.
pub fn routes(watched: &str, bound: bool, first: &[Target]) -> Result<()> {
    let targets: Vec<IpAddr> = first.iter().filter_map(|target| target.addr).collect();
    for warning in interface::reaches(watched, bound, &targets, &Kernel)? {
        log::warn!("{warning}");
    }
    // Names are looked up later.
    for (version, to) in FAR.into_iter().filter(|_| first.iter().any(|one| one.addr.is_none())) {
        if let Some(other) = elsewhere(watched, bound.then_some(watched), to) {
            log::warn!(
                "packets to {version} addresses leave through {other}, but {watched} is watched: those of names would \
                 not be observed; watch {other} to see them"
            );
        }
    }
    Ok(())
}

/// Documentation addresses, which the default route covers.
const FAR: [(&str, IpAddr); 2] = [
    ("IPv4", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
    ("IPv6", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
];

/// The interface through which packets to an address leave, if it is not the watched one.
pub fn elsewhere(watched: &str, bound: Option<&str>, to: IpAddr) -> Option<String> {
    match Kernel.way(to, bound) {
        Way::Through(other) if other != watched => Some(other),
        Way::Through(_) | Way::Nowhere(_) => None,
    }
}

fn refuse(plan: &Plan, origin: &str, problems: Vec<Problem>) -> Result<()> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(plan.report(origin, problems).into()),
    }
}
