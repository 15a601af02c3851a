//! The dataset of a campaign: `campaign=C/round=R/vantage=V/K-N.parquet`, and the proof that it is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::coordinator::{opened, stored};
use super::document::Document;
use super::facts::Facts;
use super::hub::Agents;
use super::key::Key;
use super::message::{Commit, Offered, Signed, State, UnitId, VERSION, to_text};
use super::store;
use super::transport::{HubSide, keys};
use crate::error::{Error, Result};
use crate::results::coverage::Coverage;
use crate::results::input::Input;
use crate::targets::Positions;

/// The file that says what a dataset covers.
const COVERAGE: &str = "coverage.json";
/// Where results are before they are checked.
const INCOMING: &str = ".incoming";

/// What was taken in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Results that are new in the dataset.
    pub new: u64,
    /// Results that were in it.
    pub known: u64,
    /// Commits and results that do not count, and why.
    pub wrong: Vec<String>,
}

/// Where the result of a unit is in a dataset.
fn place(dataset: &Path, unit: &UnitId, units: u64) -> PathBuf {
    let UnitId { campaign, agent, round, shard } = unit;
    let folder = dataset.join(format!("campaign={campaign}")).join(format!("round={round}"));
    folder.join(format!("vantage={agent}")).join(format!("{shard}-{units}.parquet"))
}

/// Takes the results of a campaign into a dataset. Only after a result is on disk the agent hears so, and only after
/// that it is removed from the hub. May be repeated.
///
/// # Errors
/// If the hub does not answer or the dataset cannot be written. A result that is not what its commit says is in
/// [`Taken::wrong`].
pub fn ingest(
    hub: &dyn HubSide,
    document: &Document,
    agents: &Agents,
    dataset: &Path,
) -> Result<Taken> {
    let campaign = document.campaign()?.name;
    crate::files::Folder::make(dataset)?;
    let mut taken = Taken::default();
    let mut done: BTreeMap<String, Positions> = BTreeMap::new();
    let mut offered: Vec<(UnitId, Offered)> = Vec::new();
    for (unit, octets) in hub.commits(&campaign)? {
        let commit = match opened(&unit, &octets, agents) {
            Ok(commit) => commit,
            Err(why) => {
                taken.wrong.push(format!("{unit}: {why}"));
                continue;
            }
        };
        let Some(result) = commit.result.filter(|_| commit.state == State::Done) else { continue };
        match one(hub, document, (&unit, &result), dataset) {
            Ok(new) => {
                if new {
                    taken.new += 1
                } else {
                    taken.known += 1
                }
                done.entry(unit.agent.clone()).or_default().insert(unit.shard);
                offered.push((unit, result));
            }
            Err(why @ Error::Usage(_)) => taken.wrong.push(format!("{unit}: {why}")),
            Err(why) => return Err(why),
        }
    }
    for (agent, shards) in done {
        let mut heard = stored(hub, &agent)?;
        heard.v = VERSION;
        let known = heard.shards.entry(format!("{campaign}/0")).or_default();
        let mut all = Positions::parse(known, Positions::MOST).unwrap_or_default();
        all.extend(&shards);
        if *known != all.to_string() {
            *known = all.to_string();
            hub.set_control(&keys::stored(&agent), to_text(&heard)?.into_bytes())?;
        }
    }
    for (unit, result) in offered {
        let name = result.object(&unit);
        if hub.result(&unit.agent, &name)?.is_some() {
            hub.remove_result(&unit.agent, &name)?;
        }
    }
    Ok(taken)
}

/// Takes one result; whether it is new.
fn one(
    hub: &dyn HubSide,
    document: &Document,
    (unit, result): (&UnitId, &Offered),
    dataset: &Path,
) -> Result<bool> {
    let path = place(dataset, unit, document.units);
    if let Some(octets) = store::read(&path)? {
        return match store::digest(&octets) == result.sha256 {
            true => Ok(false),
            false => Err(Error::Usage(format!(
                "{} is not the file of its commit; move it away, and ingest again",
                path.display()
            ))),
        };
    }
    let name = result.object(unit);
    let octets = hub.result(&unit.agent, &name)?;
    let octets = octets.ok_or_else(|| Error::Usage("its result is not at the hub yet".into()))?;
    if store::digest(&octets) != result.sha256 {
        return Err(Error::Usage("its result has another SHA-256 than its commit says".into()));
    }
    let incoming = store::make(dataset, &[INCOMING])?.join(format!("{}.parquet", result.sha256));
    store::write(&incoming, &octets)?;
    let checked = Facts::read(&incoming).and_then(|facts| fits(document, unit, result, &facts));
    store::remove(&incoming)?;
    checked?;
    let (campaign, round) =
        (format!("campaign={}", unit.campaign), format!("round={}", unit.round));
    store::make(dataset, &[&campaign, &round, &format!("vantage={}", unit.agent)])?;
    store::write(&path, &octets)?;
    Ok(true)
}

