//! The system calls that drop privileges.

use nix::sys::prctl;
use nix::unistd::{getegid, geteuid, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use super::user::Account;
use crate::error::{Doing as _, Error, Result, Setting};

/// The permitted capabilities of this thread.
pub fn permitted() -> Result<CapabilitySet> {
    Ok(capabilities(None).doing(|| "read the capabilities of this process")?.permitted)
}

/// Becomes another user with one group, and keeps the capabilities.
///
/// # Errors
/// If this process is neither root nor that user.
pub fn become_user(account: &Account) -> Result<()> {
    let Account { uid, gid } = *account;
    if (geteuid(), getegid()) == (uid, gid) {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(Error::needs(
            Setting::User,
            format!(
                "become user {uid}: only a process started as root can become another user, this one is user {}",
                geteuid()
            ),
        ));
    }
    let doing = || format!("become user {uid} with group {gid}");
    prctl::set_keepcaps(true).doing(doing)?;
    // The order matters: after the change of user, groups can no longer be changed.
    setgroups(&[gid]).doing(doing)?;
    setgid(gid).doing(doing)?;
    setuid(uid).doing(doing)?;
    prctl::set_keepcaps(false).doing(doing)
}

/// Keeps these capabilities, as far as they are permitted, and drops all others for good. Started programs get
/// `programs`. Applies to this thread and to threads that it starts later.
pub fn keep(keep: CapabilitySet, programs: CapabilitySet) -> Result<()> {
    let doing = || "drop capabilities";
    let permitted = permitted()?;
    let keep = keep & permitted;
    let programs = programs & keep;
    clear_ambient_capability_set().doing(doing)?;
    if permitted.contains(CapabilitySet::SETPCAP) {
        // The change of user has cleared the effective set.
        let all = CapabilitySets { effective: permitted, permitted, inheritable: programs };
        set_capabilities(None, all).doing(doing)?;
        for one in CapabilitySet::all().iter() {
            // A kernel that does not know a capability has nothing to remove.
            if !keep.contains(one) && capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one).doing(doing)?;
            }
        }
        // no_new_privs keeps programs run by root from regaining capabilities; this also removes those that
        // this process has and they do not need.
        let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
        // Existing bits may be locked.
        let bits = bits | capabilities_secure_bits().doing(doing)?;
        set_capabilities_secure_bits(bits).doing(doing)?;
    }
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: programs };
    set_capabilities(None, sets).doing(doing)?;
    for one in programs.iter() {
        configure_capability_in_ambient_set(one, true).doing(doing)?;
    }
    set_no_new_privs(true).doing(doing)
}
