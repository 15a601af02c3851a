//! Who may change the contents of a folder, and whose files a run may use there.
//!
//! Only root needs these checks: every other user's files are opened with that user's rights.

use rustix::fs::{FileType, Stat};
use rustix::process::geteuid;

/// The user ID that stands for all users without a mapping in this user namespace (`fs.overflowuid`).
const UNMAPPED: u32 = 65_534;
/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The effective user of this process.
fn me() -> u32 {
    geteuid().as_raw()
}

/// Whether this process must distrust what others put into folders: it is root, and not an ordinary user mapped to
/// root in a user namespace with no other user.
fn is_careful() -> bool {
    me() == 0 && !is_alone(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// Whether a `/proc/PID/uid_map` maps a single user, who is not root outside.
fn is_alone(map: &str) -> bool {
    let words: Vec<&str> = map.split_whitespace().collect();
    matches!(words[..], ["0", outside, "1"] if outside != "0")
}

/// The type of a file.
pub(super) fn kind(about: &Stat) -> FileType {
    FileType::from_raw_mode(about.st_mode)
}

/// The name of a file type.
pub(super) fn called(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a folder",
        FileType::Symlink => "a link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::RegularFile | FileType::Unknown => "a file",
    }
}

/// The reason why others may change the contents of a folder, if they may and this user must care.
fn shared(folder: &Stat, me: u32) -> Option<String> {
    let owner = folder.st_uid;
    // As root in a user namespace that maps no other user: the real root is among the unmapped.
    let trusted = owner == me || owner == 0 || (owner == UNMAPPED && !maps_all_users());
    match (me == 0, trusted, folder.st_mode & OTHERS_WRITE) {
        (false, ..) | (true, true, 0) => None,
        (true, false, _) => Some(format!("belongs to user {owner}")),
        (true, true, _) => {
            Some(format!("others may write to (mode {:o})", folder.st_mode & 0o7777))
        }
    }
}

/// Whether this user namespace maps every user.
fn maps_all_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut words = line.split_whitespace().map(str::parse::<u64>);
        let (first, count) = (words.next(), words.nth(1));
        matches!((first, count), (Some(Ok(first)), Some(Ok(count)))
            if first <= UNMAPPED.into() && first + count > UNMAPPED.into())
    })
}

/// The reason not to follow a link, if there is one. `named` means that it is at the very name that the user gave.
pub(super) fn link(link: &Stat, folder: &Stat, named: bool) -> Option<String> {
    is_careful().then(|| link_of(link, folder, named, me()))?
}

fn link_of(link: &Stat, folder: &Stat, named: bool, me: u32) -> Option<String> {
    let owner = link.st_uid;
    match shared(folder, me) {
        Some(why) if owner != me => {
            Some(format!("it is a link of user {owner} in a folder that {why}"))
        }
        // Another user may have made a hard link to a link of ours.
        Some(why) if link.st_nlink != 1 => {
            Some(format!("it is a link with several hard links in a folder that {why}"))
        }
        None if named && me == 0 && owner != me => Some(format!("it is a link of user {owner}")),
        _ => None,
    }
}

/// The reason not to use an existing file or folder, if there is one.
pub(super) fn foreign(about: &Stat, folder: &Stat) -> Option<String> {
    is_careful().then(|| foreign_to(about, folder, me()))?
}

fn foreign_to(about: &Stat, folder: &Stat, me: u32) -> Option<String> {
    let why = shared(folder, me)?;
    let owner = about.st_uid;
    (owner != me).then(|| {
        let what = called(kind(about));
        format!("it is {what} of user {owner}, not of user {me}, in a folder that {why}")
    })
}

/// The reason not to append to a file, if there is one.
pub(super) fn linked(about: &Stat, folder: &Stat) -> Option<String> {
    is_careful().then(|| linked_for(about, folder, me()))?
}

fn linked_for(about: &Stat, folder: &Stat, me: u32) -> Option<String> {
    let why = shared(folder, me)?;
    let several = kind(about) == FileType::RegularFile && about.st_nlink != 1;
    several.then(|| format!("it has several names (hard links), in a folder that {why}"))
}

/// The hint for all of these.
pub(super) const REMEDY: &str =
    "use a folder that only root may write to, or run as another user with --user";

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;
    const USER: u32 = 1500;

    /// A file of this type and mode, with this owner and number of hard links.
    fn about(mode: u32, owner: u32, names: u64) -> Stat {
        let mut about = rustix::fs::stat("/").unwrap();
        (about.st_mode, about.st_uid, about.st_nlink) = (mode, owner, names as _);
        about
    }

    #[test]
    fn root_never_trusts_files_of_others() {
        let link = |owner| about(0o120_777, owner, 1);
        let (of_root, sticky) = (about(0o040_755, ROOT, 2), about(0o041_777, ROOT, 2));
        let (group, home) = (about(0o040_775, ROOT, 2), about(0o040_755, USER, 2));
        for shared in [&sticky, &group, &home] {
            for named in [true, false] {
                let why = link_of(&link(USER), shared, named, ROOT).unwrap();
                assert!(why.contains("a link of user 1500 in a folder that"), "{why}");
                assert_eq!(link_of(&link(ROOT), shared, named, ROOT), None);
            }
            assert!(link_of(&about(0o120_777, ROOT, 2), shared, true, ROOT).is_some());
            let file = |owner, names| about(0o100_644, owner, names);
            assert!(
                foreign_to(&file(USER, 1), shared, ROOT).unwrap().contains("a file of user 1500")
            );
            assert_eq!(foreign_to(&file(ROOT, 2), shared, ROOT), None);
            assert!(linked_for(&file(ROOT, 2), shared, ROOT).is_some());
            assert_eq!(linked_for(&file(ROOT, 1), shared, ROOT), None);
        }
        // Where no other user may write, root is responsible for links on the way; the name itself must be root's.
        assert_eq!(link_of(&link(USER), &of_root, false, ROOT), None);
        assert!(link_of(&link(USER), &of_root, true, ROOT).is_some());
        assert_eq!(foreign_to(&about(0o100_644, USER, 1), &of_root, ROOT), None);
        assert_eq!(linked_for(&about(0o100_644, ROOT, 2), &of_root, ROOT), None);
    }

    #[test]
    fn root_of_a_namespace_of_one_user_is_that_user() {
        assert!(is_alone("         0       1000          1\n"));
        for map in [
            "         0          0 4294967295\n",
            "         0          0          1\n",
            "         0       1000          1\n         1     100000      65536\n",
            "      1000       1000          1\n",
            "",
        ] {
            assert!(!is_alone(map), "{map}");
        }
    }

    #[test]
    fn other_users_are_limited_by_their_own_rights() {
        let sticky = about(0o041_777, ROOT, 2);
        assert_eq!(link_of(&about(0o120_777, 7, 1), &sticky, true, USER), None);
        assert_eq!(foreign_to(&about(0o100_666, 7, 1), &sticky, USER), None);
        assert_eq!(linked_for(&about(0o100_644, USER, 2), &sticky, USER), None);
    }
}
