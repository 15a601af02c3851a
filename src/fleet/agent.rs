//! The life of a unit at an agent: from the lease to the commit, through every crash.
//!
//! Before a packet is sent, the ledger and the hub are asked whether the unit is done. After the last packet, the result
//! is on disk, then in the ledger, then offered, then committed, then acknowledged. Any of it may be repeated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Document;
use super::facts::Facts;
use super::key::Key;
use super::ledger::{Entry, Ledger, Step};
use super::message::{
    Commit, Heartbeat, Signed, State, Stop, Stored, UnitId, VERSION, Work, parse, to_text,
};
use super::optout;
use super::policy::Policy;
use super::store;
use super::transport::{AgentSide, Lease, Settle, keys};
use crate::error::{Error, Result};
use crate::measurement::{Overrides, Plan};
use crate::run::Spec;
use crate::targets::{Positions, Reader};

/// How long a pull waits.
const WAIT: Duration = Duration::from_secs(10);
/// When a unit comes again that this version does not understand.
const NEEDS_UPGRADE: Duration = Duration::from_secs(3600);
/// When a unit comes again after a failure of this host.
const RETRY: Duration = Duration::from_secs(60);
/// Number of crashed attempts after which a unit is given up: the unit may be their cause.
const ATTEMPTS: u32 = 5;

/// A unit that is allowed, ready to be measured.
pub struct Job<'a> {
    /// The unit.
    pub unit: &'a UnitId,
    /// Its lease, to be renewed.
    pub lease: &'a Lease,
    /// The settings, with the limits of campaign and owner.
    pub spec: &'a Spec,
    /// The measurement.
    pub plan: &'a Plan,
    /// Its name.
    pub origin: &'a str,
    /// The list.
    pub list: &'a Path,
    /// When it begins, in seconds since 1970.
    pub now: u64,
}

/// How measuring ended.
#[derive(Debug)]
pub enum Ended {
    /// The result is on disk.
    Done(Facts),
    /// Something stopped it; it can be resumed.
    Interrupted,
    /// This host failed; it can be resumed.
    Failed(String),
    /// It cannot be measured here.
    Refused(String),
}

/// Measures units.
pub trait Measure {
    /// Measures one unit. Renews its lease, and ends early when it is to stop.
    fn measure(&self, job: &Job<'_>) -> Ended;

    /// What the file of a finished unit says.
    ///
    /// # Errors
    /// If it is not a result.
    fn facts(&self, path: &Path) -> Result<Facts> {
        Facts::read(path)
    }
}

/// What a turn did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// There was no unit.
    Idle,
    /// A unit was settled: `done`, `refused` or `expired`.
    Settled(UnitId, State),
    /// A unit was left for later, for this reason.
    Left(UnitId, String),
    /// A stop is in force, for this reason.
    Stopped(String),
    /// The unit was not for this agent, or is done already.
    Passed,
}

/// An agent.
pub struct Agent<'a> {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: &'a Key,
    /// What its owner allows.
    pub policy: &'a Policy,
    /// The folder of its state.
    pub folder: &'a Path,
    /// The hub.
    pub hub: &'a dyn AgentSide,
    /// What it has done.
    pub ledger: Ledger,
    /// What measures.
    pub measure: &'a dyn Measure,
    /// The version of its opt-out list.
    pub optout: u64,
}