/// Whether a result is the one that the campaign asked for and the agent says it is.
fn fits(document: &Document, unit: &UnitId, result: &Offered, facts: &Facts) -> Result<()> {
    let shard = format!("{}/{}", unit.shard, document.units);
    for (what, wanted, found) in [
        ("measurement", document.measured.as_str(), facts.measurement.as_str()),
        ("target list", &document.list.sha256, &facts.list),
        ("shard", &shard, &facts.shard),
        ("number of records", &result.records.to_string(), &facts.offered.records.to_string()),
    ] {
        if wanted != found {
            return Err(Error::Usage(format!(
                "its result is of another {what}: {found}, not {wanted}"
            )));
        }
    }
    match facts.complete {
        true => Ok(()),
        false => Err(Error::Usage("its result is not of a finished run".into())),
    }
}

/// What a dataset covers.
#[derive(Debug)]
pub struct Proof {
    /// Whether every unit of every agent is there, and every target of the list once in each.
    pub whole: bool,
    /// What is missing or wrong, a line each.
    pub faults: Vec<String>,
    /// Records in all.
    pub records: u64,
    /// Files in all.
    pub files: u64,
    /// The text of `coverage.json`.
    pub text: Value,
}

/// Proves a campaign by its commits and its dataset alone.
///
/// # Errors
/// If either cannot be read.
pub fn verify(
    hub: &dyn HubSide,
    document: &Document,
    agents: &Agents,
    dataset: &Path,
) -> Result<Proof> {
    let campaign = document.campaign()?.name;
    let mut commits: BTreeMap<UnitId, Commit> = BTreeMap::new();
    let mut proof =
        Proof { whole: false, faults: Vec::new(), records: 0, files: 0, text: Value::Null };
    for (unit, octets) in hub.commits(&campaign)? {
        match opened(&unit, &octets, agents) {
            Ok(commit) => drop(commits.insert(unit, commit)),
            Err(why) => proof.faults.push(format!("{unit}: {why}")),
        }
    }
    let mut of_agents = Vec::new();
    for agent in &document.agents {
        of_agents.push(vantage(&mut proof, document, (&campaign, agent), &commits, dataset)?);
    }
    proof.whole = proof.faults.is_empty();
    proof.text = json!({
        "v": VERSION, "campaign": campaign, "targets": document.list.targets, "list": document.list.sha256,
        "measurement": document.measured, "units": document.units, "whole": proof.whole,
        "faults": proof.faults, "vantages": of_agents,
    });
    Ok(proof)
}

/// What is there of one agent.
fn vantage(
    proof: &mut Proof,
    document: &Document,
    (campaign, agent): (&str, &str),
    commits: &BTreeMap<UnitId, Commit>,
    dataset: &Path,
) -> Result<Value> {
    let (mut inputs, mut files, mut records) = (Vec::new(), serde_json::Map::new(), 0);
    let mut open = Positions::default();
    for shard in 1..=document.units {
        let unit = UnitId { campaign: campaign.into(), agent: agent.into(), round: 0, shard };
        let Some(commit) = commits.get(&unit) else {
            open.insert(shard);
            continue;
        };
        let Some(result) = commit.result.as_ref().filter(|_| commit.state == State::Done) else {
            let why = commit.reason.clone().unwrap_or_default();
            proof.faults.push(format!("{unit}: {}: {why}", commit.state.word()));
            continue;
        };
        let path = place(dataset, &unit, document.units);
        match store::read(&path)?.map(|octets| store::digest(&octets)) {
            Some(digest) if digest == result.sha256 => {
                match Facts::read(&path).and_then(|facts| fits(document, &unit, result, &facts)) {
                    Ok(()) => inputs.push(Input::open(&path, "verify", false)?),
                    Err(why) => proof.faults.push(format!("{unit}: {why}")),
                }
                files.insert(unit.short(), digest.into());
                records += result.records;
            }
            Some(_) => proof
                .faults
                .push(format!("{unit}: {} is not the file of its commit", path.display())),
            None => proof.faults.push(format!("{unit}: it is done, and not in the dataset")),
        }
    }
    if !open.is_empty() {
        proof.faults.push(format!(
            "{campaign}/{agent}: {} of {} units are open: {open}",
            open.len(),
            document.units
        ));
    }
    let mut withheld = 0;
    if inputs.len() as u64 == document.units {
        let coverage = Coverage::of(&inputs)?;
        withheld = coverage.withheld.len();
        if let Some(why) = coverage.faults() {
            proof.faults.push(format!("{campaign}/{agent}: {why}"));
        }
    }
    proof.records += records;
    proof.files += files.len() as u64;
    Ok(json!({
        "name": agent, "files": files, "records": records, "withheld": withheld, "open": open.to_string(),
    }))
}

/// Writes `coverage.json` and its signature next to the files of the campaign.
///
/// # Errors
/// If it cannot be written.
pub fn write(proof: &Proof, campaign: &str, dataset: &Path, key: &Key) -> Result<PathBuf> {
    let folder = store::make(dataset, &[&format!("campaign={campaign}")])?;
    let path = folder.join(COVERAGE);
    let signed = Signed::new(&proof.text, key)?;
    store::write(&path, format!("{:#}\n", proof.text).as_bytes())?;
    store::write(&folder.join("coverage.signed.json"), to_text(&signed)?.as_bytes())?;
    Ok(path)
}
