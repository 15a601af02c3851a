//! One target at a time: each sort of fault, at each place.

use super::world::{ALLOWED, Dice, Does, Fault, Path, Place, World};
use crate::locate::{Goal, Located};

fn search(path: Path, goal: Goal, loss: f64, seed: u64) -> (Located, World) {
    let mut world = World::new(vec![path], loss, seed);
    let located = world.locate(goal).remove(0);
    (located, world)
}

fn goal(does: Does) -> Goal {
    match does {
        Does::Rewrites | Does::Intercepts => Goal::Changed,
        Does::Drops | Does::Resets => Goal::Stopped,
    }
}

#[test]
fn every_fault_at_every_place_is_found() {
    for does in [Does::Rewrites, Does::Drops, Does::Resets, Does::Intercepts] {
        for hops in [1, 2, 6, 13, 25] {
            for at in 1..=hops {
                for place in [Place::Ingress, Place::Egress] {
                    let fault = Some(Fault { does, at, place });
                    // The target quotes nothing: what the last router rewrites when it sends is not seen.
                    let shows = does == Does::Drops || does == Does::Resets;
                    if !shows && at == hops && place == Place::Egress {
                        continue;
                    }
                    let path = Path { fault, ..Path::new(1, hops) };
                    let (last, first) = path.truth();
                    let (found, world) = search(path, goal(does), 0.0, 1);
                    let what = format!("{does:?} at {at} of {hops}, {place:?}: {found:?}");
                    assert_eq!(found.outcome, Some("located"), "{what}");
                    assert_eq!((found.hop_before, found.hop), (Some(last), Some(first)), "{what}");
                    assert!(found.sure.unwrap() > 0.9, "{what}");
                    let word = match does {
                        Does::Rewrites => "changed",
                        Does::Drops => "dropped",
                        Does::Resets => "reset",
                        Does::Intercepts => "intercepted",
                    };
                    assert_eq!(found.fault, Some(word), "{what}");
                    let packets = found.packets.unwrap() + found.resets.unwrap();
                    assert!(packets <= 40, "{packets} packets: {what}");
                    assert!(world.worst() <= ALLOWED, "{}: {what}", world.worst());
                }
            }
        }
    }
}

#[test]
fn a_path_without_a_fault_is_clean_or_gone() {
    let (found, _) = search(Path::new(1, 9), Goal::Changed, 0.0, 1);
    assert_eq!((found.outcome, found.hop), (Some("clean"), None), "{found:?}");
    assert_eq!((found.far_one, found.reached_one), (Some(9), Some(10)), "{found:?}");
    let (found, _) = search(Path::new(1, 9), Goal::Stopped, 0.0, 1);
    assert_eq!(found.outcome, Some("gone"), "{found:?}");
    assert!(found.packets.unwrap() <= 2);
    let down = Path { is_up: false, ..Path::new(1, 9) };
    let (found, _) = search(down, Goal::Stopped, 0.0, 1);
    assert_eq!((found.outcome, found.packets), (Some("offline"), Some(2)), "{found:?}");
}

#[test]
fn a_change_that_is_undone_is_not_located() {
    let fault = Some(Fault { does: Does::Rewrites, at: 2, place: Place::Ingress });
    for undone in 3..8 {
        let mut path = Path { fault, ..Path::new(1, 9) };
        path.routers[undone].undoes = true;
        let (found, _) = search(path, Goal::Changed, 0.0, 1);
        assert_eq!(found.outcome, Some("undone"), "by {undone}: {found:?}");
        assert!(found.packets.unwrap() + found.resets.unwrap() <= 40, "{found:?}");
    }
}

#[test]
fn short_quotes_show_nothing() {
    let fault = Some(Fault { does: Does::Rewrites, at: 4, place: Place::Ingress });
    let mut path = Path { fault, ..Path::new(1, 6) };
    path.routers.iter_mut().for_each(|router| router.is_short = true);
    let (found, _) = search(path, Goal::Changed, 0.0, 1);
    assert_eq!((found.outcome, found.quote_min), (Some("unlocated"), Some(8)), "{found:?}");
}

