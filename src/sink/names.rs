//! Names of files in the folder of a run, and of columns that decide how files are written.

use std::path::{Path, PathBuf};

/// Metadata of the whole run, written when it has ended.
pub const RUN: &str = "run.json";

/// The folder of the parts, in the folder of a run. It has nothing else in it, so that readers of a dataset can open
/// it. Earlier versions had the parts next to the journal.
pub const RECORDS: &str = "records";

/// The folder that will take the place of [`RECORDS`] when it is complete.
pub(super) const NEXT_RECORDS: &str = ".records.next";

/// The column by which rows are sorted where that costs nothing.
pub(super) const SORTED_BY: &str = "position";

/// The columns in which records are looked up; they have a Bloom filter.
pub(super) const LOOKED_UP: [&str; 2] = ["target.ip", "target.name"];

/// The folder of the parts of a run: [`RECORDS`], or the folder of the run itself if an earlier version wrote it.
pub fn records_of(folder: &Path) -> PathBuf {
    let records = folder.join(RECORDS);
    if records.is_dir() { records } else { folder.to_owned() }
}

/// The name of a file.
pub(super) fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The number in the name of a part.
pub(super) fn number(part: &Path) -> Option<u32> {
    part.file_stem()?.to_str()?.strip_prefix("part-")?.parse().ok()
}
