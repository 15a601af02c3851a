//! The router of a lab, for tests that send as another host would.

use std::fs::File;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};

/// The router's device towards the prober.
const TOWARDS_PROBER: &str = "prober";

/// Enters the router's namespace with the calling thread: of those that this process holds, the one with the device.
pub fn enter_router() {
    for number in 3..1000 {
        let path = format!("/proc/self/fd/{number}");
        let is_namespace =
            std::fs::read_link(&path).is_ok_and(|link| link.to_string_lossy().starts_with("net:["));
        if is_namespace {
            setns(File::open(&path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            if if_nametoindex(TOWARDS_PROBER).is_ok() {
                return;
            }
        }
    }
    panic!("this process holds no namespace with the router's devices");
}
