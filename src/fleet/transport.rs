//! The calls that an agent and the coordinator make. NATS answers them ([`nats`](super::nats)), and so do files
//! ([`folder`](super::folder)).

use std::time::Duration;

use super::message::UnitId;
use crate::error::Result;

/// The lease of a unit of work: it belongs to the agent until it is settled, or until it is not renewed in time.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The message.
    pub work: Vec<u8>,
    /// What the transport knows it by; 0 for a unit that is resumed without a lease.
    pub token: u64,
}

/// What becomes of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// The unit is in progress: the lease is renewed.
    Progress,
    /// It is done with, and does not come again.
    Done,
    /// It comes again after this time.
    Later(Duration),
}

/// What an agent does at the hub.
pub trait AgentSide: Sync {
    /// Takes a unit of work; waits for one at most this long.
    ///
    /// # Errors
    /// If the hub does not answer, as for every call.
    fn next(&self, wait: Duration) -> Result<Option<Lease>>;

    /// Settles a lease. An error means that the unit may come again.
    fn settle(&self, lease: &Lease, how: Settle) -> Result<()>;

    /// The object with this SHA-256: a document or a list.
    fn input(&self, sha256: &str) -> Result<Vec<u8>>;

    /// The commit of a unit of this agent, if the hub has one.
    fn committed(&self, unit: &UnitId) -> Result<Option<Vec<u8>>>;

    /// Offers a result under a name that is made of its digest. May be repeated.
    fn offer(&self, name: &str, octets: Vec<u8>) -> Result<()>;

    /// Commits a unit; returns `false` if it is committed already. It is committed once, whoever repeats it.
    fn commit(&self, unit: &UnitId, octets: Vec<u8>) -> Result<bool>;

    /// A value that the coordinator has set.
    fn control(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Whether the coordinator has set a value since the last call. It may miss some: [`control`](Self::control) counts.
    fn heard(&self) -> bool;

    /// Reports a sign of life.
    fn report(&self, octets: Vec<u8>) -> Result<()>;
}

/// What the coordinator does at the hub.
pub trait HubSide {
    /// Makes what an agent needs at the hub. May be repeated.
    ///
    /// # Errors
    /// If the hub does not answer, as for every call.
    fn add_agent(&self, name: &str) -> Result<()>;

    /// Stores an object under its SHA-256. May be repeated.
    fn put_input(&self, sha256: &str, octets: Vec<u8>) -> Result<()>;

    /// Publishes a unit for all agents of the campaign. May be repeated.
    fn publish(&self, campaign: &str, short: &str, octets: Vec<u8>) -> Result<()>;

    /// All commits of a campaign.
    fn commits(&self, campaign: &str) -> Result<Vec<(UnitId, Vec<u8>)>>;

    /// A result that an agent offers; `None` if it is not there.
    fn result(&self, agent: &str, name: &str) -> Result<Option<Vec<u8>>>;

    /// Removes a result that is stored.
    fn remove_result(&self, agent: &str, name: &str) -> Result<()>;

    /// Sets a value that agents read.
    fn set_control(&self, key: &str, octets: Vec<u8>) -> Result<()>;

    /// A value that was set.
    fn control(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// The last sign of life of an agent, if it is recent.
    fn heartbeat(&self, agent: &str) -> Result<Option<Vec<u8>>>;
}

/// Keys of control values.
pub mod keys {
    /// Stops every campaign.
    pub const STOP: &str = "stop";

    /// Lists who opted out.
    pub const OPTOUT: &str = "optout";

    /// Stops a campaign.
    pub fn stop(campaign: &str) -> String {
        format!("stop.{campaign}")
    }

    /// Says which units of an agent are stored.
    pub fn stored(agent: &str) -> String {
        format!("stored.{agent}")
    }
}
