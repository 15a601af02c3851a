//! Measurements: the one place where names are resolved to functions, steps and kinds.
//!
//! A measurement is one TOML file. `file` has it as it is written, [`plan`] with its names resolved; `compile` leads
//! from one to the other. All mistakes are reported at once, each with its place and what to write instead.
//! [`find`] finds files.
//!
//! Imports [`chain`](crate::chain), [`connect`](crate::connect), [`step`](crate::step),
//! [`rule`](crate::rule), [`error`](crate::error) and [`field`](crate::field).

mod arithmetic;
mod bounds;
mod checker;
mod columns;
mod command;
mod compile;
mod conditions;
mod confirm;
mod connection;
mod dscp;
mod edns;
mod extends;
mod file;
mod host;
mod limits;
mod locate;
mod metrics;
mod mistake;
mod own;
mod packet;
mod params;
pub mod plan;
mod read;
mod record;
mod remedy;
mod scalar;
mod schema;
mod selection;
mod steps;
mod substitute;
mod suspects;
mod sweep;
mod syntax;
mod texts;
mod traffic_class;
mod words;

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use bounds::{ROUNDS, duration};
pub use columns::about_with;
pub use extends::{Origin, Sources};
pub use locate::{Locate, Sought, is_about_place};
pub use params::{Overrides, Param, ParamValue};
pub use plan::{Configuration, Confirm, Connection, Keep, Plan, Prepare};
pub use read::FORMAT;
pub use record::PREPARE;
pub use scalar::Scalar;
pub use schema::{schema, without_null};
pub use sweep::Swept;

use crate::error::{Doing as _, Error, Report, Result, did_you_mean};
use crate::files;

/// The names of configurations: the baseline and its experiments.
pub use crate::record::CONFIGURATIONS as NAMES;

/// The measurements that are compiled in, by name: every file in `measurements/`.
pub static SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The folders in which measurements are looked up by name, in order.
pub fn folders() -> Vec<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders = vec![PathBuf::from("measurements")];
    folders.extend(set("PATHSPIDER_MEASUREMENTS"));
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    folders.extend(config.map(|config| config.join("pathspider").join("measurements")));
    folders
}

/// Finds a measurement: a path, or a name that is looked up in [`folders`] and then among the
/// [`SHIPPED`]. Returns where it was found and its text.
pub fn find(name_or_path: &str) -> Result<(String, String)> {
    let path = Path::new(name_or_path);
    if path.is_file() {
        return read_file(path);
    }
    let is_name = !name_or_path.is_empty()
        && !name_or_path.contains(['/', '\\'])
        && !name_or_path.ends_with(".toml");
    if !is_name {
        let name = path.file_stem().map_or(String::new(), |name| name.display().to_string());
        return Err(Error::Usage(format!(
            "there is no measurement file {name_or_path}; only a name without .toml ({name}) is looked up in folders"
        )));
    }
    let local = PathBuf::from(format!("{name_or_path}.toml"));
    let local = local.is_file().then_some(local);
    let folders = folders();
    let chosen = |found: (String, String)| {
        if let Some(local) = &local {
            log::warn!(
                "{name_or_path} is {}; write {} for the file in this folder",
                found.0,
                local.display()
            );
        }
        found
    };
    for folder in &folders {
        let path = folder.join(format!("{name_or_path}.toml"));
        if path.is_file() {
            return read_file(&path).map(chosen);
        }
    }
    if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == name_or_path) {
        return Ok(chosen((extends::compiled_in(name), (*text).to_owned())));
    }
    let shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let near = match &local {
        Some(local) => format!("; write {} for the file in this folder", local.display()),
        None => did_you_mean(name_or_path, shipped.iter().copied())
            .map_or(String::new(), |near| format!("; {near}")),
    };
    Err(Error::Usage(format!(
        "there is no measurement {name_or_path}: not in {}, nor compiled in ({}){near}",
        places.join(", "),
        shipped.join(", "),
    )))
}

/// Reads the file of a measurement. Returns its name and its text.
fn read_file(path: &Path) -> Result<(String, String)> {
    let doing = || format!("read {}", path.display());
    let mut text = Vec::new();
    let file = files::regular(path).doing(doing)?;
    file.take(limits::FILE as u64 + 1).read_to_end(&mut text).doing(doing)?;
    if text.len() > limits::FILE {
        return Err(Error::Usage(format!(
            "{}: it is larger than 8 MiB, the limit for measurements; divide it",
            doing()
        )));
    }
    let origin = path.display().to_string();
    match String::from_utf8(text) {
        Ok(text) => Ok((origin, text)),
        Err(error) => {
            let (text, mistake) = syntax::not_utf8(error.as_bytes());
            Err(Report::new(origin, text, vec![mistake]).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_reports_where_it_was_looked_up() {
        let error = find("ecm").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("measurements") && error.contains("did you mean `ecn`?"), "{error}");
        assert!(find("no/such/file.toml").is_err());
        assert!(find("").is_err());
    }

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> =
            files.map(|path| path.file_stem().unwrap().display().to_string()).collect();
        names.sort();
        assert_eq!(SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }
}
