//! Where a run's records go, and what is there already if the run is resumed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use serde_json::{Value, json};

use super::control::CONTROL;
use super::counts::{self, Counts};
use super::port_outcomes::PortOutcomes;
use super::records::Form;
use super::summary;
use super::writer::{POSITION, Totals};
use crate::error::{Error, Result};
use crate::files::Place;
use crate::lab::Tally;
use crate::measurement::Plan;
use crate::sink::{self, Folder, PartsSink, SingleSink, Sink};
use crate::targets::Positions;

/// The columns from which it is known what is done.
const DONE: [&str; 9] = [
    POSITION,
    "target.ip",
    "target.name",
    "zero.started",
    "flags",
    CONTROL,
    "conditions",
    "verdict",
    "insufficient",
];

/// What a run is known by: of two runs with the same identity, one can go on where the other stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Of a measurement, the digest of its targets (nothing if they can be read only once), the columns of its
    /// records, and options of the command line by name.
    pub fn new(
        plan: &Plan,
        targets: Option<&str>,
        columns: &SchemaRef,
        options: &[(&str, String)],
    ) -> Self {
        let columns: Vec<String> = columns.fields().iter().map(|f| format!("{f:?}")).collect();
        let of = [
            ("measurement", summary::sha256(&plan.text)),
            ("values of params", summary::params(plan)),
            ("target list", targets.unwrap_or("read only once").to_owned()),
            ("columns", summary::sha256(&columns.join("\n"))),
        ];
        let options = options.iter().map(|(name, value)| (*name, value.clone()));
        Self(of.into_iter().chain(options).map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Refuses to go on with a run that is another one.
    fn check(&self, stored: &Value, path: &Path) -> Result<()> {
        let word = |key: &str| stored.get(key).and_then(Value::as_str);
        let differing: Vec<String> = self
            .0
            .iter()
            .filter(|(key, value)| word(key) != Some(value))
            .map(|(key, value)| {
                let before = word(key).unwrap_or("not stated");
                format!("its {key} ({before} there, {value} now)")
            })
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "resume {}: this is another run; what differs: {}",
            path.display(),
            differing.join("; ")
        )))
    }
}

/// What is there of a run before it begins.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Positions of the targets that have records.
    pub done: Positions,
    /// What those records say.
    pub totals: Totals,
    /// The counts of earlier sessions.
    pub counts: Counts,
    /// When the run began, if that was earlier.
    pub started: Option<String>,
    /// How often it was begun or resumed before.
    pub sessions: u64,
    /// What its parts have in common with each other, and with no part of another run.
    pub run_id: String,
}

impl Earlier {
    /// Nothing was done; outcomes will be counted by these ports.
    fn new(ports: PortOutcomes) -> Self {
        let run_id = format!("{:032x}", rand::random::<u128>());
        Self { totals: Totals { ports, ..Totals::default() }, run_id, ..Self::default() }
    }
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
    /// What a name means.
    pub fn of(path: &Path, form: &Form) -> Self {
        let path = path.to_owned();
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        match () {
            () if form.is_upstream() || path.as_os_str() == "-" => Output::Lines(path),
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

    /// Whether parts are only the way to a single file.
    pub fn is_single(&self) -> bool {
        matches!(self, Output::Single(_))
    }

    /// Whether its parts are where they were written.
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

    /// Refuses to resume what cannot be resumed, before anything else is done.
    pub fn can_resume(&self) -> Result<()> {
        let refuse =
            |why: &str| Err(Error::Usage(format!("resume {}: {why}", self.path().display())));
        match self.parts() {
            None => refuse("only a run into a folder or a .parquet file can be resumed"),
            Some(parts) if parts.join(sink::JOURNAL).is_file() => Ok(()),
            Some(_) if self.is_single() && self.path().exists() => {
                refuse("it is finished: there is nothing to resume")
            }
            Some(_) => refuse("there is no run; begin one with -o"),
        }
    }

    /// Refuses what others put in the way, before anything else is done. Nothing is made or opened.
    pub fn look(&self) -> Result<()> {
        match self {
            Output::Lines(path) if path.as_os_str() == "-" => return Ok(()),
            Output::Folder(_) => {}
            Output::Single(path) | Output::Lines(path) => drop(Place::of(path)?),
        }
        self.parts().map_or(Ok(()), |parts| sink::can_hold(&parts))
    }

    /// Opens the sink; with `resume`, reads what is there, and tells the tally of it.
    pub fn open(
        &self,
        resume: bool,
        form: &Form,
        identity: &Identity,
        schema: &SchemaRef,
        tally: Option<&mut Tally>,
        ports: PortOutcomes,
    ) -> Result<(Box<dyn Sink>, Earlier)> {
        let Some(parts) = self.parts() else {
            return Ok((form.open(self.path(), schema.clone())?, Earlier::new(ports)));
        };
        let place = match self {
            Output::Single(path) => Some(sink::can_be(path)?),
            _ => None,
        };
        let (mut folder, earlier) = match resume {
            true => earlier(Folder::resume(&parts)?, self.path(), identity, tally, ports)?,
            false => (Folder::begin(&parts, self.path())?, Earlier::new(ports)),
        };
        if earlier.sessions == 0 {
            folder.note(&json!({ "run": identity.0, sink::RUN_ID: earlier.run_id }))?;
        }
        let now = summary::utc(std::time::SystemTime::now());
        let session = json!({ "started": now, "command_line": summary::command_line() });
        let mut line = json!({ "session": session });
        if folder.run_id().is_none() {
            // A run that an earlier version began.
            line[sink::RUN_ID] = earlier.run_id.as_str().into();
        }
        folder.note(&line)?;
        let parts = PartsSink::new(folder, schema.clone(), &counts::KEYS)?;
        let sink: Box<dyn Sink> = match place {
            Some(place) => Box::new(SingleSink::new(place, parts)),
            None => Box::new(parts),
        };
        Ok((sink, earlier))
    }
}

/// Reads what the folder of a run holds.
fn earlier(
    mut folder: Folder,
    path: &Path,
    identity: &Identity,
    mut tally: Option<&mut Tally>,
    ports: PortOutcomes,
) -> Result<(Folder, Earlier)> {
    let Some(run) = folder.lines().iter().find_map(|line| line.get("run")) else {
        return match folder.parts() {
            // It was killed before anything was done.
            [] => Ok((folder, Earlier::new(ports))),
            _ => Err(Error::Usage(format!(
                "resume {}: its {} does not say which run it is",
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
        // Each line has the counts from the beginning on.
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
                if !earlier.done.insert(*position) {
                    return Err(Error::Failed(format!(
                        "resume {}: the target in line {position} has two records",
                        path.display()
                    )));
                }
            }
            earlier.totals.count(&batch, tally.as_deref_mut());
            Ok(())
        })?;
    }
    Ok((folder, earlier))
}

/// The positions of stored records, if they have any that can be.
pub fn positions(batch: &RecordBatch) -> Option<&[u64]> {
    let column = batch.column_by_name(POSITION)?.as_primitive_opt::<UInt64Type>()?;
    let positions: &[u64] = column.values();
    positions.iter().all(|position| *position <= Positions::MOST).then_some(positions)
}
