//! Whatever a peer sends, and in whatever order things happen, no connection machine panics or holds more memory
//! than its kind may. The machines come from the registry: each kind, in each version, with each option.
//!
//!     BOLERO_RANDOM_ITERATIONS=1000000 cargo test --release --test machines -- --nocapture
//!
//! tries this many sequences of events. bolero prints the seed of one that fails.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
#![expect(clippy::print_stdout, reason = "what was measured is for who asks with --nocapture")]

#[path = "machines/endless.rs"]
mod endless;
#[path = "machines/frames.rs"]
mod frames;
#[path = "machines/memory.rs"]
mod memory;
#[path = "machines/peers.rs"]
mod peers;
#[path = "support/spoilt.rs"]
mod spoilt;
#[path = "machines/subjects.rs"]
mod subjects;

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bolero::{TypeGenerator, produce};
use nix::time::{ClockId, clock_gettime};
use pathspider::connect::dns::MAY_BE_FORGED;
use pathspider::connect::{self, Action, Ending, Event, Fault, MOST_TRANSIENT, Stage, State};
use peers::Layer;
use spoilt::Spoilt;
use subjects::Subject;

/// How many sequences are tried, unless `BOLERO_RANDOM_ITERATIONS` says another number.
const SEQUENCES: usize = 20_000;

const RESET: Fault = Fault { word: "Connection reset by peer", local: false };
const NO_BUFFER: Fault = Fault { word: "No buffer space available", local: true };

/// What happens to one attempt.
#[derive(Debug, TypeGenerator)]
struct Sequence {
    /// Which machine; where the connection begins as it should, unless this is small; and which peer.
    subject: u32,
    odd: u8,
    variant: u32,
    /// The first answer that is not as the protocol has it.
    #[generator(0usize..6)]
    spoilt_from: usize,
    #[generator(produce::<Vec<Step>>().with().len(1usize..=10))]
    steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, TypeGenerator)]
struct Step {
    what: u8,
    /// Which answer.
    script: u32,
    /// Octets in each piece of it.
    piece: u16,
    /// In which layer an answer is spoilt.
    layer: Layer,
    spoilt: Spoilt,
    #[generator(produce::<Vec<u8>>().with().len(0usize..=40))]
    octets: Vec<u8>,
}

/// What became of the sequences of a subject.
#[derive(Debug, Default, Clone)]
struct Tally {
    ok: usize,
    other: usize,
    open: usize,
    /// The most octets held between two events, and during one.
    held: usize,
    transient: usize,
    slowest: Duration,
}

/// What this thread has used, however busy the machine is.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// One attempt under way.
struct Attempt<'a> {
    subject: &'a Subject,
    machine: Box<dyn connect::Machine>,
    /// Never sent, as if the peer read nothing.
    out: Vec<u8>,
    /// How much of that the peer has looked at.
    read: usize,
    /// Octets that the machine and `out` hold.
    held: isize,
    connected: bool,
    local: bool,
    stage: Stage,
    ending: Option<Ending>,
    tally: &'a mut Tally,
}

impl<'a> Attempt<'a> {
    fn start(subject: &'a Subject, tally: &'a mut Tally) -> Self {
        let (machine, held, _) = memory::of(|| subject.start());
        let mut attempt = Self {
            subject,
            machine,
            out: Vec::new(),
            read: 0,
            held,
            connected: false,
            local: false,
            stage: Stage::Connect,
            ending: None,
            tally,
        };
        if subject.early {
            let Self { machine, out, .. } = &mut attempt;
            attempt.held += memory::of(|| machine.early(out)).1;
        }
        attempt
    }

