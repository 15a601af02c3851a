//! Names of the files in a folder of parts.

use std::path::Path;

/// Metadata of the whole run, written when it has ended.
pub const RUN: &str = "run.json";

/// The name of a file.
pub(super) fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The number in the name of a part.
pub(super) fn number(part: &Path) -> Option<u32> {
    part.file_stem()?.to_str()?.strip_prefix("part-")?.parse().ok()
}
