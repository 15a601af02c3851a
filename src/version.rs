//! What this program was built from and with, for `--version` and for whoever must say which program measured.

use std::ffi::{CStr, c_char};
use std::sync::LazyLock;

/// The commit, or why it is not known.
const COMMIT: &str = env!("PATHSPIDER_COMMIT");
/// The profile, the compiler and the target.
const BUILD: &str = env!("PATHSPIDER_BUILD");

/// One fact by name.
pub type Fact = (&'static str, String);

/// The commit, the build and the libpcap of this program, by name.
pub fn facts() -> [Fact; 3] {
    [("commit", COMMIT.to_owned()), ("build", BUILD.to_owned()), ("libpcap", libpcap())]
}

/// The version and every fact, a line each.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let facts = facts().map(|(name, value)| format!("\n{:9}{value}", format!("{name}:")));
        format!("{}{}", env!("CARGO_PKG_VERSION"), facts.concat())
    });
    &TEXT
}

/// The version of the libpcap that is loaded, with its own remarks: `1.10.3 (with TPACKET_V3)`.
#[expect(unsafe_code, reason = "the binding has no function for it")]
fn libpcap() -> String {
    unsafe extern "C" {
        safe fn pcap_lib_version() -> *const c_char;
    }
    // SAFETY: libpcap returns a string that is constant from the first call on.
    let text = unsafe { CStr::from_ptr(pcap_lib_version()) }.to_string_lossy();
    text.strip_prefix("libpcap version ").unwrap_or(&text).to_owned()
}
