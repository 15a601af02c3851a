//! Shipped measurements in situations of the lab's prober: what each run said, held to what is true there. For the test
//! that holds them to it and for the bench that prints them as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::support::parallel::at_once;
use crate::support::pathspider;

/// Runs at the same time: most of one is waiting for targets that are silent.
const AT_ONCE: usize = 6;
/// A situation whose runs take the processors from all others, so that few of them go on at the same time.
const BUSY: &str = "starved";
const BUSY_AT_ONCE: usize = 1;

/// By host and family (true: IPv6): what is true, and what is true too but rests on packets that may come too late.
type Truth = BTreeMap<(String, bool), [BTreeSet<String>; 2]>;

/// A situation as `lab list` shows it.
#[derive(Debug, Clone)]
pub struct Situation {
    pub name: String,
    /// Whether labels are missing because of it.
    absent: String,
    unconfirmed: bool,
}

/// What a measurement said in a situation.
#[derive(Debug, Default, Clone)]
pub struct Cell {
    /// Labels that are true, over all targets.
    expected: u64,
    /// Those of them that were not given.
    absent: u64,
    /// Those of them whose records are not flagged: not because of a busy machine.
    unexplained: u64,
    /// Every wrong label: which, of which host, and how often. Also a run that failed.
    wrong: BTreeMap<String, u64>,
}

impl Cell {
    /// Labels that contradict the truth.
    fn wrongs(&self) -> u64 {
        self.wrong.values().sum()
    }
}

/// What was said, by situation and measurement.
pub type Matrix = BTreeMap<(String, String), Cell>;

/// Every situation that the program knows, in its order.
pub fn situations() -> Vec<Situation> {
    let list = list(&[]);
    let rows = list["probers"].as_array().unwrap().iter().map(|row| Situation {
        name: row["name"].as_str().unwrap().to_owned(),
        absent: row["absent"].as_str().unwrap().to_owned(),
        unconfirmed: row["unconfirmed"].as_bool().unwrap(),
    });
    rows.collect()
}

/// Runs every measurement in every situation.
pub fn all(situations: &[Situation], measurements: &[String]) -> Matrix {
    let folder = tempfile::tempdir().unwrap();
    let truths: BTreeMap<&str, Value> = situations
        .iter()
        .map(|row| (row.name.as_str(), list(&["--lab-prober", &row.name])))
        .collect();
    let pairs = situations.iter().flat_map(|row| measurements.iter().map(move |name| (row, name)));
    let (busy, idle): (Vec<_>, Vec<_>) = pairs.partition(|(row, _)| row.name == BUSY);
    let cell = |(row, name): (&Situation, &String)| {
        let cell = measure(row, name, &truth(&truths[row.name.as_str()], name), folder.path());
        ((row.name.clone(), name.clone()), cell)
    };
    // Busy ones beside others, so that the processors have something to do while they wait.
    thread::scope(|scope| {
        let first = scope.spawn(|| at_once(BUSY_AT_ONCE, busy, cell));
        let mut matrix: Matrix = at_once(AT_ONCE, idle, cell).into_iter().collect();
        matrix.extend(first.join().expect("no run panics"));
        matrix
    })
}

/// One run over the lab.
fn measure(situation: &Situation, measurement: &str, truth: &Truth, folder: &Path) -> Cell {
    let out = folder.join(format!("{measurement}-{}.ndjson", situation.name));
    let mut run = pathspider();
    run.args(["run", measurement, "--quiet", "--lab", "--lab-prober", &situation.name, "-o"]);
    let output = run.arg(&out).output().unwrap();
    let mut cell = Cell::default();
    // 3: something was lost, and the run says so. 4: a label is wrong, which is found below.
    if !matches!(output.status.code(), Some(0 | 3 | 4)) {
        let said = String::from_utf8_lossy(&output.stderr);
        cell.wrong.insert(format!("the run failed: {}: {}", output.status, said.trim()), 1);
    }
    let mut seen = 0;
    for line in fs::read_to_string(&out).unwrap_or_default().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let host = record["target"]["name"].as_str().unwrap().to_owned();
        let v6 = record["target"]["ip"].as_str().unwrap().contains(':');
        let family = if v6 { "IPv6" } else { "IPv4" };
        let Some([expected, late]) = truth.get(&(host.clone(), v6)) else { continue };
        seen += 1;
        let given = record["conditions"].as_array().unwrap().iter();
        let given: BTreeSet<&str> = given.map(|label| label.as_str().unwrap()).collect();
        cell.expected += expected.len() as u64;
        let absent = expected.iter().filter(|label| !given.contains(label.as_str()));
        let absent = absent.count() as u64;
        cell.absent += absent;
        if record["flags"].as_array().is_none_or(Vec::is_empty) {
            cell.unexplained += absent;
        }
        for label in given {
            if ![expected, late].iter().any(|labels| labels.contains(label))
                && !situation.concludes_nothing(label)
            {
                *cell.wrong.entry(format!("{host} ({family}): {label}")).or_default() += 1;
            }
        }
    }
    if seen == 0 {
        cell.wrong.insert("no record of a host whose truth is known".into(), 1);
    }
    cell
}