    /// What was sent since it was asked for last.
    fn sent(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.read, self.out.len());
        &self.out[from..]
    }

    /// Feeds an event, unless it is over: the engine does not either.
    fn handle(&mut self, event: Event<'_>) {
        if self.ending.is_some() {
            return;
        }
        let Self { machine, out, .. } = self;
        let begun = processor_time();
        let (action, more, transient) = memory::of(|| machine.handle(event, out));
        let took = processor_time().saturating_sub(begun);
        self.held += more;
        self.connected |= event == Event::Connected;
        self.local |= event == Event::Failed(NO_BUFFER);
        let stage = self.machine.stage();
        assert!(stage >= self.stage, "from {:?} to {stage:?}", self.stage);
        self.stage = stage;
        if let Action::Close(ending) = action {
            self.check(&ending);
            self.ending = Some(ending);
        }
        let (held, name) = (usize::try_from(self.held).unwrap_or_default(), &self.subject.name);
        assert!(held <= self.subject.row.memory, "{name}: {held} octets are held");
        assert!(transient <= MOST_TRANSIENT, "{name}: {transient} octets in one call");
        let tally = &mut self.tally;
        tally.slowest = tally.slowest.max(took);
        (tally.held, tally.transient) = (tally.held.max(held), tally.transient.max(transient));
    }

    /// Whether an ending is one that can be.
    fn check(&self, ending: &Ending) {
        let Ending { state, stage, error, answer, reply } = ending;
        assert!(*state != State::LocalError || answer.is_none(), "{ending:?}");
        let error = error.as_deref().unwrap_or_default();
        assert!(error.len() < 200 && !error.contains(char::is_control), "{error:?}");
        // Nor what anybody may have sent: nothing is concluded from it.
        let blamed = self.local || self.subject.cannot_start || error == MAY_BE_FORGED;
        assert!(*state != State::LocalError || blamed, "no octets of a peer are this host's fault");
        if *state == State::Ok {
            assert!(self.connected, "nothing is ok before it is connected");
            assert_eq!(*stage == Stage::Done, error.is_empty(), "{ending:?}");
        }
        let reply = reply.as_deref().cloned().unwrap_or_default();
        for text in [reply.http_body, reply.tls_alpn, reply.dns_reply_addresses] {
            assert!(text.is_none_or(|text| text.len() <= 4096), "what is kept is short");
        }
    }

    fn end(self) {
        let tally = self.tally;
        match self.ending.map(|ending| ending.state) {
            Some(State::Ok) => tally.ok += 1,
            Some(_) => tally.other += 1,
            None => tally.open += 1,
        }
    }
}

impl Sequence {
    fn run(&self, subject: &Subject, tally: &mut Tally) {
        let mut peer = subject.peer(self.variant);
        let mut attempt = Attempt::start(subject, tally);
        if self.odd >= 16 {
            attempt.handle(Event::Connected);
        }
        for (place, step) in self.steps.iter().enumerate() {
            let whole = place < self.spoilt_from;
            match if whole { 0 } else { step.what } {
                0..150 => {
                    let spoil = |layer, octets: Vec<u8>| match layer == step.layer && !whole {
                        true => step.spoilt.of(&octets),
                        false => octets,
                    };
                    let answer = peer.answer(attempt.sent(), step.script, &spoil);
                    if subject.datagrams {
                        attempt.handle(Event::Data(&answer));
                        continue;
                    }
                    // Many small pieces of a long answer tell no more than some do.
                    let piece = usize::from(step.piece).clamp(answer.len() / 64, answer.len());
                    answer
                        .chunks(piece.max(1))
                        .for_each(|piece| attempt.handle(Event::Data(piece)));
                }
                150..190 => attempt.handle(Event::Data(&step.octets)),
                190..205 => attempt.handle(Event::Connected),
                205..225 => attempt.handle(Event::PeerClosed),
                225..240 => attempt.handle(Event::TimedOut),
                240..250 => attempt.handle(Event::Failed(RESET)),
                _ => attempt.handle(Event::Failed(NO_BUFFER)),
            }
        }
        attempt.end();
    }
}

#[test]
fn no_sequence_of_events_makes_a_machine_panic_or_grow() {
    try_sequences(0);
}

#[test]
fn no_sequence_of_events_makes_a_machine_of_the_other_half_panic_or_grow() {
    try_sequences(1);
}

/// Tries sequences with every second machine, from the first or the second on, so that two processors have work.
fn try_sequences(first: usize) {
    let subjects: Vec<Subject> = subjects::all().into_iter().skip(first).step_by(2).collect();
    let mut tallies = vec![Tally::default(); subjects.len()];
    let each = AssertUnwindSafe(RefCell::new(|sequence: &Sequence| {
        let which = sequence.subject as usize % subjects.len();
        sequence.run(&subjects[which], &mut tallies[which]);
    }));
    bolero::check!().with_iterations(SEQUENCES / 2).with_type::<Sequence>().for_each(|input| {
        let each = &each;
        (each.borrow_mut())(input);
    });
    for (subject, tally) in subjects.iter().zip(&tallies) {
        println!("{}: {tally:?}", subject.name);
        let Tally { ok, other, open, .. } = tally;
        assert!(*other > 0 && (*open > 0 || subject.cannot_start), "{}: {tally:?}", subject.name);
        assert_eq!(*ok > 0, subject.can_succeed(), "{}: {tally:?}", subject.name);
    }
    let most = |of: fn(&Tally) -> usize| tallies.iter().map(of).max().unwrap();
    let slowest = tallies.iter().map(|tally| tally.slowest).max().unwrap();
    println!(
        "{} machines; at most {} octets held, {} more in one call; slowest call {slowest:?}",
        subjects.len(),
        most(|tally| tally.held),
        most(|tally| tally.transient),
    );
}
