//! Joins small parts at the end of a run, so that a result has few files, whose metadata are those of the whole run.
//!
//! A reader never sees the records of a part twice or not at all: the new parts are written to a folder of their own,
//! to which parts that stay get a second name, and which then takes the place of the folder of records in one step. The
//! journal says before that step which parts replace which. Whether it happened is seen from the parts: they are the
//! old ones or the new ones, whenever the run is killed.
//!
//! Without a file system that can exchange two names, or without room for a copy, the parts stay as they are.

use std::ffi::OsStr;
use std::path::PathBuf;

use arrow_schema::SchemaRef;
use serde_json::{Value, json};

use super::checked::Part;
use super::folder::{Folder, remove_folder};
use super::names::{NEXT_RECORDS, RECORDS, name};
use super::parquet::ParquetSink;
use super::temporary::Temporary;
use super::{Sink as _, Written};
use crate::error::{Doing as _, Result};
use crate::files;

/// Rows up to which parts are joined; a part with half of them stays as it is.
const GOAL: u64 = 1024 * 1024;

/// Joins the small parts of a folder, and returns the octets of all its parts. `next` is the number of the next part.
///
/// # Errors
/// If the folder of a run cannot be read or written. That parts cannot be joined is not an error.
pub(super) fn join(
    folder: &mut Folder,
    schema: &SchemaRef,
    metadata: &[(String, String)],
    next: &mut u32,
) -> Result<u64> {
    if folder.has_own_records() {
        let mut parts = Vec::new();
        for part in &folder.parts {
            parts.push((part.clone(), folder.stored(part)?.rows()));
        }
        let groups = groups(parts, GOAL);
        let joined = match groups.iter().all(Group::stays) {
            true => Ok(()),
            false => replace(folder, &groups, schema, metadata, next),
        };
        let left = remove_folder(&folder.place, OsStr::new(NEXT_RECORDS));
        if let Err(why) = joined {
            log::warn!("the parts of {} stay as they are: {why}", folder.path.display());
        }
        left.doing(|| format!("remove {}", folder.path.join(NEXT_RECORDS).display()))?;
    }
    folder.parts.iter().map(|part| folder.length(part)).sum()
}

/// Consecutive parts that become one.
struct Group {
    parts: Vec<PathBuf>,
    rows: u64,
}

impl Group {
    fn stays(&self) -> bool {
        self.rows >= GOAL / 2 && self.parts.len() == 1
    }
}

/// Groups of consecutive parts with up to `goal` rows.
fn groups(parts: impl IntoIterator<Item = (PathBuf, u64)>, goal: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (part, rows) in parts {
        match groups.last_mut().filter(|group| group.rows + rows <= goal) {
            Some(group) => {
                group.parts.push(part);
                group.rows += rows;
            }
            None => groups.push(Group { parts: vec![part], rows }),
        }
    }
    groups
}

/// Writes the new folder of records and lets it take the place of the old one.
fn replace(
    folder: &mut Folder,
    groups: &[Group],
    schema: &SchemaRef,
    metadata: &[(String, String)],
    next: &mut u32,
) -> Result<()> {
    let (new, old) = (OsStr::new(NEXT_RECORDS), OsStr::new(RECORDS));
    let doing = || format!("write {}", folder.path.join(NEXT_RECORDS).display());
    folder.is_in_its_place()?;
    folder.place.make_folder(new).doing(doing)?;
    let records = folder.place.folder(new)?;
    let (mut made, mut replaced) = (Vec::new(), Vec::new());
    for group in groups {
        if group.stays() {
            for part in &group.parts {
                let name = part.file_name().unwrap_or_default();
                folder.records.link_to(name, &records).doing(doing)?;
            }
            continue;
        }
        made.push(joined(folder, &records, group, schema, metadata, *next)?);
        *next += 1;
        replaced.extend(group.parts.iter().map(|part| name(part)));
    }
    records.sync().doing(doing)?;
    drop(records);
    let made: Vec<Value> = made.iter().map(Part::to_json).collect();
    folder.note(&json!({ "joined": made, "replaced": replaced }))?;
    folder.place.exchange(new, old).doing(|| format!("exchange {NEXT_RECORDS} and {RECORDS}"))?;
    folder.place.sync().doing(|| format!("write {}", folder.path.display()))?;
    folder.records = folder.place.folder(old)?;
    folder.parts = folder.part_files()?;
    Ok(())
}

/// Writes the records of a group as one part.
fn joined(
    folder: &Folder,
    records: &files::Folder,
    group: &Group,
    schema: &SchemaRef,
    metadata: &[(String, String)],
    number: u32,
) -> Result<Part> {
    let name = format!("part-{number:05}.parquet");
    let file = Temporary::by_way_of(&folder.place, records, &name)?;
    let mut sink = ParquetSink::sorted(file, schema.clone())?;
    for part in &group.parts {
        folder.stored(part)?.read(&[], |batch| sink.write(&batch))?;
    }
    let Written { bytes, sha256, rows, .. } = Box::new(sink).finish(metadata)?;
    Ok(Part { name, rows, digest: Some((bytes, sha256)) })
}

#[cfg(test)]
mod tests;