impl Situation {
    /// Whether a label is neither true nor wrong here.
    fn concludes_nothing(&self, label: &str) -> bool {
        match label.rsplit('.').next() {
            Some("insufficient") => true,
            Some("intermittent" | "not_confirmed") => self.unconfirmed,
            _ => false,
        }
    }
}

/// What is true of each host, as the program itself lists it.
fn truth(list: &Value, measurement: &str) -> Truth {
    let mut truth = Truth::new();
    for host in list["hosts"].as_array().unwrap() {
        for (v6, keys) in [(false, ["truth_v4", "late_v4"]), (true, ["truth_v6", "late_v6"])] {
            if !host[keys[0]][measurement].is_array() {
                continue;
            }
            let labels = keys.map(|key| {
                let labels = host[key][measurement].as_array().into_iter().flatten();
                labels.map(|label| label.as_str().unwrap().to_owned()).collect()
            });
            truth.insert((host["name"].as_str().unwrap().to_owned(), v6), labels);
        }
    }
    truth
}

fn list(more: &[&str]) -> Value {
    let output = pathspider().args(["lab", "list", "--format", "json"]).args(more).output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

/// What is not as it should be, a line each: labels that are wrong; labels that are absent where none should be, unless
/// the machine was too busy; and situations without an effect.
pub fn faults(matrix: &Matrix, situations: &[Situation]) -> Vec<String> {
    let mut faults = Vec::new();
    for row in situations {
        let mut absent = 0;
        for ((_, measurement), cell) in matrix.iter().filter(|((name, _), _)| *name == row.name) {
            let place = format!("{}, {measurement}", row.name);
            let wrong = cell.wrong.iter();
            faults.extend(wrong.map(|(what, times)| format!("{place}: {what}, {times} times")));
            if row.absent == "never" && cell.unexplained > 0 {
                let Cell { expected, unexplained, .. } = cell;
                faults.push(format!(
                    "{place}: {unexplained} of {expected} labels are absent and none should be"
                ));
            }
            absent += cell.absent;
        }
        if row.absent == "always" && absent == 0 {
            faults.push(format!("{}: no label is absent, so it had no effect", row.name));
        }
    }
    faults
}

/// A row for each situation and a column for each measurement: `yes`, with the share of true labels that are absent,
/// or how many labels are wrong. In Markdown.
pub fn table(matrix: &Matrix, situations: &[Situation], measurements: &[String]) -> String {
    let mut text = format!("| situation | {} |\n", measurements.join(" | "));
    writeln!(text, "| --- |{}", " --- |".repeat(measurements.len())).unwrap();
    for row in situations {
        write!(text, "| `{}` |", row.name).unwrap();
        for name in measurements {
            let cell = &matrix[&(row.name.clone(), name.clone())];
            let share = 100 * cell.absent / cell.expected.max(1);
            match (cell.wrongs(), cell.absent) {
                (0, 0) => write!(text, " all |"),
                (0, _) if share == 0 => write!(text, " 1 % absent |"),
                (0, _) => write!(text, " {share} % absent |"),
                (wrong, _) => write!(text, " {wrong} WRONG |"),
            }
            .unwrap();
        }
        text.push('\n');
    }
    text
}
