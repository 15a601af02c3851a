//! The panic barrier: what reads a stranger's octets is called through [`guard`], so that a panic in it is the end of
//! one attempt or flow, and not of the run.
//!
//! A panic here is a defect of this program. It is counted, the first ones are reported as errors, and
//! nothing is concluded from what was being read. A stack overflow and memory that runs out are no
//! panics: no barrier holds them, and bounds are what prevents them.
//!
//! Imports nothing from this crate.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(panic = "abort")]
compile_error!("the panic barrier needs panic = \"unwind\"");

/// The word of the `error` column for an attempt that a panic ended.
pub const INTERNAL_ERROR: &str = "internal error";

/// This many panics are reported as errors; those after them only at debug level, since one peer in a list of
/// millions can cause many.
const REPORTED: u64 = 3;

thread_local! {
    /// Whether this thread is inside a barrier.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// What the hook saw of the last panic inside one.
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// A panic that a barrier held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    message: String,
    /// File, line and column, if the hook is installed.
    place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, " at {place}"))
    }
}

/// Replaces the panic hook by one that prints nothing of panics inside a barrier: they are logged by whoever holds the
/// barrier, around the progress bar. Panics elsewhere are printed as before. Any call after the first does nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match INSIDE.get() {
            true => LAST.with(|last| *last.borrow_mut() = Some(Panicked::of(info))),
            false => before(info),
        }));
    });
}

/// Calls a function and holds its panic, if it panics. What it may have left half done must not be used again, or
/// only where any state of it is a sound one.
///
/// # Errors
/// The panic.
#[inline]
pub fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = INSIDE.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(outer);
    result.map_err(|payload| caught(&*payload))
}

#[cold]
fn caught(payload: &(dyn std::any::Any + Send)) -> Panicked {
    let last = LAST.with(|last| last.borrow_mut().take());
    last.unwrap_or_else(|| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Panicked { message: text.unwrap_or(NO_MESSAGE).to_owned(), place: None }
    })
}

const NO_MESSAGE: &str = "a panic without a message";

impl Panicked {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        Self {
            message: info.payload_as_str().unwrap_or(NO_MESSAGE).to_owned(),
            place: info.location().map(ToString::to_string),
        }
    }

    /// Logs the panic. `what` names the call that panicked and what became of its object.
    #[cold]
    pub fn report(&self, what: &str) {
        static SO_FAR: AtomicU64 = AtomicU64::new(0);
        let level = match SO_FAR.fetch_add(1, Relaxed) {
            0..REPORTED => log::Level::Error,
            _ => log::Level::Debug,
        };
        log::log!(
            level,
            "{INTERNAL_ERROR}: {what}: {self}; this is a defect of pathspider, please report it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_held_with_its_message_and_place() {
        install();
        assert_eq!(guard(|| 7), Ok(7));
        let line = line!() + 1;
        let held = guard(|| -> u8 { panic!("octet {}", 0x3f) }).unwrap_err();
        assert_eq!(held.message, "octet 63");
        let place = held.place.unwrap();
        assert!(place.contains("barrier.rs") && place.contains(&format!(":{line}:")), "{place}");
        assert!(!INSIDE.get());
    }

    #[test]
    fn barriers_can_be_nested() {
        install();
        let inner = guard(|| {
            let inner = guard(|| panic!("inner")).unwrap_err();
            assert!(INSIDE.get(), "still inside the outer one");
            inner
        });
        assert_eq!(inner.unwrap().message, "inner");
        let outer = guard(|| {
            let _ = guard(|| panic!("inner"));
            panic!("outer")
        });
        assert_eq!(outer.unwrap_err().message, "outer");
    }
}
