//! The output of a run, and the records that it already holds if the run is resumed.

use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use serde_json::{Value, json};

use super::about;
use super::controls::CONTROL;
use super::counts::{self, Counts};
use super::events::Events;
use super::form::Form;
use super::identity::Identity;
use super::port_outcomes::PortOutcomes;
use super::record::{POSITION, positions};
use super::spec::Spec;
use super::totals::Totals;
use crate::error::{Error, Result};
use crate::files::Place;
use crate::rule::METRIC;
use crate::sink::{self, Folder, PartsSink, SingleSink, Sink};
use crate::targets::Positions;

/// The columns needed to find out what is done.
const DONE: [&str; 10] = [
    POSITION,
    "target.ip",
    "target.name",
    "zero.started",
    "flags",
    CONTROL,
    "conditions",
    "verdict",
    "insufficient",
    METRIC,
];

/// What earlier sessions of a run left.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Positions of the targets that have records.
    pub done: Positions,
    /// Totals of these records.
    pub totals: Totals,
    /// The counts of earlier sessions.
    pub counts: Counts,
    /// When the run first began, if it was begun before.
    pub started: Option<String>,
    /// Number of earlier sessions.
    pub sessions: u64,
    /// The identifier that all parts of the run share.
    pub run_id: String,
}

impl Earlier {
    /// No earlier session; outcomes will be counted in `ports`.
    fn new(ports: PortOutcomes) -> Self {
        let run_id = uuid(rand::random());
        Self { totals: Totals { ports, ..Totals::default() }, run_id, ..Self::default() }
    }
}

