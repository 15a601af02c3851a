//! Programs that this one starts, such as `nft`.
//!
//! A process may have capabilities that its caller lacks: those of the program's file (`setcap`). Such a process
//! looks up programs in the system's folders only and gives them its own environment, since the caller controls PATH
//! and variables that name plug-ins.
//!
//! Imports [`error`](crate::error) only.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_ambient_set};

use crate::error::{Error, ErrorKind, Result};

/// The system's own program folders.
const SYSTEM: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Program folders that an ordinary user's PATH often lacks.
const ADMIN: &str = "/usr/sbin:/sbin:/usr/local/sbin";

static RAISED: OnceLock<bool> = OnceLock::new();

/// Whether this process has had, from its start, rights that its caller lacks. The first call must precede dropping
/// any right.
pub fn is_raised() -> bool {
    *RAISED.get_or_init(|| {
        if getuid() != geteuid() || getgid() != getegid() {
            return true;
        }
        // Ambient capabilities are those that the caller chose to pass on. If nothing is known, the process counts as
        // raised.
        let Ok(sets) = capabilities(None) else { return true };
        let passed = |one: &CapabilitySet| capability_is_in_ambient_set(*one).unwrap_or(false);
        !getuid().is_root() && sets.permitted.iter().any(|one| !passed(&one))
    })
}

/// The folders in which programs are looked up: PATH; or the system's, if this process [has rights of its
/// own](is_raised).
pub fn folders() -> Vec<PathBuf> {
    folders_of(is_raised())
}

fn folders_of(raised: bool) -> Vec<PathBuf> {
    let path = match raised {
        true => SYSTEM.into(),
        false => std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
    };
    std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// Finds an administrator's program: in one of the [`folders`], or in folders missing from an ordinary PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let admin = std::env::split_paths(ADMIN).filter(|_| !is_raised());
    let folders = folders().into_iter().chain(admin);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A program that the author of a measurement names, by a path or by a name in one of the [`folders`].
pub fn named(program: &str) -> Command {
    named_in(program, is_raised())
}

fn named_in(program: &str, raised: bool) -> Command {
    if !raised {
        return Command::new(program);
    }
    let found = folders_of(raised).into_iter().map(|folder| folder.join(program));
    let mut command = match program.contains('/') {
        true => Command::new(program),
        // Never by its name alone, which would be looked up in PATH.
        false => Command::new(
            found
                .clone()
                .find(|path| path.is_file())
                .or_else(|| found.clone().next())
                .unwrap_or_default(),
        ),
    };
    clean(&mut command);
    command
}

/// A command for an administrator's program, with English output.
///
/// # Errors
/// If it is not found; `package` is the package that has it.
pub fn command(program: &str, package: &str) -> Result<Command> {
    let found = find(program).ok_or_else(|| missing(program, package))?;
    let mut command = Command::new(found);
    if is_raised() {
        clean(&mut command);
    }
    command.env("LC_ALL", "C");
    Ok(command)
}

/// The error for a program that is not found.
pub fn missing(program: &str, package: &str) -> Error {
    Error::stopped(
        ErrorKind::MissingProgram,
        format!(
            "find the program {program}: it is not installed; install the package {package} (its name in Debian)"
        ),
    )
}

/// A fixed environment, independent of the caller's.
fn clean(command: &mut Command) {
    command.env_clear().env("PATH", SYSTEM).env("LC_ALL", "C");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_process_with_rights_of_its_own_looks_in_the_system_alone() {
        let program = |name| Path::new(named_in(name, true).get_program()).to_owned();
        let of_system =
            |path: &Path| SYSTEM.split(':').any(|folder| path.parent() == Some(Path::new(folder)));
        for name in ["sh", "pathspider-no-such"] {
            assert!(of_system(&program(name)), "{name}");
        }
        // A path is the author's choice, and is not looked up.
        assert_eq!(program("./x"), Path::new("./x"));
        assert_eq!(Path::new(named_in("sh", false).get_program()), Path::new("sh"));
        let command = named_in("sh", true);
        let variables: Vec<_> = command.get_envs().map(|(name, _)| name).collect();
        assert_eq!(variables, ["LC_ALL", "PATH"]);
        assert!(!is_raised() && find("sh").is_some(), "a test has no rights of its own");
    }
}
