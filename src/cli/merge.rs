//! `pathspider merge`: puts the results of shards, or of a run in parts, together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::control::Controls;
use super::counts::Counts;
use super::writer::POSITION;
use super::{Format, ending, out};
use crate::barrier::panic_point;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::sink::{self, METADATA_PREFIX, Metadata, Stored, Written};
use crate::targets::Positions;
use crate::words::counted;

/// Put results together: those of shards into one file, or the parts of one run
///
/// The results must be of the same measurement with the same params, and of the same target list, and
/// have a record for every target, none twice; the first thing that does not fit is told, and
/// nothing is written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results of runs: folders of parts, or .parquet files
    #[arg(value_name = "RESULTS", required = true)]
    results: Vec<PathBuf>,

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Put them together also if targets are missing or have several records; the first one of each is kept, and
    /// the file's metadata say how many there were
    #[arg(long)]
    allow_incomplete: bool,

    /// How the summary is written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Metadata in which results must agree, and what each is called.
const SAME: [(&str, &str); 7] = [
    ("measurement_sha256", "measurement"),
    ("params", "values of params"),
    ("connect", "kind of connection (--connect)"),
    ("confirm_rounds", "rounds of a target that looks broken (--confirm)"),
    ("control_share", "share of controls (--control)"),
    ("targets_sha256", "target list"),
    ("port", "port of targets without one (--port)"),
];

/// Positions of a message, at most.
const SHOWN: usize = 100;

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    ending::catch(false)?;
    let inputs: Vec<Input> =
        args.results.iter().map(|path| Input::open(path)).collect::<Result<_>>()?;
    let Some((first, others)) = inputs.split_first() else {
        return Err(Error::Usage("merge: name at least one result".into()));
    };
    others.iter().try_for_each(|other| first.fits(other))?;
    if first.value("targets_sha256").is_none() {
        return Err(Error::Usage(format!(
            "merge {}: it does not say of which target list it is; only a run that has read its list to the end, or \
             from a file, does",
            first.path.display()
        )));
    }
    let coverage = Coverage::of(&inputs)?;
    if !args.allow_incomplete
        && let Some(why) = coverage.faults()
    {
        return Err(Error::Usage(format!(
            "merge: {why}; --allow-incomplete puts together what there is"
        )));
    }
    let mut sink = sink::open(&args.output, first.schema.clone())?;
    let mut seen = Positions::default();
    for input in &inputs {
        input.read(&[], |batch| {
            let new: BooleanArray =
                positions(&batch, input)?.iter().map(|at| Some(seen.insert(*at))).collect();
            let batch =
                filter_record_batch(&batch, &new).map_err(|why| Error::failed("merge", why))?;
            sink.write(&batch)
        })?;
    }
    let metadata = metadata(&inputs, &coverage);
    let written = sink.finish(&metadata)?;
    if let Some(why) = coverage.faults() {
        log::warn!("{why}");
    }
    print(args, inputs.len(), &coverage, &written)?;
    Ok(Exit::Done)
}

/// The results of one run.
struct Input {
    path: PathBuf,
    files: Vec<PathBuf>,
    schema: SchemaRef,
    metadata: BTreeMap<String, String>,
}

