//! Dropping privileges.
//!
//! [`hold`] comes first, before anything is opened: it changes the user if asked, and drops all capabilities but two for
//! good. [`require`] reports missing capabilities before anything is changed. [`keep`] comes when everything is open,
//! before the first thread starts: it keeps only what the steps and sockets of the run still need. Capabilities are
//! per thread, and inherited by threads that it starts.

mod capabilities;
pub mod needs;
mod user;

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, User, eaccess, geteuid};
use rustix::thread::CapabilitySet;

use self::needs::Needs;
use crate::error::{Error, Result, Setting};
use crate::measurement::Plan;
use crate::sink;
use crate::step;

/// Becomes the wanted user, and drops all privileges but the capabilities that a run may need.
///
/// With `journal`, creates the folder for journals of that user, which only root can create.
///
/// # Errors
/// If there is no such user, or this process may not change its user.
pub fn hold(wanted: Option<&str>, journal: bool) -> Result<()> {
    let both = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
    if let Some(text) = wanted {
        let account = user::find(text)?;
        if journal && geteuid().is_root() {
            step::make_state_for(account.uid, account.gid);
        }
        capabilities::become_user(&account)?;
    }
    capabilities::keep(both, CapabilitySet::NET_ADMIN)
}

/// The same for a run, which may be in the lab.
///
/// # Errors
/// As [`hold`], and if another user is wanted in the lab.
pub fn hold_run(wanted: Option<&str>, journal: bool, lab: bool) -> Result<()> {
    match (lab, wanted) {
        (false, _) => hold(wanted, journal),
        (true, Some(_)) => {
            Err(Error::needs(Setting::User, "the lab needs no root; start it as that user"))
        }
        // The lab needs the right to create namespaces; its threads can change nothing outside them.
        (true, None) => Ok(()),
    }
}

/// Keeps what the rest of a run needs, and drops everything else for good. Call it when everything is open, before
/// the first thread starts.
pub fn keep(needs: &Needs) -> Result<()> {
    capabilities::keep(needs.lasting(), needs.of_programs())
}

/// Checks that this process has the required capabilities.
///
/// # Errors
/// The missing ones, why they are needed, how to get them, and what works without. Nothing was changed.
pub fn require(needs: &Needs) -> Result<()> {
    let missing = needs.missing(capabilities::permitted()?);
    if missing.is_empty() {
        return Ok(());
    }
    let mut lacking: Vec<String> = Vec::new();
    for name in [needs::NET_RAW, needs::NET_ADMIN] {
        let whats: Vec<&str> =
            missing.iter().filter(|need| need.name == name).map(|need| need.why.as_str()).collect();
        if !whats.is_empty() {
            lacking.push(format!("{name} ({})", whats.join("; ")));
        }
    }
    let mut names: Vec<String> =
        needs.iter().filter(|need| need.required).map(|n| n.name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pathspider"));
    Err(Error::needs(
        Setting::Rights,
        format!(
            "this process lacks {}; nothing was changed. Run it as root (sudo), or give the program these capabilities, for \
             one group alone: sudo chgrp GROUP {program} && sudo chmod 0750 {program} && sudo setcap {}=ep {program}",
            lacking.join(" and "),
            names.join(","),
            program = program.display(),
        ),
    ))
}

/// Checks that the programs used by the steps of a measurement exist, and that `command` steps are allowed.
///
/// # Errors
/// The missing programs, and what to do about it. Nothing was changed.
pub fn check_programs(plan: &Plan, allow_commands: bool) -> Result<()> {
    let context = step::Context { allow_commands, ..step::Context::default() };
    let steps = step::check(plan.configs.iter().flat_map(|config| &config.steps), &context);
    steps.map_err(|why| match why {
        Error::NeedsSetting { .. } => why,
        Error::Stopped { kind, text } => Error::refused(kind, text),
        other => Error::Usage(other.to_string()),
    })
}

/// Checks that the present user can write results to a path.
///
/// # Errors
/// The folder that is not writable, and what to do about it. Nothing was changed.
pub fn check_output(path: &Path) -> Result<()> {
    if path.as_os_str() == "-" {
        return Ok(());
    }
    // Existing folders: that of the file or the results, and that of the parts of a file.
    let folder = path.ancestors().find(|folder| folder.is_dir());
    let empty = path.ancestors().any(|folder| folder.as_os_str().is_empty());
    let folder = folder.or(empty.then_some(Path::new(".")));
    let parts = sink::parts_of(path);
    for folder in folder.into_iter().chain(parts.is_dir().then_some(parts.as_path())) {
        if eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
            return Err(refused(folder));
        }
        let journal = folder.join(sink::JOURNAL);
        if journal.is_file() && eaccess(&journal, AccessFlags::R_OK | AccessFlags::W_OK).is_err() {
            return Err(refused(&journal));
        }
    }
    Ok(())
}

fn refused(path: &Path) -> Error {
    use std::os::unix::fs::MetadataExt as _;
    let me = geteuid();
    let owner = std::fs::metadata(path).map(|about| Uid::from_raw(about.uid())).ok();
    let owner = owner.filter(|owner| *owner != me).map(name);
    let why = match (me.is_root(), &owner) {
        (true, Some(owner)) => {
            format!("it belongs to {owner}, and root's right to write anywhere has been dropped")
        }
        (false, Some(owner)) => {
            format!("it belongs to {owner}, and user {} has no permission", name(me))
        }
        (_, None) => format!("user {} has no permission", name(me)),
    };
    let operation = format!("write results to {}: {why}; nothing was changed", path.display());
    Error::needs(Setting::Output, operation)
}

/// The name of a user, or else the number.
fn name(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}
