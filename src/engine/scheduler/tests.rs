//! The scheduler in virtual time.

use super::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Addresses of targets, four in each /24.
fn addresses(targets: usize) -> Vec<IpAddr> {
    let of =
        |target: usize| Ipv4Addr::from_bits(((target as u32 / 4) << 8) | (target as u32 % 4 + 1));
    (0..targets).map(|target| of(target).into()).collect()
}

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
    let waves: Vec<_> = waves.iter().map(|wave| addresses(*wave)).collect();
    simulate_at(limits, turns, &waves, takes, stop_at)
}

/// The same with targets that have these addresses.
fn simulate_at(
    limits: Limits,
    turns: Turns,
    waves: &[Vec<IpAddr>],
    takes: impl Fn(usize) -> Duration,
    stop_at: Option<Duration>,
) -> Run {
    let mut scheduler = Scheduler::new(limits, turns);
    let mut now = Duration::ZERO;
    let mut in_flight: BTreeMap<Duration, usize> = BTreeMap::new();
    let mut run = Run { starts: Vec::new(), most_in_flight: 0, end: Duration::ZERO };
    let mut applied = 0..0;
    for wave in waves {
        scheduler.handle_wave(wave.clone(), 0..2);
        loop {
            if stop_at.is_some_and(|stop| now >= stop) {
                scheduler.handle_stop();
            }
            match scheduler.poll(now) {
                Next::Apply(configurations) => {
                    let may_overlap = turns == Turns::Overlapping && configurations.start > 0;
                    assert!(
                        may_overlap || in_flight.is_empty(),
                        "a configuration changed under a connection"
                    );
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
fn every_target_is_probed_once_under_each_configuration_in_turn() {
    let limits = Limits { concurrency: 7, rate: None, caps: Caps::default() };
    let run = simulate(limits, Turns::Waves, &[20, 5], |t| MILLI * (t as u32 % 5), None);
    let asked: Vec<(usize, usize)> = run.starts.iter().map(|(_, t, c)| (*t, *c)).collect();
    let wave = |n| (0..2).flat_map(move |c| (0..n).map(move |t| (t, c)));
    assert_eq!(asked, wave(20).chain(wave(5)).collect::<Vec<_>>());
    assert_eq!(run.most_in_flight, 7);
}

#[test]
fn silent_targets_do_not_delay_the_rest() {
    // One in ten is silent for a second, at most a thousand are in flight: the bound is one second for a
    // configuration's last silent target, and one more for every thousand silent ones.
    let limits = Limits { concurrency: 1000, rate: None, caps: Caps::default() };
    let takes = |t: usize| if t.is_multiple_of(10) { SECOND } else { MILLI };
    let run = simulate(limits, Turns::Waves, &[20_000], takes, None);
    assert!(run.end < SECOND * 7, "{:?}", run.end);
    assert_eq!(run.starts.len(), 40_000);
}

#[test]
fn no_second_has_more_starts_than_the_rate() {
    for rate in [1, 3, 500, 7_001] {
        let limits = Limits { concurrency: 100_000, rate: Some(rate), caps: Caps::default() };
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
fn a_stop_waits_for_attempts_in_flight_and_starts_nothing() {
    let limits = Limits { concurrency: 10, rate: None, caps: Caps::default() };
    let run = simulate(limits, Turns::Waves, &[1000], |_| SECOND, Some(SECOND * 3));
    assert_eq!(run.starts.len(), 30);
}

#[test]
fn an_empty_wave_is_done_at_once() {
    for turns in [Turns::Waves, Turns::AtOnce] {
        let limits = Limits { concurrency: 1, rate: Some(1), caps: Caps::default() };
        assert!(simulate(limits, turns, &[0], |_| SECOND, None).starts.is_empty());
    }
}

#[test]
fn configurations_in_force_at_once_have_no_barrier() {
    let limits = Limits { concurrency: 3, rate: None, caps: Caps::default() };
    let run = simulate(limits, Turns::AtOnce, &[4, 2], |_| SECOND, None);
    let asked: Vec<(usize, usize)> = run.starts.iter().map(|(_, t, c)| (*t, *c)).collect();
    let wave = |n| (0..n).flat_map(move |t| (0..2).map(move |c| (t, c)));
    assert_eq!(asked, wave(4).chain(wave(2)).collect::<Vec<_>>());
    // Three at a time: the fourth job, the second target's experiment, does not wait for a turn.
    assert_eq!(run.starts[3], (SECOND, 1, 1));
}

#[test]
fn overlapping_turns_have_a_barrier_at_the_end_of_the_wave_only() {
    let limits = Limits { concurrency: 6, rate: None, caps: Caps::default() };
    let waves = [4, 2];
    let overlapping = simulate(limits, Turns::Overlapping, &waves, |_| SECOND, None);
    let in_turn = simulate(limits, Turns::Waves, &waves, |_| SECOND, None);
    let order = |run: &Run| run.starts.iter().map(|(_, t, c)| (*t, *c)).collect::<Vec<_>>();
    assert_eq!(
        order(&overlapping),
        order(&in_turn),
        "each target under each configuration, in turn"
    );
    // Six at a time: two of the experiment start with the baseline, and the next wave when all have ended.
    let times: Vec<u64> = overlapping.starts.iter().map(|(at, ..)| at.as_secs()).collect();
    assert_eq!(times, [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2]);
    assert_eq!((overlapping.end, in_turn.end), (SECOND * 3, SECOND * 4));
}

#[test]
fn configurations_are_put_in_force_once() {
    let limits = Limits { concurrency: 1, rate: None, caps: Caps::default() };
    for (turns, expected) in
        [(Turns::AtOnce, &[(0, 2)][..]), (Turns::Waves, &[(0, 1), (1, 2), (0, 1), (1, 2)])]
    {
        let mut scheduler = Scheduler::new(limits, turns);
        let mut applied = Vec::new();
        for _ in 0..2 {
            scheduler.handle_wave(addresses(1), 0..2);
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
                    Next::Wait(_) => unreachable!("nothing is in flight"),
                    Next::WaveDone => break,
                }
            }
        }
        assert_eq!(applied, expected, "{turns:?}");
    }
}

#[test]
fn repeats_come_before_the_barrier() {
    let limits = Limits { concurrency: 9, rate: None, caps: Caps::default() };
    let mut scheduler = Scheduler::new(limits, Turns::Waves);
    let mut order = Vec::new();
    scheduler.handle_wave(addresses(2), 0..2);
    loop {
        match scheduler.poll(Duration::ZERO) {
            Next::Apply(_) => scheduler.handle_applied(),
            Next::Start(job) => {
                scheduler.handle_started(Duration::ZERO);
                let first = !order.contains(&(job.target, job.configuration));
                order.push((job.target, job.configuration));
                match first {
                    true => scheduler.handle_repeat(job),
                    false => scheduler.handle_ended(),
                }
            }
            Next::Wait(_) => unreachable!("nothing is in flight"),
            Next::WaveDone => break,
        }
    }
    assert_eq!(order, [(0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (0, 1), (1, 1), (1, 1)]);
}

#[test]
fn an_empty_wave_and_a_probe_leave_no_configuration_in_force() {
    let now = Duration::ZERO;
    for turns in [Turns::AtOnce, Turns::Waves] {
        let limits = Limits { concurrency: 10, rate: None, caps: Caps::default() };
        let mut scheduler = Scheduler::new(limits, turns);
        scheduler.handle_wave(addresses(0), 0..2);
        assert_eq!(scheduler.poll(now), Next::WaveDone);
        // The probe is a configuration of its own.
        scheduler.handle_wave(addresses(1), 2..3);
        assert_eq!(scheduler.poll(now), Next::Apply(2..3));
        scheduler.handle_applied();
        assert_eq!(scheduler.poll(now), Next::Start(Job { target: 0, configuration: 2 }));
        scheduler.handle_started(now);
        scheduler.handle_ended();
        assert_eq!(scheduler.poll(now), Next::WaveDone);
        scheduler.handle_wave(addresses(1), 0..2);
        let all = if turns == Turns::AtOnce { 0..2 } else { 0..1 };
        assert_eq!(scheduler.poll(now), Next::Apply(all.clone()), "{turns:?}");
        let mut scheduler = Scheduler::new(limits, turns);
        scheduler.handle_wave(addresses(0), 0..2);
        assert_eq!(scheduler.poll(now), Next::WaveDone);
        scheduler.handle_wave(addresses(1), 0..2);
        assert_eq!(scheduler.poll(now), Next::Apply(all), "{turns:?}");
    }
}

#[test]
fn configurations_not_in_force_are_applied() {
    // An empty wave does not put the steps in force.
    let limits = Limits { concurrency: 9, rate: None, caps: Caps::default() };
    let run = simulate(limits, Turns::AtOnce, &[0, 2], |_| Duration::ZERO, None);
    assert_eq!(run.starts.len(), 4);
    let mut scheduler = Scheduler::new(limits, Turns::AtOnce);
    scheduler.handle_wave(addresses(1), 0..1);
    assert_eq!(scheduler.poll(Duration::ZERO), Next::Apply(0..1));
    scheduler.handle_applied();
    scheduler.handle_stop();
    let mut scheduler = Scheduler { stopping: false, ..scheduler };
    scheduler.handle_wave(addresses(1), 0..1);
    assert!(matches!(scheduler.poll(Duration::ZERO), Next::Start(_)), "it stays in force");
    scheduler.handle_undone();
    assert_eq!(scheduler.poll(Duration::ZERO), Next::Apply(0..1));
}

/// No second, wherever it begins, has more than `cap` of these starts.
fn hold_to(cap: u32, mut starts: Vec<Duration>, of: &str) {
    starts.sort_unstable();
    for (first, last) in starts.iter().zip(starts.iter().skip(cap as usize)) {
        let span = *last - *first;
        assert!(span >= SECOND, "{of}: {} starts in {span:?}", cap + 1);
    }
}

#[test]
fn all_caps_hold_at_once_second_by_second() {
    // Addresses that are listed many times, in prefixes with few and with many, all mixed; in three waves.
    let at = |n: u32| -> IpAddr {
        let prefix = (n * 7 % 10).pow(2) / 9;
        match n % 3 {
            0 => std::net::Ipv6Addr::from_bits(
                0x2600 << 112 | u128::from(prefix) << 72 | u128::from(n % 11),
            )
            .into(),
            _ => Ipv4Addr::from_bits(0x0800_0000 | (prefix << 8) | (n % 11)).into(),
        }
    };
    let wave: Vec<IpAddr> = (0..400).map(at).collect();
    for (rate, per_address, per_prefix) in [(50, 3, 7), (1000, 1, 30), (30, 9, 7), (40, 2, 1000)] {
        let caps = Caps {
            per_address: Some(per_address),
            per_prefix: Some(per_prefix),
            ..Caps::default()
        };
        let limits = Limits { concurrency: 1000, rate: Some(rate), caps };
        for turns in [Turns::Waves, Turns::AtOnce] {
            let waves = [wave.clone(), wave[..50].to_vec(), wave.clone()];
            let run = simulate_at(limits, turns, &waves, |t| MILLI * (t as u32 % 700), None);
            assert_eq!(run.starts.len(), 2 * 850, "each is probed once under each configuration");
            hold_to(rate, run.starts.iter().map(|(at, ..)| *at).collect(), "all");
            let mut of: BTreeMap<(bool, IpAddr), Vec<Duration>> = BTreeMap::new();
            for (at, target, _) in &run.starts {
                let address = wave[*target];
                of.entry((true, address)).or_default().push(*at);
                of.entry((false, caps.prefix(address))).or_default().push(*at);
            }
            for ((one, whose), starts) in of {
                let cap = if one { per_address } else { per_prefix };
                hold_to(cap, starts, &format!("{whose} {one}"));
            }
        }
    }
}

#[test]
fn a_prefix_over_its_cap_delays_no_other() {
    // A hundred targets in one /24 first, then a thousand elsewhere.
    let near = (0..100).map(|n| IpAddr::from(Ipv4Addr::new(8, 8, 8, n)));
    let far = (0..1000).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0900_0000 | n << 8)));
    let wave: Vec<IpAddr> = near.chain(far).collect();
    let caps = Caps { per_prefix: Some(10), ..Caps::default() };
    let limits = Limits { concurrency: 100, rate: None, caps };
    let mut scheduler = Scheduler::new(limits, Turns::AtOnce);
    scheduler.handle_wave(wave, 0..1);
    assert_eq!(scheduler.poll(Duration::ZERO), Next::Apply(0..1));
    scheduler.handle_applied();
    let (mut now, mut order) = (Duration::ZERO, Vec::new());
    loop {
        match scheduler.poll(now) {
            Next::Start(Job { target, .. }) => {
                order.push((now, target));
                scheduler.handle_started(now);
                scheduler.handle_ended();
            }
            Next::Wait(until) => now = until.expect("nothing is in flight"),
            Next::WaveDone => break,
            Next::Apply(_) => unreachable!("it is applied"),
        }
    }
    let others = order.iter().filter(|(at, target)| *target >= 100 && *at == Duration::ZERO);
    assert_eq!((order.len(), others.count()), (1100, 1000));
    // A tenth of a second each, in their order.
    let near: Vec<_> = order.iter().filter(|(_, target)| *target < 100).collect();
    assert!(
        near.iter()
            .enumerate()
            .all(|(n, (at, target))| (*at, *target) == (MILLI * 100 * n as u32, n))
    );
    assert!(scheduler.neighbours.due().is_none());
}

#[test]
fn only_the_last_second_is_remembered() {
    let caps = Caps { per_address: Some(1), per_prefix: Some(1), ..Caps::default() };
    let mut neighbours = Neighbours::new(caps);
    for n in 0..200_000_u32 {
        neighbours.handle_started(Ipv4Addr::from_bits(n << 8).into(), MILLI * n);
    }
    assert!(neighbours.remembered() <= 4096, "{}", neighbours.remembered());
}

#[test]
fn repeats_and_withdrawals_obey_the_caps() {
    let caps = Caps { per_address: Some(2), ..Caps::default() };
    let mut scheduler = Scheduler::new(Limits { concurrency: 9, rate: None, caps }, Turns::AtOnce);
    scheduler.handle_wave(addresses(2), 0..1);
    let (mut now, mut starts, mut left) = (Duration::ZERO, Vec::new(), 4);
    loop {
        match scheduler.poll(now) {
            Next::Apply(_) => scheduler.handle_applied(),
            Next::Start(Job { target: 1, .. }) => scheduler.handle_withdrawn(),
            Next::Start(job) => {
                starts.push(now);
                scheduler.handle_started(now);
                left -= 1;
                match left {
                    0 => scheduler.handle_ended(),
                    _ => scheduler.handle_repeat(job),
                }
            }
            Next::Wait(until) => now = until.expect("nothing is in flight"),
            Next::WaveDone => break,
        }
    }
    assert_eq!(starts, [0, 500, 1000, 1500].map(|at| MILLI * at));
}
