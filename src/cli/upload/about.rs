//! The metadata of an uploaded file.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;
use crate::sink::{self, METADATA_PREFIX};

/// Keys of a result's metadata that become entries, under these names. The command line, the contact and addresses are not
/// among them.
const KEYS: &[(&str, &str)] = &[
    ("started", "_time_start"),
    ("ended", "_time_end"),
    ("version", "pathspider_version"),
    ("measurement_sha256", "measurement_sha256"),
    ("params", "measurement_params"),
    ("targets_sha256", "targets_sha256"),
    ("targets_read", "targets_read"),
    ("targets_asked", "targets_asked"),
    ("targets_refused", "targets_refused"),
    ("targets_unfinished", "targets_unfinished"),
    ("records", "records"),
    ("complete", "complete"),
    ("packets_seen", "packets_seen"),
    ("packets_dropped", "packets_dropped"),
    ("packets_dropped_by_interface", "packets_dropped_by_interface"),
    ("shard", "shard"),
    ("vantage", "vantage"),
    ("run_id", "run_id"),
];

/// The JSON object that the user wrote.
pub(super) fn given(path: &Path) -> Result<Map<String, Value>> {
    let refuse = |why: &dyn std::fmt::Display| {
        Error::Usage(format!("read {}: it is not a JSON object: {why}", path.display()))
    };
    let text = files::read_to_string(path).map_err(|why| files::unreadable(path, why))?;
    let object: Map<String, Value> = serde_json::from_str(&text).map_err(|why| refuse(&why))?;
    match object.keys().find(|key| key.starts_with("__")) {
        Some(key) => Err(refuse(&format!("the observatory itself sets {key}"))),
        None => Ok(object),
    }
}

/// The entries made from the metadata that stand next to the file.
pub(super) fn made(file: &Path) -> Result<Map<String, Value>> {
    let path = next_to(file);
    let text = files::read_to_string(&path).map_err(|why| {
        Error::Usage(format!(
            "read {}: {why}; it has the metadata that `run` wrote; or name others with --metadata",
            path.display()
        ))
    })?;
    let stored: Map<String, Value> = serde_json::from_str(&text).map_err(|why| {
        Error::Usage(format!("read {}: it is not a JSON object: {why}", path.display()))
    })?;
    let entry = |(key, name): &(&str, &str)| {
        let value = stored.get(&format!("{METADATA_PREFIX}{key}"))?.clone();
        Some(((*name).to_owned(), value))
    };
    let mut made: Map<String, Value> = KEYS.iter().filter_map(entry).collect();
    // Records in upstream's format have some entries as they are to be sent.
    let own = stored.iter().filter(|(key, _)| key.starts_with('_') && !key.starts_with("__"));
    made.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    match made.contains_key("_time_start") && made.contains_key("_time_end") {
        true => Ok(made),
        false => Err(Error::Usage(format!(
            "read {}: it does not say when the run began and ended; name the metadata with --metadata",
            path.display()
        ))),
    }
}

/// The metadata of a file that may have been compressed since.
fn next_to(file: &Path) -> PathBuf {
    let plain = match file.extension() {
        Some(ending) if ending == "bz2" => file.with_extension(""),
        _ => file.to_owned(),
    };
    sink::metadata_of(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_file_has_the_metadata_of_the_plain_one() {
        let metadata = Path::new("x/a.ndjson.meta.json");
        assert_eq!(next_to(Path::new("x/a.ndjson")), metadata);
        assert_eq!(next_to(Path::new("x/a.ndjson.bz2")), metadata);
    }
}