#[test]
fn the_shortest_quote_is_one_of_the_experiment() {
    for (does, goal) in [(Does::Rewrites, Goal::Changed), (Does::Drops, Goal::Stopped)] {
        let of = |at: u8| {
            let fault = Some(Fault { does, at, place: Place::Ingress });
            search(Path { fault, ..Path::new(1, 6) }, goal, 0.0, 1).0
        };
        assert_eq!(of(4).quote_min, Some(28), "{does:?}");
    }
    // Dropped before the first hop, it is quoted by none.
    let fault = Some(Fault { does: Does::Drops, at: 1, place: Place::Ingress });
    let (found, _) = search(Path { fault, ..Path::new(1, 6) }, Goal::Stopped, 0.0, 1);
    assert_eq!((found.hop, found.answered_one, found.quote_min), (Some(1), Some(0), Some(20)));
}

#[test]
fn branches_are_counted() {
    let fault = Some(Fault { does: Does::Drops, at: 5, place: Place::Ingress });
    let mut path = Path { fault, ..Path::new(1, 9) };
    path.routers[3].branch = Some("10.9.9.9".parse().unwrap());
    path.routers[4].branch = Some("10.9.9.10".parse().unwrap());
    let found = (0..20).map(|seed| search(path.clone(), Goal::Stopped, 0.0, seed).0);
    let found: Vec<Located> = found.collect();
    assert!(found.iter().all(|found| found.hop == Some(5)), "{found:?}");
    let both = found.iter().filter(|found| found.branches == Some(2)).count();
    assert!(both > 12, "both branches were met in {both} of 20");
}

/// The number of searches with the right hop, with the right interval, and of all.
fn measured(seeds: std::ops::Range<u64>) -> [u32; 3] {
    let mut counts = [0; 3];
    for seed in seeds {
        let mut dice = Dice(seed);
        let hops = 4 + dice.below(16) as u8;
        let does = [Does::Rewrites, Does::Drops, Does::Resets][dice.below(3) as usize];
        let place = [Place::Ingress, Place::Egress][dice.below(2) as usize];
        let at = 1 + dice.below(u64::from(hops) - 1) as u8;
        let mut path = Path { fault: Some(Fault { does, at, place }), ..Path::new(1, hops) };
        // Every tenth router never answers, but the last one does.
        for router in path.routers.iter_mut().rev().skip(1) {
            router.is_silent = dice.below(10) == 0;
        }
        let truth = path.truth();
        let (found, world) = search(path, goal(does), 0.01, seed);
        let packets = found.packets.unwrap() + found.resets.unwrap();
        assert!(packets <= 40, "{packets} packets, seed {seed}");
        assert!(world.worst() <= ALLOWED, "seed {seed}");
        let is = |right: bool| u32::from(right && found.outcome == Some("located"));
        let exact = is(found.hop == Some(truth.1));
        let interval = is(found.hop_before <= Some(truth.0) && found.hop >= Some(truth.1));
        if exact == 0 || interval == 0 {
            eprintln!("seed {seed}: {does:?} {place:?} at {at} of {hops}, {truth:?}: {found:?}");
        }
        counts[0] += exact;
        counts[1] += interval;
        counts[2] += 1;
    }
    counts
}

#[test]
fn one_in_a_hundred_packets_may_be_lost() {
    let [exact, interval, all] = measured(0..20);
    assert!(exact * 100 >= all * 95 && interval * 100 >= all * 99, "{exact} {interval} of {all}");
}

/// A thousand seeds: `cargo test --lib locate -- --ignored`.
#[test]
#[ignore = "a thousand searches"]
#[expect(clippy::print_stdout, reason = "the figures of a measurement")]
fn a_thousand_seeds() {
    let [exact, interval, all] = measured(0..1000);
    println!("hop exact {exact}, interval right {interval}, of {all}");
    assert!(exact * 100 >= all * 95 && interval * 100 >= all * 99, "{exact} {interval} of {all}");
}
