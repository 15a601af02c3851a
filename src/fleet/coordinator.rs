//! Campaigns at the hub: what one would be, its start, its state, and stopping it.

use std::collections::BTreeMap;
use std::path::Path;

use super::campaign::Campaign;
use super::document::Document;
use super::hub::Agents;
use super::key::Key;
use super::message::{
    Commit, Heartbeat, Signed, State, Stop, Stored, UnitId, VERSION, Work, parse, to_text,
};
use super::store;
use super::transport::{HubSide, keys};
use crate::cost::{self, Sum};
use crate::error::{Error, Result};
use crate::measurement::{self, Plan};
use crate::targets::{Options, Positions, Reader, Shard};

/// A campaign that can be started.
pub struct Prepared {
    /// The campaign.
    pub campaign: Campaign,
    /// What will be signed.
    pub document: Document,
    /// The measurement.
    pub plan: Plan,
    /// The list.
    pub list: Vec<u8>,
}

impl Prepared {
    /// Reads a campaign file and everything that it names.
    ///
    /// # Errors
    /// Every mistake of the file, of its measurement or of its list; and if it selects no agent.
    pub fn read(path: &Path, agents: &Agents) -> Result<Self> {
        let text = store::text(path)?;
        let campaign = Campaign::parse(&path.display().to_string(), &text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = folder.join(&campaign.measurement);
        let named = if named.is_file() {
            named.display().to_string()
        } else {
            campaign.measurement.clone()
        };
        let (origin, measurement) = measurement::find(&named)?;
        let list_path = folder.join(&campaign.targets);
        let list = store::need(&list_path)?;
        let selected = agents.iter().filter(|(name, row)| {
            campaign.agents.iter().any(|one| one.selects(name, row.group.as_deref(), &row.tags))
        });
        let selected: Vec<String> = selected.map(|(name, _)| name.clone()).collect();
        if selected.is_empty() {
            let wanted: Vec<String> = campaign.agents.iter().map(ToString::to_string).collect();
            return Err(Error::Usage(format!(
                "plan {}: none of the {} agents of this hub is one of {}; `pathspider fleet agent list` lists them",
                campaign.name,
                agents.len(),
                wanted.join(", ")
            )));
        }
        let mut document = Document::new(
            (&campaign, &text),
            (&campaign.measurement, &measurement),
            (&list_path, &list),
            selected,
        )?;
        let spec = document.spec()?;
        let fields = Reader::open(&list_path, Options::from(campaign.port))?.fields();
        let plan = Plan::load_with(&origin, &measurement, &fields, &spec.overrides())?;
        document.measured = store::digest(plan.text.as_bytes());
        Ok(Self { campaign, document, plan, list })
    }

    /// The most that one agent sends in the whole campaign.
    pub fn most(&self) -> Sum {
        let one = cost::with_rounds(&self.plan);
        let targets = self.document.list.targets;
        Sum { packets: one.packets * targets, octets: one.octets * targets }
    }

    /// Seconds that an agent needs at least, by the campaign's own rate.
    pub fn seconds(&self) -> Option<u64> {
        let attempts = self.plan.configs.len() as u64 * self.document.list.targets;
        Some(attempts.div_ceil(u64::from(self.campaign.caps.rate?)))
    }
}

/// Hands a campaign to the agents. May be repeated.
///
/// # Errors
/// If the hub does not answer.
pub fn publish(
    hub: &dyn HubSide,
    document: &Document,
    octets: Vec<u8>,
    list: Vec<u8>,
) -> Result<()> {
    let (campaign, sha256) = (document.campaign()?.name, store::digest(&octets));
    hub.put_input(&document.list.sha256, list)?;
    hub.put_input(&sha256, octets)?;
    for number in 1..=document.units {
        let shard = Shard::parse(&format!("{number}/{}", document.units)).map_err(Error::Usage)?;
        let work = Work {
            v: VERSION,
            campaign: campaign.clone(),
            document: sha256.clone(),
            round: 0,
            shard,
            number,
        };
        hub.publish(&campaign, &format!("0-{number}"), to_text(&work)?.into_bytes())?;
    }
    Ok(())
}

/// Sets a stop, of one campaign or of all, or lifts it.
///
/// # Errors
/// If the hub does not answer.
pub fn stop(hub: &dyn HubSide, campaign: Option<&str>, stop: &Stop) -> Result<()> {
    let key = campaign.map_or(keys::STOP.to_owned(), keys::stop);
    hub.set_control(&key, to_text(stop)?.into_bytes())
}

/// The stop that is in force.
///
/// # Errors
/// If the hub does not answer.
pub fn stopped(hub: &dyn HubSide, campaign: Option<&str>) -> Result<Option<Stop>> {
    let key = campaign.map_or(keys::STOP.to_owned(), keys::stop);
    let stop = hub.control(&key)?.map(|octets| parse::<Stop>(&octets)).transpose()?;
    Ok(stop.filter(|stop| stop.stopped))
}

/// A commit that was signed by its agent, and is about a unit of this campaign; else why it does not count.
///
/// # Errors
/// As said.
pub fn opened(unit: &UnitId, octets: &[u8], agents: &Agents) -> Result<Commit> {
    let key = agents.get(&unit.agent).map(|row| row.key.clone());
    let signed: Signed = parse(octets)?;
    let commit: Commit = signed.open(&Vec::from_iter(key))?;
    match commit.unit == unit.to_string() && commit.v == VERSION {
        true => Ok(commit),
        false => Err(Error::Usage(format!("it is about the unit {}", commit.unit))),
    }
}

/// The state of a campaign.
#[derive(Debug, Default)]
pub struct Status {
    /// Units of all agents.
    pub units: u64,
    /// Units that have ended, by how.
    pub ended: BTreeMap<&'static str, u64>,
    /// Records of units that are done.
    pub records: u64,
    /// Units in the dataset.
    pub stored: u64,
    /// Reasons of refusals with their number.
    pub refused: BTreeMap<String, u64>,
    /// Commits that do not count, and why.
    pub wrong: Vec<String>,
    /// What is known of each agent.
    pub agents: BTreeMap<String, Option<Heartbeat>>,
    /// The stop that is in force.
    pub stop: Option<Stop>,
}

/// The state of a campaign.
///
/// # Errors
/// If the hub does not answer.
pub fn status(hub: &dyn HubSide, document: &Document, agents: &Agents) -> Result<Status> {
    let campaign = document.campaign()?.name;
    let mut status =
        Status { units: document.units * document.agents.len() as u64, ..Status::default() };
    for (unit, octets) in hub.commits(&campaign)? {
        match opened(&unit, &octets, agents) {
            Ok(commit) => {
                *status.ended.entry(commit.state.word()).or_default() += 1;
                status.records += commit.result.map_or(0, |result| result.records);
                if commit.state == State::Refused {
                    let why = format!("{}: {}", unit.agent, commit.reason.unwrap_or_default());
                    *status.refused.entry(why).or_default() += 1;
                }
            }
            Err(why) => status.wrong.push(format!("{unit}: {why}")),
        }
    }
    for agent in &document.agents {
        let stored = stored(hub, agent)?;
        let shards = stored.shards.get(&format!("{campaign}/0"));
        let shards = shards.and_then(|shards| Positions::parse(shards, Positions::MOST));
        status.stored += shards.map_or(0, |shards| shards.len());
        let beat = hub.heartbeat(agent)?.and_then(|octets| parse(&octets).ok());
        status.agents.insert(agent.clone(), beat);
    }
    status.stop = stopped(hub, None)?.or(stopped(hub, Some(&campaign))?);
    Ok(status)
}

/// Which units of an agent are stored, as it can read.
///
/// # Errors
/// If the hub does not answer.
pub fn stored(hub: &dyn HubSide, agent: &str) -> Result<Stored> {
    let octets = hub.control(&keys::stored(agent))?;
    Ok(octets.map(|octets| parse(&octets)).transpose()?.unwrap_or_default())
}

/// Signs a campaign's document.
///
/// # Errors
/// If the key cannot sign.
pub fn sign(document: &Document, key: &Key) -> Result<Vec<u8>> {
    document.sign(key).map(|(octets, _)| octets)
}