/// A random UUID (RFC 9562, 5.4): version 4 in the 13th digit, variant 10 in the first bits of the 17th.
fn uuid(random: u128) -> String {
    let of_version = random & !(0xf << 76) | 0x4 << 76;
    let bits = of_version & !(0b11 << 62) | 0b10 << 62;
    let part = |shift: u32, digits: usize| {
        let part = bits >> shift & ((1 << (4 * digits)) - 1);
        format!("{part:0digits$x}")
    };
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

/// Where the records go.
#[derive(Debug)]
pub enum Output {
    /// A folder of parts.
    Folder(PathBuf),
    /// A single Parquet file, made of parts at the end.
    Single(PathBuf),
    /// A stream or a file of lines.
    Lines(PathBuf),
}

impl Output {
    /// The output that a path names.
    pub fn of(path: &Path, form: Form) -> Self {
        let path = path.to_owned();
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        match () {
            () if form != Form::Ours || path.as_os_str() == "-" => Output::Lines(path),
            () if slash || path.is_dir() => Output::Folder(path),
            () if parquet => Output::Single(path),
            () => Output::Lines(path),
        }
    }

    /// The name that the user gave.
    pub fn path(&self) -> &Path {
        let (Output::Folder(path) | Output::Single(path) | Output::Lines(path)) = self;
        path
    }

    /// Whether parts are merged into a single file at the end.
    pub fn is_single(&self) -> bool {
        matches!(self, Output::Single(_))
    }

    /// Whether its parts exist.
    pub fn is_there(&self) -> bool {
        let parts =
            if self.is_single() { sink::parts_of(self.path()) } else { self.path().to_owned() };
        parts.is_dir()
    }

    /// Whether records go into parts.
    pub fn has_parts(&self) -> bool {
        self.parts().is_some()
    }

    /// The folder of its parts.
    fn parts(&self) -> Option<PathBuf> {
        match self {
            Output::Folder(path) => Some(path.clone()),
            Output::Single(path) => Some(sink::parts_of(path)),
            Output::Lines(_) => None,
        }
    }

    /// Fails if the output cannot be resumed, before anything else is done.
    pub fn can_resume(&self) -> Result<()> {
        let refuse =
            |why: &str| Err(Error::Usage(format!("resume {}: {why}", self.path().display())));
        match self.parts() {
            None => refuse("only a run that writes to a folder or a .parquet file can be resumed"),
            Some(parts) if parts.join(sink::JOURNAL).is_file() => Ok(()),
            Some(_) if self.is_single() && self.path().exists() => {
                refuse("it is finished: there is nothing to resume")
            }
            Some(_) => refuse("there is no run; begin one with -o"),
        }
    }

    /// Fails if the path is unsafe to write to, before anything else is done. Creates and opens nothing.
    pub fn look(&self) -> Result<()> {
        match self {
            Output::Lines(path) if path.as_os_str() == "-" => return Ok(()),
            Output::Folder(_) => {}
            Output::Single(path) | Output::Lines(path) => drop(Place::of(path)?),
        }
        self.parts().map_or(Ok(()), |parts| sink::can_hold(&parts))
    }

    /// Opens the sink. If the run is resumed, reads and reports the existing records.
    pub(super) fn open(
        &self,
        spec: &Spec,
        identity: &Identity,
        schema: &SchemaRef,
        events: &dyn Events,
        ports: PortOutcomes,
    ) -> Result<(Box<dyn Sink>, Earlier)> {
        let Some(parts) = self.parts() else {
            return Ok((spec.form.open(self.path(), schema.clone())?, Earlier::new(ports)));
        };
        let place = match self {
            Output::Single(path) => Some(sink::can_be(path)?),
            _ => None,
        };
        let (mut folder, earlier) = match spec.resume {
            true => earlier(Folder::resume(&parts)?, self.path(), identity, events, ports)?,
            false => (Folder::begin(&parts, self.path())?, Earlier::new(ports)),
        };
        if earlier.sessions == 0 {
            folder.note(&json!({ "run": identity.0, sink::RUN_ID: earlier.run_id }))?;
        }
        let now = about::utc(std::time::SystemTime::now());
        let session = json!({ "started": now, "command_line": spec.invoked_by });
        let mut line = json!({ "session": session });
        if folder.run_id().is_none() {
            // An earlier version started this run.
            line[sink::RUN_ID] = earlier.run_id.as_str().into();
        }
        folder.note(&line)?;
        let parts = PartsSink::new(folder, schema.clone(), &counts::KEYS)?;
        let sink: Box<dyn Sink> = match place {
            Some(place) => Box::new(SingleSink::new(place, parts)),
            None => Box::new(parts.compacting()),
        };
        Ok((sink, earlier))
    }
}

/// Reads the folder of a run.
fn earlier(
    mut folder: Folder,
    path: &Path,
    identity: &Identity,
    events: &dyn Events,
    ports: PortOutcomes,
) -> Result<(Folder, Earlier)> {
    let Some(run) = folder.lines().iter().find_map(|line| line.get("run")) else {
        return match folder.parts() {
            // The run was killed before it wrote anything.
            [] => Ok((folder, Earlier::new(ports))),
            _ => Err(Error::Usage(format!(
                "resume {}: its {} does not identify the run",
                path.display(),
                sink::JOURNAL
            ))),
        };
    };
    identity.check(run, path)?;
    folder.repair(&counts::KEYS)?;
    let mut earlier = Earlier::new(ports);
    if let Some(run_id) = folder.run_id() {
        earlier.run_id = run_id.to_owned();
    }
    let outcomes = earlier.totals.ports.columns();
    let columns: Vec<&str> =
        DONE.iter().copied().chain(outcomes.iter().map(String::as_str)).collect();
    for line in folder.lines() {
        if let Some(session) = line.get("session") {
            earlier.sessions += 1;
            let started = session.get("started").and_then(Value::as_str);
            earlier.started = earlier.started.or(started.map(str::to_owned));
        }
        // The counts of each line are cumulative.
        if let Some(counts) = line.get("counts") {
            earlier.counts = Counts::stored(|key| counts.get(key)?.as_str()?.parse().ok());
        }
    }
    for part in folder.parts() {
        folder.stored(part)?.read(&columns, |batch| {
            let Some(positions) = positions(&batch) else {
                let part = part.display();
                return Err(Error::Usage(format!("resume {part}: its records have no positions")));
            };
            for position in positions {
                if !earlier.done.insert(position) {
                    return Err(Error::Failed(format!(
                        "resume {}: the target in line {position} has two records",
                        path.display()
                    )));
                }
            }
            events.records(&batch);
            earlier.totals.count(&batch);
            Ok(())
        })?;
    }
    Ok((folder, earlier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_random_uuids() {
        let counting = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
        assert_eq!(uuid(counting), "00112233-4455-4677-8899-aabbccddeeff");
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
