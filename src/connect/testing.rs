//! Helpers for the tests of all kinds: scripted events, and octets cut and mutated in every way.

use super::answer::Answer;
use super::machine::{Action, Ending, Event, Fault, Machine, Peer};

pub(super) const REFUSED: Fault = Fault { word: "Connection refused", local: false };
pub(super) const NO_ROUTE: Fault = Fault { word: "Network is unreachable", local: true };

/// A peer with a documentation address.
pub(super) fn peer(port: u16, name: Option<&str>) -> Peer<'_> {
    Peer { address: [192, 0, 2, 1].into(), port, name, random: 0x1234_5678_9abc_def0 }
}

/// Feeds events until the machine closes.
pub(super) fn play(mut machine: Box<dyn Machine>, events: &[Event<'_>]) -> Ending {
    let mut out = Vec::new();
    for event in events {
        if let Action::Close(ending) = machine.handle(*event, &mut out) {
            return ending;
        }
    }
    panic!("still open after {events:?}")
}

/// An ending in words: state, stage, error, status, version and body.
pub(super) fn outcome(ending: &Ending) -> String {
    let reply = ending.reply.clone().unwrap_or_default();
    format!(
        "{} {} {} {} {} {}",
        ending.state.as_str(),
        ending.stage.as_str(),
        ending.error.as_deref().unwrap_or("-"),
        reply.http_status.map_or("-".into(), |status| status.to_string()),
        reply.http_version.unwrap_or("-"),
        reply.http_body.as_deref().unwrap_or("-"),
    )
}

/// The word in the `answer` column.
pub(super) fn answer(ending: &Ending) -> &'static str {
    ending.answer.map_or("-", Answer::as_str)
}

/// Checks that a machine ends the same way wherever its input is cut, and octet by octet.
pub(super) fn assert_same_however_cut(machine: &dyn Fn() -> Box<dyn Machine>, sent: &[u8]) {
    let whole = play(machine(), &[Event::Connected, Event::Data(sent), Event::PeerClosed]);
    for cut in 0..=sent.len() {
        let (a, b) = sent.split_at(cut);
        let events = [Event::Connected, Event::Data(a), Event::Data(b), Event::PeerClosed];
        assert_eq!(play(machine(), &events), whole, "cut at {cut}");
    }
    let mut events = vec![Event::Connected];
    events.extend(sent.chunks(1).map(Event::Data));
    events.push(Event::PeerClosed);
    assert_eq!(play(machine(), &events), whole, "octet by octet");
}

/// Runs a function on many mutated copies of octets, the same in every run.
pub(super) fn mutations(octets: &[u8], mut run: impl FnMut(&[u8])) {
    // Knuth's MMIX.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for _ in 0..2000 {
        let mut changed = octets.to_vec();
        for _ in 0..=random(4) {
            let at = random(changed.len());
            match random(4) {
                0 if !changed.is_empty() => changed[at] = random(256) as u8,
                1 => changed.truncate(at),
                2 => changed.insert(at, random(256) as u8),
                _ => {
                    let copy = changed[at..].to_vec();
                    changed.extend(copy);
                }
            }
        }
        run(&changed);
    }
}