impl Agent<'_> {
    /// Takes one unit as far as it goes. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// If the hub does not answer or this host fails; the next turn goes on from where this one ended.
    pub fn turn(&mut self, now: u64) -> Result<Turn> {
        self.take_stored(now)?;
        (_, self.optout) = optout::take(self.hub, self.folder)?;
        self.finish_measured()?;
        if let Some(stop) = stop_of(self.hub, None)? {
            self.beat(now, None, Some(stop.at));
            return Ok(Turn::Stopped(stop.reason));
        }
        self.beat(now, None, None);
        if let Some(turn) = self.resume(now)? {
            return Ok(turn);
        }
        let Some(lease) = self.hub.next(WAIT)? else { return Ok(Turn::Idle) };
        self.take(&lease, now)
    }

    /// Commits what was measured before a crash or while the hub was away.
    fn finish_measured(&mut self) -> Result<()> {
        let open = |(_, entry): &(&UnitId, &Entry)| entry.commit.is_some() && !entry.committed;
        let open: Vec<UnitId> =
            self.ledger.units().filter(open).map(|(unit, _)| unit.clone()).collect();
        open.iter().try_for_each(|unit| self.finish(unit))
    }

    /// Goes on with a unit in which the agent ended, before its lease comes again.
    fn resume(&mut self, now: u64) -> Result<Option<Turn>> {
        let cut = self.ledger.units().filter(|(_, entry)| entry.is_cut_off());
        let cut: Vec<Work> = cut.filter_map(|(_, entry)| entry.work.clone()).collect();
        for work in cut {
            let lease = Lease { work: to_text(&work)?.into_bytes(), token: 0 };
            match self.take(&lease, now)? {
                Turn::Left(unit, why) => log::info!("{unit}: later: {why}"),
                turn => return Ok(Some(turn)),
            }
        }
        Ok(None)
    }

    /// One lease.
    fn take(&mut self, lease: &Lease, now: u64) -> Result<Turn> {
        let work = parse::<Work>(&lease.work).ok().filter(|work| work.v == VERSION);
        let Some(work) = work else {
            self.hub.settle(lease, Settle::Later(NEEDS_UPGRADE))?;
            log::warn!("a unit needs another version of pathspider");
            return Ok(Turn::Passed);
        };
        let (campaign, round) = (work.campaign.clone(), work.round);
        let unit = UnitId { campaign, agent: self.name.clone(), round, shard: work.number };
        let entry = self.ledger.entry(&unit);
        if entry.commit.is_some() {
            self.finish(&unit)?;
            self.hub.settle(lease, Settle::Done)?;
            return Ok(Turn::Passed);
        }
        if self.hub.committed(&unit)?.is_some() {
            // The ledger is new, and the hub knows better.
            self.hub.settle(lease, Settle::Done)?;
            return Ok(Turn::Passed);
        }
        let document = match self.document(&work.document) {
            Ok(document) => document,
            Err(why @ Error::Usage(_)) => {
                return self.refuse((&unit, lease), &work, State::Refused, &why.to_string());
            }
            Err(why) => return Err(why),
        };
        if !document.agents.contains(&self.name) {
            self.hub.settle(lease, Settle::Done)?;
            return Ok(Turn::Passed);
        }
        self.work((&unit, lease), &work, &document, now)
    }

    /// A unit of a campaign that a trusted key has signed.
    fn work(
        &mut self,
        (unit, lease): (&UnitId, &Lease),
        work: &Work,
        document: &Document,
        now: u64,
    ) -> Result<Turn> {
        let campaign = document.campaign()?;
        let number = work.shard.to_string();
        let fits = campaign.name == unit.campaign
            && number == format!("{}/{}", unit.shard, document.units)
            && work.round == 0;
        if !fits {
            return self.refuse(
                (unit, lease),
                work,
                State::Refused,
                "the unit is not one of the document",
            );
        }
        if let Some(stop) = stop_of(self.hub, Some(&unit.campaign))? {
            return self.later((unit, lease), RETRY, format!("stopped: {}", stop.reason));
        }
        if now > campaign.not_after {
            return self.refuse((unit, lease), work, State::Expired, "its campaign has ended");
        }
        let begins = campaign.start + delay(&self.name, campaign.spread);
        if now < begins {
            let left = Duration::from_secs(begins - now);
            return self.later((unit, lease), left, "its campaign has not begun".into());
        }
        let Entry { attempts, paused, .. } = self.ledger.entry(unit);
        if attempts.saturating_sub(paused) >= ATTEMPTS {
            let why = format!("it was begun {attempts} times and never ended");
            return self.refuse((unit, lease), work, State::Refused, &why);
        }
        let list = self.list(document)?;
        let mut spec = document.spec()?;
        self.policy.lower(&mut spec);
        spec.exclude.push(optout::file(self.folder)?);
        spec.shard = Some(work.shard);
        spec.list = Some(list.clone());
        spec.output = self.result(unit)?;
        spec.resume = crate::sink::parts_of(&spec.output).is_dir();
        let plan = match plan(document, &spec, &list) {
            Ok(plan) => plan,
            Err(why) => return self.refuse((unit, lease), work, State::Refused, &one_line(&why)),
        };
        if let Err(why) = self.policy.permits(document, &plan) {
            return self.refuse((unit, lease), work, State::Refused, &why);
        }
        if let Err(why) = self.policy.permits_ports(&list, campaign.port)? {
            return self.refuse((unit, lease), work, State::Refused, &why);
        }
        let job = Job {
            unit,
            lease,
            spec: &spec,
            plan: &plan,
            origin: &document.measurement,
            list: &list,
            now,
        };
        self.measure(&job, work, attempts + 1, now)
    }

    /// Measures, records and commits.
    fn measure(&mut self, job: &Job<'_>, work: &Work, attempt: u32, now: u64) -> Result<Turn> {
        let (unit, lease) = (job.unit, job.lease);
        self.ledger.note(unit, Step::Begun { attempt, work: work.clone() })?;
        self.beat(now, Some(unit), None);
        match self.found(job).unwrap_or_else(|| self.measure.measure(job)) {
            Ended::Done(facts) => {
                let commit = commit(unit, work, (State::Done, None), attempt);
                let commit = Commit { result: Some(facts.offered), ..commit };
                self.settle((unit, lease), commit)
            }
            Ended::Refused(why) => self.refuse((unit, lease), work, State::Refused, &why),
            Ended::Interrupted => self.pause((unit, lease), "interrupted".into()),
            Ended::Failed(why) => self.pause((unit, lease), why),
        }
    }

    /// The result of a run that ended just before this agent did.
    fn found(&self, job: &Job<'_>) -> Option<Ended> {
        if job.spec.resume || !job.spec.output.is_file() {
            return None;
        }
        let facts = self.measure.facts(&job.spec.output).ok()?;
        let document = job.spec.list.as_deref().and_then(Path::file_stem)?.to_str()?;
        (facts.complete && facts.list == document).then_some(Ended::Done(facts))
    }

    /// Leaves a unit for later. It did not crash, so it is no nearer to being given up.
    fn pause(&mut self, of: (&UnitId, &Lease), why: String) -> Result<Turn> {
        self.ledger.note(of.0, Step::Paused)?;
        self.later(of, RETRY, why)
    }

    fn refuse(
        &mut self,
        (unit, lease): (&UnitId, &Lease),
        work: &Work,
        state: State,
        why: &str,
    ) -> Result<Turn> {
        let attempt = self.ledger.entry(unit).attempts;
        self.settle((unit, lease), commit(unit, work, (state, Some(why.to_owned())), attempt))
    }

    /// The end of a unit: signed, in the ledger, at the hub, acknowledged.
    fn settle(&mut self, (unit, lease): (&UnitId, &Lease), commit: Commit) -> Result<Turn> {
        let state = commit.state;
        let commit = Signed::new(&commit, self.key)?;
        self.ledger.note(unit, Step::Measured { commit })?;
        self.finish(unit)?;
        self.hub.settle(lease, Settle::Done)?;
        Ok(Turn::Settled(unit.clone(), state))
    }

    fn later(
        &self,
        (unit, lease): (&UnitId, &Lease),
        after: Duration,
        why: String,
    ) -> Result<Turn> {
        self.hub.settle(lease, Settle::Later(after))?;
        Ok(Turn::Left(unit.clone(), why))
    }

    /// Offers and commits a unit that has ended. May be repeated.
    fn finish(&mut self, unit: &UnitId) -> Result<()> {
        let entry = self.ledger.entry(unit);
        let Some(signed) = entry.commit.filter(|_| !entry.committed) else { return Ok(()) };
        let commit: Commit = parse(signed.text.as_bytes())?;
        if let Some(result) = &commit.result {
            let octets = store::need(&self.result(unit)?)?;
            if store::digest(&octets) != result.sha256 {
                return Err(Error::Failed(format!(
                    "offer {unit}: its file has changed since it was measured; restore it from a backup"
                )));
            }
            self.hub.offer(&result.object(unit), octets)?;
        }
        if !self.hub.commit(unit, to_text(&signed)?.into_bytes())? {
            log::info!("{unit}: the hub has a commit already");
        }
        self.ledger.note(unit, Step::Committed)
    }

    /// Notes what the coordinator has stored, and removes results that were kept long enough.
    fn take_stored(&mut self, now: u64) -> Result<()> {
        let octets = self.hub.control(&keys::stored(&self.name))?;
        let stored: Stored = octets.map(|octets| parse(&octets)).transpose()?.unwrap_or_default();
        let named = |unit: &UnitId| {
            let shards = stored.shards.get(&format!("{}/{}", unit.campaign, unit.round));
            let shards = shards.and_then(|shards| Positions::parse(shards, Positions::MOST));
            shards.is_some_and(|shards| shards.contains(unit.shard))
        };
        let mut new = Vec::new();
        let mut old = Vec::new();
        for (unit, entry) in
            self.ledger.units().filter(|(_, entry)| entry.committed && !entry.removed)
        {
            match entry.stored {
                None if named(unit) => new.push(unit.clone()),
                Some(at) if at.saturating_add(self.policy.keeps()) <= now => old.push(unit.clone()),
                _ => {}
            }
        }
        for unit in new {
            self.ledger.note(&unit, Step::Stored { at: now })?;
        }
        for unit in old {
            store::remove(&self.result(&unit)?)?;
            self.ledger.note(&unit, Step::Removed)?;
        }
        Ok(())
    }

    /// The document with this digest, which a trusted key has signed.
    fn document(&self, sha256: &str) -> Result<Document> {
        let octets = self.input(sha256, sha256)?;
        let signed: Signed = parse(&octets)?;
        let document: Document = signed.open(&self.policy.hub.campaign_keys)?;
        match document.v == VERSION {
            true => Ok(document),
            false => Err(Error::Usage(format!("its document has version {}", document.v))),
        }
    }

    /// The list of a campaign as a file.
    fn list(&self, document: &Document) -> Result<PathBuf> {
        let name = document.list.file_name();
        self.input(&document.list.sha256, &name)?;
        Ok(self.folder.join("inputs").join(name))
    }

    /// An input with this digest: of this host, or of the hub.
    fn input(&self, sha256: &str, name: &str) -> Result<Vec<u8>> {
        if sha256.len() != 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            return Err(Error::Usage(format!("{sha256:?} is not a SHA-256")));
        }
        let path = store::make(self.folder, &["inputs"])?.join(name);
        if let Some(octets) = store::read(&path)?.filter(|octets| store::digest(octets) == sha256) {
            return Ok(octets);
        }
        let octets = self.hub.input(sha256)?;
        if store::digest(&octets) != sha256 {
            return Err(Error::Failed(format!(
                "read the input {sha256}: the hub has other octets by that name"
            )));
        }
        store::write(&path, &octets)?;
        Ok(octets)
    }

    /// Where the result of a unit is.
    fn result(&self, unit: &UnitId) -> Result<PathBuf> {
        let folder = store::make(self.folder, &["units", &unit.campaign])?;
        Ok(folder.join(format!("{}.parquet", unit.short())))
    }

    fn beat(&self, now: u64, unit: Option<&UnitId>, stopped: Option<u64>) {
        beat(self.hub, now, unit, (stopped, self.optout));
    }
}

