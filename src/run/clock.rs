//! What the kernel says of its clock (adjtimex(2)): whether anything disciplines it, and how far off it is.
#![expect(unsafe_code, reason = "adjtimex is a system call that no crate in use wraps")]

use nix::libc;
use serde_json::{Value, json};

/// The state of the clock as JSON; `Null` if the kernel does not say.
pub fn state() -> Value {
    // SAFETY: `timex` consists of integers, for which zeros are values; `modes` 0 changes nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a complete `timex` that outlives the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Value::Null;
    }
    let is_set = |flag: libc::c_int| timex.status & flag as libc::c_int != 0;
    let nanoseconds = timex.offset * if is_set(libc::STA_NANO) { 1 } else { 1000 };
    json!({
        "synchronised": state != libc::TIME_ERROR && !is_set(libc::STA_UNSYNC),
        "offset_ns": nanoseconds,
        "estimated_error_us": timex.esterror,
        "maximum_error_us": timex.maxerror,
        // Parts per million with 16 bits after the point.
        "frequency_ppm": timex.freq as f64 / 65_536.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_describes_its_clock() {
        let state = state();
        assert!(state["synchronised"].is_boolean() && state["offset_ns"].is_i64(), "{state}");
        assert!(state["maximum_error_us"].as_i64() > Some(0), "{state}");
    }
}
