//! How much memory a thread holds: an allocator that counts.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one hands everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(octets: isize) {
    // A thread that ends may free when its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + octets);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may be there for a moment.
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What a call returns, how many octets more are held after it than before (or fewer), and the most octets that it
/// held at any moment beyond those from before.
pub fn of<T>(call: impl FnOnce() -> T) -> (T, isize, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = call();
    (result, HELD.get() - before, usize::try_from(PEAK.get() - before).unwrap_or_default())
}
