//! A connection's machine, guarded by the panic barrier.

use std::time::Duration;

use crate::barrier::{Panicked, guard};
use crate::connect::{Action, Ending, Event, Machine, Stage};

/// A machine whose panics do not end the run. One that panicked is dropped, and its attempt is over.
pub(super) struct Guarded {
    machine: Option<Box<dyn Machine>>,
    /// Where the attempt was when the machine panicked.
    stage: Stage,
}

impl Guarded {
    /// Makes the machine.
    pub(super) fn new(make: impl FnOnce() -> Box<dyn Machine>) -> Self {
        let machine = guard(make).map_err(|panic| report(&panic, Stage::Connect)).ok();
        Self { machine, stage: Stage::Connect }
    }

    /// How the attempt ended, if the machine has panicked.
    pub(super) fn broken(&self) -> Option<Ending> {
        self.machine.is_none().then(|| Ending::internal_error(self.stage))
    }

    /// As [`Machine::early`].
    pub(super) fn early(&mut self, out: &mut Vec<u8>) {
        self.call(out, |machine, out| machine.early(out));
    }

    /// As [`Machine::handle`], at this time after the attempt began.
    pub(super) fn handle(
        &mut self,
        elapsed: Duration,
        event: Event<'_>,
        out: &mut Vec<u8>,
    ) -> Action {
        let action = self.call(out, |machine, out| {
            machine.set_elapsed(elapsed);
            machine.handle(event, out)
        });
        action.unwrap_or_else(|| Action::Close(Ending::internal_error(self.stage)))
    }

    fn call<T>(
        &mut self,
        out: &mut Vec<u8>,
        call: impl FnOnce(&mut dyn Machine, &mut Vec<u8>) -> T,
    ) -> Option<T> {
        let machine = self.machine.as_mut()?;
        let before = out.len();
        match guard(|| call(&mut **machine, out)) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                // Half a message is not sent.
                out.truncate(before);
                self.stage = guard(|| machine.stage()).unwrap_or_default();
                report(&panic, self.stage);
                self.discard();
                None
            }
        }
    }

    /// Drops the machine, which may run its code too.
    fn discard(&mut self) {
        if let Some(machine) = self.machine.take() {
            let _ = guard(|| drop(machine));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.discard();
    }
}

fn report(panic: &Panicked, stage: Stage) {
    panic.report(&format!("an attempt ended at stage {}", stage.as_str()));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connect::State;

    /// Panics in one of its calls.
    pub(crate) struct Panics {
        pub(crate) early: bool,
        pub(crate) on_data: bool,
    }

    impl Machine for Panics {
        fn early(&mut self, out: &mut Vec<u8>) {
            out.extend_from_slice(b"half of it");
            assert!(!self.early, "early");
        }

        fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
            match event {
                Event::Connected => out.extend_from_slice(b"request"),
                Event::Data(_) => {
                    out.extend_from_slice(b"half of it");
                    assert!(!self.on_data, "on data");
                }
                _ => return Action::Close(Ending::new(State::Ok, Stage::Done, None)),
            }
            Action::Wait
        }

        fn stage(&self) -> Stage {
            Stage::Response
        }
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.early, "and again when it is dropped");
        }
    }

    fn internal(stage: Stage) -> Ending {
        let ending = Ending::internal_error(stage);
        assert_eq!(
            (ending.state, ending.error.as_deref()),
            (State::Failed, Some("internal error"))
        );
        ending
    }

    #[test]
    fn a_panic_ends_the_attempt_and_sends_nothing() {
        crate::barrier::install();
        let panics = Panics { early: false, on_data: true };
        let (mut machine, mut out) = (Guarded::new(|| Box::new(panics)), Vec::new());
        assert_eq!(machine.broken(), None);
        assert_eq!(machine.handle(Duration::ZERO, Event::Connected, &mut out), Action::Wait);
        let close = Action::Close(internal(Stage::Response));
        assert_eq!(machine.handle(Duration::ZERO, Event::Data(b"x"), &mut out), close);
        assert_eq!(out, b"request");
        assert_eq!(machine.broken(), Some(internal(Stage::Response)));
        assert_eq!(
            machine.handle(Duration::ZERO, Event::PeerClosed, &mut out),
            close,
            "the attempt stays over"
        );
    }

    #[test]
    fn a_panic_before_the_connection_ends_the_attempt() {
        crate::barrier::install();
        let never = Guarded::new(|| panic!("in the making"));
        assert_eq!(never.broken(), Some(internal(Stage::Connect)));
        let panics = Panics { early: true, on_data: false };
        let (mut machine, mut out) = (Guarded::new(|| Box::new(panics)), Vec::new());
        machine.early(&mut out);
        assert!(out.is_empty());
        assert_eq!(machine.broken(), Some(internal(Stage::Response)));
    }
}
