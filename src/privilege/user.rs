//! Parses a user and group, by name or number.

use nix::unistd::{Gid, Group, Uid, User};

use crate::error::{Doing as _, Error, Result, Setting};

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: Uid,
    /// The user's only group.
    pub gid: Gid,
}

/// Reads `NAME`, `UID`, `NAME:GROUP` or `UID:GID`.
///
/// # Errors
/// If there is no such user or group, or if the number of no known user comes without a group.
pub fn find(text: &str) -> Result<Account> {
    let usage = |why: &str| Error::needs(Setting::User, format!("become user {text}: {why}"));
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let doing = || format!("look up the user {user}");
    let (uid, own) = match user.parse::<u32>() {
        Ok(uid) => {
            let known = User::from_uid(Uid::from_raw(uid)).doing(doing)?;
            (Uid::from_raw(uid), known.map(|user| user.gid))
        }
        Err(_) => {
            let known = User::from_name(user).doing(doing)?;
            let known = known.ok_or_else(|| usage("there is no such user"))?;
            (known.uid, Some(known.gid))
        }
    };
    let gid = match group {
        None => own.ok_or_else(|| usage("no user has that number; add the group: UID:GID"))?,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => Gid::from_raw(gid),
            Err(_) => {
                let known = Group::from_name(group).doing(|| format!("look up the group {group}"));
                known?.ok_or_else(|| usage("there is no such group"))?.gid
            }
        },
    };
    Ok(Account { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_or_number() {
        let root = Account { uid: Uid::from_raw(0), gid: Gid::from_raw(0) };
        for text in ["root", "0", "root:root", "0:0", "root:0"] {
            assert_eq!(find(text).unwrap(), root, "{text}");
        }
        let unknown = Account { uid: Uid::from_raw(4_000_000_000), gid: Gid::from_raw(7) };
        assert_eq!(find("4000000000:7").unwrap(), unknown);
        for (text, expected) in [
            ("no-such-user-here", "no such user"),
            ("root:no-such-group-here", "no such group"),
            ("4000000000", "UID:GID"),
        ] {
            let error = find(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
