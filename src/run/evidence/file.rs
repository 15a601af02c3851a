//! The files of evidence. A target is one section, written in one call, so a killed run leaves whole sections and at most one
//! that is cut.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Settings;
use crate::error::{Doing as _, Error, Result};
use crate::files::Folder;
use crate::observer::pcapng;

/// Digits of the run's identifier in a name.
const DIGITS: usize = 12;
const ENDING: &str = ".pcapng";

/// Where the packets of a target are.
pub(super) struct Place {
    pub(super) file: String,
    pub(super) packets: u64,
    pub(super) omitted: u64,
}

/// The files of a run.
pub(super) struct Files {
    folder: Folder,
    /// The folder above and its name there, if it was created just now and has no file yet.
    made: Option<(Folder, OsString)>,
    /// The beginning of every name.
    prefix: String,
    open: Option<Open>,
    /// The number of the next file.
    next: u32,
    per_file: usize,
    /// Octets of all files, and the most.
    octets: u64,
    limit: u64,
}

/// The file that grows.
struct Open {
    name: String,
    file: File,
    length: u64,
    targets: usize,
    is_synced: bool,
}

impl Files {
    pub(super) fn open(settings: &Settings, run_id: &str) -> Result<Self> {
        let path = &settings.folder;
        let (folder, made) = Folder::make(path)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let name = path.file_name().filter(|_| made).map(OsStr::to_owned);
        let made = match name {
            Some(name) => Some((Folder::open(above.unwrap_or(Path::new(".")))?, name)),
            None => None,
        };
        let prefix = format!("{}-", &run_id[..DIGITS.min(run_id.len())]);
        let mut files = Self {
            folder,
            made,
            prefix,
            open: None,
            next: 0,
            per_file: settings.per_file,
            octets: 0,
            limit: settings.limit,
        };
        files.look()?;
        // Fail now rather than after the first broken target.
        let probe = OsString::from(format!(".{}probe", files.prefix));
        let can_write = files.folder.create_new(&probe).and_then(|_| files.folder.remove(&probe));
        can_write.map_err(|why| {
            Error::Usage(format!("--evidence {}: cannot write there: {why}", path.display()))
        })?;
        Ok(files)
    }

    /// Finds the files of earlier sessions, and cuts the last one to its whole blocks.
    fn look(&mut self) -> Result<()> {
        let number = |name: &OsString| -> Option<u32> {
            name.to_str()?.strip_prefix(&self.prefix)?.strip_suffix(ENDING)?.parse().ok()
        };
        let names = self.folder.names()?;
        let numbered = names.into_iter().filter_map(|name| Some((number(&name)?, name)));
        let numbered: Vec<(u32, OsString)> = numbered.collect();
        let last = numbered.iter().map(|(number, _)| *number).max();
        self.next = last.map_or(0, |last| last + 1);
        for (number, name) in &numbered {
            let doing = || format!("read {}", self.folder.join(name).display());
            let (file, _) = self.folder.append(name)?;
            let mut length = file.metadata().doing(doing)?.len();
            if Some(*number) == last {
                let head = |at| {
                    let mut head = [0; 8];
                    file.read_exact_at(&mut head, at).map(|()| head)
                };
                let whole = pcapng::whole_blocks(length, head).doing(doing)?;
                if whole < length {
                    file.set_len(whole).and_then(|()| file.sync_all()).doing(doing)?;
                    length = whole;
                }
            }
            self.octets += length;
        }
        Ok(())
    }