impl Input {
    fn open(path: &Path) -> Result<Self> {
        let files = match path.is_dir() {
            true => sink::parquet_files(path)?,
            false => vec![path.to_owned()],
        };
        let Some(last) = files.last() else {
            return Err(Error::Usage(format!(
                "merge {}: no Parquet files are there",
                path.display()
            )));
        };
        let stored = Stored::open(last)?;
        let schema = stored.schema().clone();
        // Metadata of the file would otherwise stand in the schema, too.
        let schema = SchemaRef::new(Schema::new(schema.fields().clone()));
        let run = path.join(sink::RUN);
        let metadata = match run.is_file() {
            true => read_run(&run)?,
            // A file, or a folder whose run did not come to an end.
            false => stored.metadata(),
        };
        let metadata = metadata.into_iter().collect();
        Ok(Self { path: path.to_owned(), files, schema, metadata })
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    fn is_complete(&self) -> bool {
        self.value("complete") == Some("true")
    }

    /// Refuses another result that is not of the same run.
    fn fits(&self, other: &Input) -> Result<()> {
        let refuse = |what: &str, here: &str, there: &str| {
            let (a, b) = (self.path.display(), other.path.display());
            Err(Error::Usage(format!(
                "merge: {a} and {b} do not belong together: they differ in their {what} ({here}, {there})"
            )))
        };
        for (key, what) in SAME {
            let (here, there) = (self.value(key), other.value(key));
            if here != there {
                return refuse(what, here.unwrap_or("not stated"), there.unwrap_or("not stated"));
            }
        }
        if self.schema != other.schema {
            let columns =
                |input: &Input| format!("version {}", input.value("version").unwrap_or("?"));
            return refuse("columns", &columns(self), &columns(other));
        }
        Ok(())
    }

    fn read(
        &self,
        columns: &[&str],
        mut each: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let mut each = |batch| {
            ending::check(|| "merge: nothing was written".to_owned())?;
            panic_point("merge");
            each(batch)
        };
        self.files.iter().try_for_each(|file| Stored::open(file)?.read(columns, &mut each))
    }
}

fn read_run(path: &Path) -> Result<Metadata> {
    let text = fs::read_to_string(path).doing(|| format!("read {}", path.display()))?;
    let object: BTreeMap<String, String> = serde_json::from_str(&text)
        .map_err(|why| Error::Usage(format!("read {}: {why}", path.display())))?;
    let own = object
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(METADATA_PREFIX)?.to_owned(), value)));
    Ok(own.collect())
}

fn positions<'a>(batch: &'a RecordBatch, input: &Input) -> Result<&'a [u64]> {
    super::output::positions(batch).ok_or_else(|| {
        Error::Usage(format!("merge {}: its records have no positions", input.path.display()))
    })
}

/// Which targets have records.
struct Coverage {
    /// Targets of the list, if any of the runs has read all of it.
    targets: Option<u64>,
    /// The last position of the list, and those without a target.
    list: Option<(u64, Positions)>,
    /// Those that have no record because they must not be asked.
    withheld: Positions,
    /// Those that have no record.
    missing: Positions,
    /// Those that have several.
    doubled: Positions,
    /// Runs that did not come to an end.
    unfinished: Vec<PathBuf>,
}

impl Coverage {
    fn of(inputs: &[Input]) -> Result<Self> {
        let mut list: Option<(u64, Positions)> = None;
        let mut withheld = Vec::new();
        for input in inputs {
            // It is there if the run has read its list to the end.
            let Some(last) = input.number("targets_last_position") else { continue };
            let parse = |key: &str| {
                let path = input.path.display();
                Positions::parse(input.value(key).unwrap_or_default(), last)
                    .ok_or_else(|| Error::Usage(format!("merge {path}: its {key} cannot be read")))
            };
            let vacant = parse("targets_no_target")?;
            withheld.extend(parse("targets_withheld")?.iter());
            match &list {
                None => list = Some((last, vacant)),
                Some(known) if *known == (last, vacant) => {}
                Some(_) => {
                    return Err(Error::Usage(format!(
                        "merge {}: of the same list it has read other targets than the others: another version of \
                         pathspider wrote it",
                        input.path.display()
                    )));
                }
            }
        }
        let (mut seen, mut doubled) = (Positions::default(), Positions::default());
        for input in inputs {
            input.read(&[POSITION], |batch| {
                for position in positions(&batch, input)? {
                    if !seen.insert(*position) {
                        doubled.insert(*position);
                    }
                }
                Ok(())
            })?;
        }
        let (last, vacant) = list.clone().unwrap_or_default();
        let has_target = |at: u64| (1..=last).contains(&at) && !vacant.contains(at);
        if list.is_some()
            && let Some(at) = seen.iter().find(|at| !has_target(*at))
        {
            return Err(Error::Usage(format!(
                "merge: there is a record of line {at}, where the target list has no target"
            )));
        }
        // One of the runs may have asked whom another one left alone.
        let withheld: Positions =
            withheld.into_iter().filter(|at| has_target(*at) && !seen.contains(*at)).collect();
        let has_none =
            |at: &u64| !vacant.contains(*at) && !seen.contains(*at) && !withheld.contains(*at);
        let unfinished = inputs.iter().filter(|input| !input.is_complete());
        Ok(Self {
            targets: list.is_some().then(|| last - vacant.len()),
            list,
            missing: (1..=last).filter(has_none).collect(),
            withheld,
            doubled,
            unfinished: unfinished.map(|input| input.path.clone()).collect(),
        })
    }