/// Reports a sign of life, with the time of the stop in force and the version of the opt-out list. One that is lost
/// does no harm.
pub fn beat(
    hub: &dyn AgentSide,
    now: u64,
    unit: Option<&UnitId>,
    (stopped, optout): (Option<u64>, u64),
) {
    let beat = Heartbeat {
        v: VERSION,
        at: now,
        pathspider: env!("CARGO_PKG_VERSION").into(),
        unit: unit.map(ToString::to_string),
        stopped,
        optout,
    };
    let reported = to_text(&beat).and_then(|text| hub.report(text.into_bytes()));
    if let Err(why) = reported {
        log::info!("report to the hub: {why}");
    }
}

/// The stop that is in force for all campaigns, or for this one.
///
/// # Errors
/// If the hub does not answer.
pub fn stop_of(hub: &dyn AgentSide, campaign: Option<&str>) -> Result<Option<Stop>> {
    for key in [Some(keys::STOP.to_owned()), campaign.map(keys::stop)].into_iter().flatten() {
        let Some(octets) = hub.control(&key)? else { continue };
        // What cannot be read is a stop: whoever can reach the hub can make the fleet safe.
        let stop = parse::<Stop>(&octets).unwrap_or_else(|why| Stop {
            v: VERSION,
            stopped: true,
            now: false,
            reason: format!("a stop that cannot be read ({why})"),
            at: 0,
        });
        if stop.stopped {
            return Ok(Some(stop));
        }
    }
    Ok(None)
}

/// The measurement of a document, for this list.
fn plan(document: &Document, spec: &Spec, list: &Path) -> Result<Plan> {
    let overrides: Overrides = spec.overrides();
    let fields = Reader::open(list, crate::targets::Options::from(spec.port))?.fields();
    Plan::load_with(&document.measurement, &document.text, &fields, &overrides)
}

/// The delay of an agent within the spread of a campaign: always the same for a name.
fn delay(name: &str, spread: Duration) -> u64 {
    let digest = store::digest(name.as_bytes());
    let number = u64::from_str_radix(digest.get(..12).unwrap_or("0"), 16).unwrap_or_default();
    number % (spread.as_secs() + 1)
}

fn commit(
    unit: &UnitId,
    work: &Work,
    (state, reason): (State, Option<String>),
    attempt: u32,
) -> Commit {
    Commit {
        v: VERSION,
        unit: unit.to_string(),
        state,
        document: work.document.clone(),
        reason,
        result: None,
        pathspider: env!("CARGO_PKG_VERSION").into(),
        attempt,
    }
}

fn one_line(why: &Error) -> String {
    match why {
        Error::File(report) => report.blame("the campaign"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
