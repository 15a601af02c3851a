//! The panic barrier: code that parses a peer's octets is called through [`guard`], so a panic in it ends one attempt
//! or flow, not the run.
//!
//! A panic elsewhere, on any thread, is recorded by the hook ([`crashed`]); the command that sees it stops
//! gracefully.
//!
//! A panic here is a defect of this program. It is counted, the first ones are reported as errors, and nothing is
//! concluded from the parsed data. Stack overflow and memory exhaustion are not panics: no barrier catches them, only
//! bounds prevent them.
//!
//! Imports nothing from this crate.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Once, OnceLock};

#[cfg(panic = "abort")]
compile_error!("the panic barrier needs panic = \"unwind\"");

/// The text of the `error` column for an attempt that a panic ended.
pub const INTERNAL_ERROR: &str = "internal error";

/// This many panics are reported as errors; later ones are logged at debug level, since one peer in a list of
/// millions can cause many.
const REPORTED: u64 = 3;

thread_local! {
    /// Whether this thread is inside a barrier.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// What the hook recorded of the last panic inside one.
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// A panic that a barrier caught.
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

/// The first panic that no barrier caught.
static CRASH: OnceLock<Crash> = OnceLock::new();

/// Whether the program that installed the hook reports [`crashed`] itself.
static REPORTED_BY_CALLER: AtomicBool = AtomicBool::new(false);

/// A panic that no barrier caught.
#[derive(Debug)]
pub struct Crash {
    thread: String,
    panic: Panicked,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, panic } = self;
        let version = env!("CARGO_PKG_VERSION");
        write!(
            f,
            "{INTERNAL_ERROR}: the thread {thread} panicked: {panic}; this is a defect of pathspider {version}, please \
             report it with this line, and with what RUST_BACKTRACE=1 adds to it"
        )
    }
}

/// Replaces the panic hook by one that does not print panics inside a barrier: the code at the barrier logs them,
/// around the progress bar. Panics elsewhere are recorded for [`crashed`], and printed as before. Calls after the
/// first do nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match INSIDE.get() {
            true => LAST.with(|last| *last.borrow_mut() = Some(Panicked::of(info))),
            false => {
                let thread = std::thread::current().name().unwrap_or("without a name").to_owned();
                // The first one may have caused the others.
                let _ = CRASH.set(Crash { thread, panic: Panicked::of(info) });
                if !REPORTED_BY_CALLER.load(Relaxed) {
                    before(info);
                }
            }
        }));
    });
}

/// [`install`], for a program that reports [`crashed`] itself: the hook prints a panic only if the user asked for a
/// backtrace, since its message may contain a peer's octets.
pub fn install_quiet() {
    install();
    let wanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    REPORTED_BY_CALLER.store(!wanted, Relaxed);
}

/// The first panic of any thread that no barrier caught.
pub fn crashed() -> Option<&'static Crash> {
    CRASH.get()
}

/// Calls a function and turns a panic in it into an error.
///
/// # Errors
/// The crash, in words.
pub fn contain<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(call)).map_err(|payload| match crashed() {
        Some(crash) => crash.to_string(),
        None => format!("{INTERNAL_ERROR}: {}", caught(&*payload)),
    })
}

/// The places where a test can cause a panic.
#[cfg(debug_assertions)]
pub static PANIC_POINTS: &[&str] = &[
    "capture", "command", "engine", "feed", "finish", "lab", "live", "merge", "metrics", "restore",
    "signals", "tool", "writer",
];

/// Panics if the environment variable PATHSPIDER_PANIC has this name. Only in builds with debug assertions: for
/// `tests/ends.rs`.
#[inline]
pub fn panic_point(name: &str) {
    #[cfg(debug_assertions)]
    {
        static WANTED: OnceLock<Option<String>> = OnceLock::new();
        debug_assert!(PANIC_POINTS.contains(&name), "{name} has no row in PANIC_POINTS");
        let wanted = WANTED.get_or_init(|| std::env::var("PATHSPIDER_PANIC").ok());
        assert!(wanted.as_deref() != Some(name), "PATHSPIDER_PANIC is {name}");
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Calls a function and catches its panic. Data that it may have left half-updated must not be used again, unless
/// every state of it is valid.
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

    /// Logs the panic. `what` names the call that panicked and the consequence for its object.
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
    fn a_panic_is_caught_with_its_message_and_place() {
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
