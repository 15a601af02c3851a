//! The scheduler in virtual time.

use super::*;
use std::collections::BTreeMap;

/// What a simulated run did: (time, target, configuration) of each start, and its end.
struct Run {
    starts: Vec<(Duration, usize, usize)>,
    most_in_flight: usize,
    end: Duration,
}

/// Plays a run in which a connection to target `t` takes `takes(t)`.
fn simulate(
    limits: Limits,
    turns: Turns,
    waves: &[usize],
    takes: impl Fn(usize) -> Duration,
    stop_at: Option<Duration>,
) -> Run {
    let mut scheduler = Scheduler::new(limits, turns);
    let mut now = Duration::ZERO;
    let mut in_flight: BTreeMap<Duration, usize> = BTreeMap::new();
    let mut run = Run { starts: Vec::new(), most_in_flight: 0, end: Duration::ZERO };
    let mut applied = 0..0;
    for &wave in waves {
        scheduler.handle_wave(wave, 0..2);
        loop {
            if stop_at.is_some_and(|stop| now >= stop) {
                scheduler.handle_stop();
            }
            match scheduler.poll(now) {
                Next::Apply(configurations) => {
                    assert!(in_flight.is_empty(), "a configuration changed under a connection");
                    applied = configurations;
                    scheduler.handle_applied();
                }
                Next::Start(Job { target, configuration }) => {
                    assert!(applied.contains(&configuration));
                    run.starts.push((now, target, configuration));
                    scheduler.handle_started(now);
                    *in_flight.entry(now + takes(target)).or_default() += 1;
                    run.most_in_flight = run.most_in_flight.max(in_flight.values().sum());
                }
                Next::Wait(until) => {
                    let ended = in_flight.first_key_value().map(|(at, _)| *at);
                    now = [until, ended].into_iter().flatten().min().expect("waits for ever");
                    while let Some(first) = in_flight.first_entry() {
                        if *first.key() > now {
                            break;
                        }
                        (0..first.remove()).for_each(|_| scheduler.handle_ended());
                    }
                }
                Next::WaveDone => break,
            }
        }
    }
    run.end = now;
    run
}

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn every_target_is_asked_once_under_each_configuration_in_turn() {
    let limits = Limits { concurrency: 7, rate: None };
    let run = simulate(limits, Turns::Waves, &[20, 5], |t| MILLI * (t as u32 % 5), None);
    let asked: Vec<(usize, usize)> = run.starts.iter().map(|(_, t, c)| (*t, *c)).collect();
    let wave = |n| (0..2).flat_map(move |c| (0..n).map(move |t| (t, c)));
    assert_eq!(asked, wave(20).chain(wave(5)).collect::<Vec<_>>());
    assert_eq!(run.most_in_flight, 7);
}

#[test]
fn silent_targets_hold_a_place_and_not_the_rest() {
    // One in ten silent for a second, a thousand places: the bound is one second for a
    // configuration's last silent target, and one more for every thousand silent ones.
    let limits = Limits { concurrency: 1000, rate: None };
    let takes = |t: usize| if t.is_multiple_of(10) { SECOND } else { MILLI };
    let run = simulate(limits, Turns::Waves, &[20_000], takes, None);
    assert!(run.end < SECOND * 7, "{:?}", run.end);
    assert_eq!(run.starts.len(), 40_000);
}

#[test]
fn no_second_has_more_starts_than_the_rate() {
    for rate in [1, 3, 500, 7_001] {
        let limits = Limits { concurrency: 100_000, rate: Some(rate) };
        let count = rate as usize * 2 + 3;
        let run = simulate(limits, Turns::Waves, &[count], |t| MILLI * (t as u32 % 900), None);
        let starts: Vec<Duration> = run.starts.iter().map(|(at, ..)| *at).collect();
        assert_eq!(starts.len(), 2 * count);
        let rate = rate as usize;
        for (first, last) in starts.iter().zip(&starts[rate..]) {
            assert!(*last - *first >= SECOND, "{} starts in {:?}", rate + 1, *last - *first);
        }
        // And not much slower than allowed: four seconds' worth, and the barrier's pause.
        assert!(run.end < SECOND * 8 + SECOND * 6 / rate as u32, "{rate}: {:?}", run.end);
    }
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_starts_nothing() {
    let limits = Limits { concurrency: 10, rate: None };
    let run = simulate(limits, Turns::Waves, &[1000], |_| SECOND, Some(SECOND * 3));
    assert_eq!(run.starts.len(), 30);
}

#[test]
fn an_empty_wave_is_done_at_once() {
    for turns in [Turns::Waves, Turns::AtOnce] {
        let limits = Limits { concurrency: 1, rate: Some(1) };
        assert!(simulate(limits, turns, &[0], |_| SECOND, None).starts.is_empty());
    }
}

#[test]
fn configurations_in_force_at_once_have_no_barrier() {
    let limits = Limits { concurrency: 3, rate: None };
    let run = simulate(limits, Turns::AtOnce, &[4, 2], |_| SECOND, None);
    let asked: Vec<(usize, usize)> = run.starts.iter().map(|(_, t, c)| (*t, *c)).collect();
    let wave = |n| (0..n).flat_map(move |t| (0..2).map(move |c| (t, c)));
    assert_eq!(asked, wave(4).chain(wave(2)).collect::<Vec<_>>());
    // Three at a time: the fourth job, the second target's experiment, does not wait for a turn.
    assert_eq!(run.starts[3], (SECOND, 1, 1));
}

#[test]
fn they_are_put_in_force_once() {
    let limits = Limits { concurrency: 1, rate: None };
    for (turns, expected) in
        [(Turns::AtOnce, &[(0, 2)][..]), (Turns::Waves, &[(0, 1), (1, 2), (0, 1), (1, 2)])]
    {
        let mut scheduler = Scheduler::new(limits, turns);
        let mut applied = Vec::new();
        for _ in 0..2 {
            scheduler.handle_wave(1, 0..2);
            loop {
                match scheduler.poll(Duration::ZERO) {
                    Next::Apply(configurations) => {
                        applied.push((configurations.start, configurations.end));
                        scheduler.handle_applied();
                    }
                    Next::Start(_) => {
                        scheduler.handle_started(Duration::ZERO);
                        scheduler.handle_ended();
                    }
                    Next::Wait(_) => unreachable!("nothing is under way"),
                    Next::WaveDone => break,
                }
            }
        }
        assert_eq!(applied, expected, "{turns:?}");
    }
}

#[test]
fn what_is_asked_again_comes_before_the_barrier() {
    let limits = Limits { concurrency: 9, rate: None };
    let mut scheduler = Scheduler::new(limits, Turns::Waves);
    let mut order = Vec::new();
    scheduler.handle_wave(2, 0..2);
    loop {
        match scheduler.poll(Duration::ZERO) {
            Next::Apply(_) => scheduler.handle_applied(),
            Next::Start(job) => {
                scheduler.handle_started(Duration::ZERO);
                let first = !order.contains(&(job.target, job.configuration));
                order.push((job.target, job.configuration));
                match first {
                    true => scheduler.handle_again(job),
                    false => scheduler.handle_ended(),
                }
            }
            Next::Wait(_) => unreachable!("nothing is under way"),
            Next::WaveDone => break,
        }
    }
    assert_eq!(order, [(0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (0, 1), (1, 1), (1, 1)]);
}
