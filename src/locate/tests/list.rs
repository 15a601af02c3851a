//! Many targets behind the same first hops.

use std::time::Duration;

use super::world::{ALLOWED, Dice, Does, Fault, Path, Place, World};
use crate::locate::{Goal, Limits, Pace};

/// Targets behind the same three routers, each with a fault after them.
fn paths(number: u32, dice: &mut Dice) -> Vec<Path> {
    let shared = Path::new(0, 3).routers;
    let one = |number| {
        let mut path = Path::new(number, 5 + dice.below(6) as u8);
        path.routers[..3].clone_from_slice(&shared);
        let at = 4 + dice.below(path.routers.len() as u64 - 4) as u8;
        let place = [Place::Ingress, Place::Egress][dice.below(2) as usize];
        let does = Does::Drops;
        Path { fault: Some(Fault { does, at, place }), ..path }
    };
    (1..=number).map(one).collect()
}

#[test]
fn targets_share_their_first_hops() {
    let mut dice = Dice(3);
    let mut world = World::new(paths(600, &mut dice), 0.0, 4);
    let found = world.locate(Goal::Stopped);
    let right = found.iter().zip(&world.paths).filter(|(found, path)| {
        let truth = path.truth();
        (found.hop_before, found.hop) == (Some(truth.0), Some(truth.1))
    });
    let right = right.count();
    assert!(right * 10 >= found.len() * 9, "{right} of {}", found.len());
    assert!(world.worst() <= ALLOWED, "{} at once", world.worst());
}

#[test]
fn a_host_that_stalls_does_not_ask_a_hop_more_often() {
    let mut dice = Dice(3);
    let mut paths = paths(100, &mut dice);
    for path in &mut paths {
        // Each looks once at the third router.
        path.fault = Some(Fault { does: Does::Drops, at: 4, place: Place::Ingress });
    }
    let mut world = World::new(paths, 0.0, 4);
    world.stalls = Duration::from_secs(9);
    world.locate(Goal::Stopped);
    assert!(world.worst() <= ALLOWED, "{} at once", world.worst());
}

/// As many as a large list has: `cargo test --lib locate -- --ignored`.
#[test]
#[ignore = "five thousand searches"]
#[expect(clippy::print_stdout, reason = "the figures of a measurement")]
fn five_thousand_targets() {
    let mut dice = Dice(3);
    let mut world = World::new(paths(5000, &mut dice), 0.01, 4);
    let found = world.locate(Goal::Stopped);
    let right = found.iter().zip(&world.paths).filter(|(found, path)| {
        let truth = path.truth();
        (found.hop_before, found.hop) == (Some(truth.0), Some(truth.1))
    });
    let (right, worst) = (right.count(), world.worst());
    println!("{right} of {} in {:?}, at most {worst} at once", found.len(), world.took);
    assert!(right * 10 >= found.len() * 9 && worst <= ALLOWED, "{right}, {worst}");
}

#[test]
fn rates_hold() {
    let mut dice = Dice(3);
    let mut world = World::new(paths(20, &mut dice), 0.0, 4);
    let pace = Pace { gap: Duration::from_millis(100), ..Pace::default() };
    let found = world.locate_with(Goal::Stopped, Limits::default(), pace);
    let copies: u32 = found.iter().map(|found| u32::from(found.packets.unwrap())).sum();
    assert!(world.took >= Duration::from_millis(100) * (copies - 1));
}