    /// Writes the section of a target; returns the name of its file, or `None` if the limit is reached.
    pub(super) fn add(&mut self, section: &[u8]) -> Result<Option<String>> {
        let length = section.len() as u64;
        if self.octets.saturating_add(length) > self.limit {
            return Ok(None);
        }
        if self.open.as_ref().is_some_and(|open| open.targets >= self.per_file) {
            self.sync()?;
            self.open = None;
        }
        if self.open.is_none() {
            self.begin()?;
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        open.is_synced = false;
        if let Err(why) = open.file.write_all(section) {
            // Readers accept a file that was cut, so a failure to cut it does no harm.
            let _ = open.file.set_len(open.length);
            return Err(why)
                .doing(|| format!("write {}", self.folder.join(open.name.as_ref()).display()));
        }
        open.length += length;
        open.targets += 1;
        self.octets += length;
        Ok(Some(open.name.clone()))
    }

    fn begin(&mut self) -> Result<()> {
        let name = format!("{}{:05}{ENDING}", self.prefix, self.next);
        let doing = || format!("write {}", self.folder.join(name.as_ref()).display());
        self.folder.is_in_its_place().doing(doing)?;
        let (file, is_new) = self.folder.append(name.as_ref())?;
        if !is_new {
            return Err(Error::Failed(format!("{}: it exists", doing())));
        }
        self.made = None;
        self.next += 1;
        let open = Open { name, file, length: 0, targets: 0, is_synced: false };
        self.open = Some(open);
        Ok(())
    }

    /// Syncs the open file and its name to disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| !open.is_synced) else { return Ok(()) };
        let doing = || format!("write {}", self.folder.join(open.name.as_ref()).display());
        open.file.sync_data().and_then(|()| self.folder.sync()).doing(doing)?;
        open.is_synced = true;
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some((above, name)) = &self.made {
            // Nothing was written. A failure cannot be reported here.
            let _ = above.remove_folder(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0123456789abcdef0123456789abcdef";

    fn section(packets: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let interface = pcapng::Interface {
            name: "eth0".into(),
            link_type: 1,
            snap_length: 256,
            filter: String::new(),
        };
        pcapng::section(&mut out, "a target", &interface);
        (0..packets).for_each(|time| pcapng::packet(&mut out, time as i64, 60, &[0; 60], "x"));
        out
    }

    fn names(folder: &Path) -> Vec<String> {
        Folder::open(folder)
            .unwrap()
            .names()
            .unwrap()
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    }

    #[test]
    fn files_have_a_number_of_targets_and_a_common_limit() {
        let folder = tempfile::tempdir().unwrap();
        let section = section(3);
        let settings = Settings {
            folder: folder.path().join("evidence"),
            limit: section.len() as u64 * 5,
            per_file: 2,
            ..Settings::default()
        };
        let mut files = Files::open(&settings, RUN).unwrap();
        let added: Vec<_> = (0..6).map(|_| files.add(&section).unwrap()).collect();
        let name = |number: u32| Some(format!("0123456789ab-{number:05}.pcapng"));
        assert_eq!(added, [name(0), name(0), name(1), name(1), name(2), None]);
        drop(files);
        assert_eq!(names(&settings.folder).len(), 3);
        // A session that continues counts what is there.
        let mut files = Files::open(&settings, RUN).unwrap();
        assert_eq!(files.add(&section).unwrap(), None);
        let other = Files::open(&settings, &RUN.replace('0', "f")).unwrap().add(&section);
        assert!(other.unwrap().unwrap().starts_with("f123"), "another run");
    }

    #[test]
    fn the_next_session_cuts_an_incomplete_block_and_begins_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { folder: folder.path().to_owned(), ..Settings::default() };
        let section = section(3);
        let mut files = Files::open(&settings, RUN).unwrap();
        files.add(&section).unwrap();
        drop(files);
        let path = folder.path().join(&names(folder.path())[0]);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(&section[..section.len() - 5]).unwrap();
        let mut files = Files::open(&settings, RUN).unwrap();
        let length = path.metadata().unwrap().len() as usize;
        assert!((section.len()..2 * section.len() - 5).contains(&length), "{length}");
        assert!(files.add(&section).unwrap().unwrap().ends_with("-00001.pcapng"));
    }

    #[test]
    fn a_folder_without_files_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        let settings = Settings { folder: path.clone(), ..Settings::default() };
        let mut files = Files::open(&settings, RUN).unwrap();
        assert!(path.is_dir());
        files.sync().unwrap();
        drop(files);
        assert!(!path.exists());
    }
}
