//! Targets that opted out while a campaign runs: the coordinator adds them, and agents keep them for good.
//!
//! Adding needs no signature, so whoever can reach the hub can protect a target. Nothing can be removed through the hub:
//! only the owner of a host can, by editing the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::{VERSION, parse, to_text};
use super::store;
use super::transport::{AgentSide, HubSide, keys};
use crate::error::{Error, Result};
use crate::targets::OptOuts;

/// The file in the folder of an agent.
const NAME: &str = "optout";

/// What the coordinator says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The version of messages.
    pub v: u32,
    /// Counts the changes.
    pub version: u64,
    /// Prefixes, addresses and names, as in a file for `--exclude`.
    pub lines: BTreeSet<String>,
}

/// The list at the hub.
///
/// # Errors
/// If the hub does not answer.
pub fn list(hub: &dyn HubSide) -> Result<List> {
    let octets = hub.control(keys::OPTOUT)?;
    Ok(octets.map(|octets| parse(&octets)).transpose()?.unwrap_or_default())
}

/// Adds lines to the list at the hub; returns the new list. `scratch` is a file to try them in.
///
/// # Errors
/// If a line is not a prefix, an address or a name.
pub fn add(hub: &dyn HubSide, lines: &[String], scratch: &Path) -> Result<List> {
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    store::write(scratch, text.as_bytes())?;
    let checked = OptOuts::read(&[scratch]);
    store::remove(scratch)?;
    checked.map_err(|why| Error::Usage(format!("opt out: {why}")))?;
    let mut list = list(hub)?;
    list.lines.extend(lines.iter().map(|line| line.trim().to_owned()));
    list.v = VERSION;
    list.version += 1;
    hub.set_control(keys::OPTOUT, to_text(&list)?.into_bytes())?;
    Ok(list)
}

/// The file of an agent, which exists.
///
/// # Errors
/// If it cannot be written.
pub fn file(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(NAME);
    if store::read(&path)?.is_none() {
        store::write(
            &path,
            b"# Added by the hub. Lines are removed only by the owner of this host.\n",
        )?;
    }
    Ok(path)
}

/// Takes what the coordinator says into the file of an agent; whether it has changed, and the version.
///
/// # Errors
/// If the hub does not answer, or if the list cannot be read: then nothing may be probed.
pub fn take(hub: &dyn AgentSide, folder: &Path) -> Result<(bool, u64)> {
    let Some(octets) = hub.control(keys::OPTOUT)? else { return Ok((false, 0)) };
    let list: List = parse(&octets)?;
    let path = file(folder)?;
    let mut text = store::text(&path)?;
    let known: BTreeSet<&str> = text.lines().map(str::trim).collect();
    let new: Vec<&String> =
        list.lines.iter().filter(|line| !known.contains(line.as_str())).collect();
    if new.is_empty() {
        return Ok((false, list.version));
    }
    let added = new.iter().map(|line| format!("{line}\n")).collect::<String>();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &added;
    let tried = folder.join(format!("{NAME}.new"));
    store::write(&tried, text.as_bytes())?;
    OptOuts::read(&[&tried])?;
    store::write(&path, text.as_bytes())?;
    store::remove(&tried)?;
    Ok((true, list.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::folder::{FolderAgent, FolderHub};

    #[test]
    fn lines_are_added_and_never_removed() {
        let home = tempfile::tempdir().unwrap();
        let hub = FolderHub::make(home.path()).unwrap();
        hub.publish("c", "0-1", Vec::new()).unwrap();
        let agent = FolderAgent::open(home.path(), home.path(), "a").unwrap();
        let scratch = home.path().join("scratch");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(take(&agent, folder.path()).unwrap(), (false, 0));
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(add(&hub, &words(&["192.0.2.0/33"]), &scratch).is_err());
        assert_eq!(list(&hub).unwrap().version, 0, "nothing of a wrong list is added");
        add(&hub, &words(&["192.0.2.0/24"]), &scratch).unwrap();
        assert_eq!(take(&agent, folder.path()).unwrap(), (true, 1));
        assert_eq!(take(&agent, folder.path()).unwrap(), (false, 1));
        add(&hub, &words(&[".example.org", "192.0.2.0/24"]), &scratch).unwrap();
        assert_eq!(take(&agent, folder.path()).unwrap(), (true, 2));
        // A hub that forgets takes nothing back.
        let empty = List { v: 1, version: 9, lines: BTreeSet::new() };
        hub.set_control(keys::OPTOUT, to_text(&empty).unwrap().into_bytes()).unwrap();
        assert_eq!(take(&agent, folder.path()).unwrap(), (false, 9));
        let text = store::text(&file(folder.path()).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["192.0.2.0/24", ".example.org"]);
        let out = OptOuts::read(&[file(folder.path()).unwrap()]).unwrap();
        assert!(out.has("192.0.2.7".parse().ok(), None) && out.has(None, Some("www.example.org")));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error_and_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let hub = FolderHub::make(home.path()).unwrap();
        hub.publish("c", "0-1", Vec::new()).unwrap();
        let agent = FolderAgent::open(home.path(), home.path(), "a").unwrap();
        let before = store::text(&file(home.path()).unwrap()).unwrap();
        let wrong = List { v: 1, version: 1, lines: BTreeSet::from(["192.0.2.0/99".to_owned()]) };
        hub.set_control(keys::OPTOUT, to_text(&wrong).unwrap().into_bytes()).unwrap();
        assert!(take(&agent, home.path()).is_err());
        hub.set_control(keys::OPTOUT, b"?".to_vec()).unwrap();
        assert!(take(&agent, home.path()).is_err());
        assert_eq!(store::text(&file(home.path()).unwrap()).unwrap(), before);
    }
}