    /// What is wrong with it.
    fn faults(&self) -> Option<String> {
        let mut faults = Vec::new();
        for (positions, what) in
            [(&self.missing, "ha[s|ve] no record"), (&self.doubled, "ha[s|ve] several records")]
        {
            if !positions.is_empty() {
                let what = format!("target[s] {what} (line[s] {})", shown(positions));
                faults.push(counted(positions.len(), &what));
            }
        }
        if self.targets.is_none() {
            faults.push("none of the runs has read its target list to the end".to_owned());
        }
        // That it was broken off is no fault if nothing is missing for it.
        if !faults.is_empty() {
            let paths = self.unfinished.iter().map(|path| path.display());
            faults.extend(paths.map(|path| format!("{path} was not finished")));
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

/// Ranges for a message: not all, if there are many.
fn shown(positions: &Positions) -> String {
    let text = positions.to_string();
    match text.match_indices(',').nth(SHOWN) {
        Some((at, _)) => format!("{}, ...", &text[..at]),
        None => text,
    }
}

/// The metadata of the whole: what all agree in, the sum of what is counted, and where the rest came from.
fn metadata(inputs: &[Input], coverage: &Coverage) -> Metadata {
    let mut all = inputs.first().map(|input| input.metadata.clone()).unwrap_or_default();
    all.retain(|key, value| inputs.iter().all(|input| input.value(key) == Some(value)));
    // What is of one run only, even if all agree in it.
    for key in ["shard", "targets_read", "targets_asked", "targets_refused", "sessions"] {
        all.remove(key);
    }
    let mut sum = Counts::default();
    for input in inputs {
        sum += &Counts::stored(|key| input.number(key));
    }
    all.extend(sum.metadata());
    let from = inputs.iter().map(|input| {
        let of = [
            "shard",
            "complete",
            "records",
            "started",
            "ended",
            "interface",
            "kernel",
            "command_line",
        ];
        let of = of.iter().filter_map(|key| Some(((*key).to_owned(), input.value(key)?.into())));
        let mut of: serde_json::Map<String, Value> = of.collect();
        of.insert("path".into(), input.path.display().to_string().into());
        Value::Object(of)
    });
    let mut flagged: BTreeMap<String, u64> = BTreeMap::new();
    for input in inputs {
        let of: Option<BTreeMap<String, u64>> =
            input.value("records_flagged").and_then(|text| serde_json::from_str(text).ok());
        for (flag, count) in of.unwrap_or_default() {
            *flagged.entry(flag).or_default() += count;
        }
    }
    let controls = Controls::together(inputs.iter().filter_map(|input| input.value("controls")));
    all.extend(controls.map(|controls| ("controls".to_owned(), controls.to_string())));
    let ends = |key: &str| {
        inputs.iter().filter_map(|input| input.value(key).map(str::to_owned)).collect::<Vec<_>>()
    };
    let own = [
        ("merged_from", Value::Array(from.collect()).to_string()),
        ("records_flagged", json!(flagged).to_string()),
        ("complete", coverage.faults().is_none().to_string()),
        ("targets_missing", coverage.missing.to_string()),
        ("targets_doubled", coverage.doubled.to_string()),
        ("started", ends("started").into_iter().min().unwrap_or_default()),
        ("ended", ends("ended").into_iter().max().unwrap_or_default()),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value)));
    if let Some((last, vacant)) = &coverage.list {
        let withheld = &coverage.withheld;
        let records = last - vacant.len() - withheld.len() - coverage.missing.len();
        for (key, value) in [
            ("targets_last_position", last.to_string()),
            ("targets_no_target", vacant.to_string()),
            ("targets_withheld", withheld.to_string()),
            ("records", records.to_string()),
        ] {
            all.insert(key.to_owned(), value);
        }
    }

    all.into_iter().collect()
}

/// Where the records themselves go to standard output, this goes to standard error.
fn print(args: &Args, results: usize, coverage: &Coverage, written: &Written) -> Result<()> {
    let text = match args.format {
        Format::Json => json!({
            "results": results,
            "targets": coverage.targets,
            "records": written.rows,
            "missing": coverage.missing.len(),
            "withheld": coverage.withheld.len(),
            "doubled": coverage.doubled.len(),
            "complete": coverage.faults().is_none(),
            "output": written.path.display().to_string(),
        })
        .to_string(),
        Format::Text => {
            let of =
                coverage.targets.map(|targets| format!(" of {}", counted(targets, "target[s]")));
            format!(
                "{}{} from {}\nResults: {} ({})",
                counted(written.rows, "record[s]"),
                of.unwrap_or_default(),
                counted(results as u64, "result[s]"),
                written.path.display(),
                HumanBytes(written.bytes)
            )
        }
    };
    if args.output.as_os_str() == "-" {
        eprintln!("{text}");
        return Ok(());
    }
    out::print(&(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, UInt64Array};
    use std::sync::Arc;

    /// Results of a list of three lines, the first of which is a header.
    fn input(folder: &Path, name: &str, positions: &[u64], metadata: &[(&str, &str)]) -> Input {
        let path = folder.join(name);
        let column: ArrayRef = Arc::new(UInt64Array::from(positions.to_vec()));
        let batch = RecordBatch::try_from_iter([(POSITION, column)]).unwrap();
        let mut sink = sink::open(&path, batch.schema()).unwrap();
        sink.write(&batch).unwrap();
        let known = [("targets_last_position", "3"), ("targets_no_target", "1")];
        let metadata = known.iter().chain(metadata);
        let metadata = metadata.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        sink.finish(&metadata.collect::<Metadata>()).unwrap();
        Input::open(&path).unwrap()
    }

    #[test]
    fn coverage_is_of_the_lines_that_have_targets() {
        let folder = tempfile::tempdir().unwrap();
        let input = |name, positions: &[u64]| input(folder.path(), name, positions, &[]);
        let of = |inputs: &[Input]| Coverage::of(inputs).map(|coverage| coverage.faults());
        let [two, three, both] = [&[2][..], &[3], &[2, 3]];
        assert_eq!(of(&[input("a.parquet", two), input("b.parquet", three)]).unwrap(), None);
        let faults = of(&[input("a.parquet", two), input("b.parquet", two)]).unwrap().unwrap();
        assert!(faults.contains("1 target has no record (line 3)"), "{faults}");
        assert!(faults.contains("1 target has several records (line 2)"), "{faults}");
        for foreign in [1, 4] {
            let why = of(&[input("a.parquet", both), input("b.parquet", &[foreign])]).unwrap_err();
            assert!(why.to_string().contains(&format!("line {foreign},")), "{why}");
        }
    }

    #[test]
    fn what_is_counted_is_added_up_and_what_differs_is_not_claimed_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name, position, interface| {
            let metadata = [("packets_seen", "20"), ("interface", interface), ("kernel", "x")];
            input(folder.path(), name, &[position], &metadata)
        };
        let inputs = [of("a.parquet", 2, "eth0"), of("b.parquet", 3, "eth1")];
        let coverage = Coverage::of(&inputs).unwrap();
        let metadata: BTreeMap<_, _> = metadata(&inputs, &coverage).into_iter().collect();
        assert_eq!((&*metadata["packets_seen"], &*metadata["records"]), ("40", "2"));
        assert_eq!((&*metadata["kernel"], metadata.get("interface")), ("x", None));
        assert!(metadata["merged_from"].contains("eth1"));
    }
}
