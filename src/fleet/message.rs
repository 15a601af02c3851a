//! Messages between hub and agents: JSON with a version. Unknown fields are ignored, an unknown version is not.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::campaign::name_of;
use super::key::Key;
use crate::error::{Error, Result};
use crate::targets::Shard;

/// The version of messages.
pub const VERSION: u32 = 1;

/// A unit of work: one shard, from one vantage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitId {
    /// The campaign.
    pub campaign: String,
    /// The agent.
    pub agent: String,
    /// The round, from 0.
    pub round: u32,
    /// The number of the shard, from 1.
    pub shard: u64,
}

impl UnitId {
    /// `ROUND-K`: the name within a campaign and agent.
    pub fn short(&self) -> String {
        format!("{}-{}", self.round, self.shard)
    }

    /// From the three words of a subject or a path.
    pub fn of(campaign: &str, agent: &str, short: &str) -> Option<Self> {
        let (round, shard) = short.split_once('-')?;
        name_of(campaign).and(name_of(agent)).ok()?;
        let (campaign, agent) = (campaign.to_owned(), agent.to_owned());
        Some(Self { campaign, agent, round: round.parse().ok()?, shard: shard.parse().ok()? })
    }

    /// From its text: `CAMPAIGN/AGENT/ROUND-K`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, '/');
        Self::of(words.next()?, words.next()?, words.next()?)
    }
}

/// `CAMPAIGN/AGENT/ROUND-K`.
impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.campaign, self.agent, self.short())
    }
}

/// A shard to measure, the same message for every agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The version.
    pub v: u32,
    /// The campaign.
    pub campaign: String,
    /// The SHA-256 of the campaign's document.
    pub document: String,
    /// The round.
    pub round: u32,
    /// The shard.
    pub shard: Shard,
    /// The number of the shard.
    pub number: u64,
}

/// How a unit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Measured; the result is offered.
    Done,
    /// The agent does not do it: its owner does not allow it, or it cannot.
    Refused,
    /// It was not begun in time.
    Expired,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Done => "done",
            State::Refused => "refused",
            State::Expired => "expired",
        }
    }
}

/// What an agent says of a unit, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The version.
    pub v: u32,
    /// The unit.
    pub unit: String,
    /// How it ended.
    pub state: State,
    /// The SHA-256 of the campaign's document.
    pub document: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The result, if it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Offered>,
    /// The version of pathspider.
    pub pathspider: String,
    /// How often the unit was begun.
    pub attempt: u32,
}

/// A result file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its SHA-256.
    pub sha256: String,
    /// Its octets.
    pub octets: u64,
    /// Its records.
    pub records: u64,
    /// Targets without a record, since they are excluded.
    pub withheld: u64,
    /// When the run started and ended, in UTC.
    pub started: String,
    /// Likewise.
    pub ended: String,
    /// The SHA-256 of its columns.
    pub schema: String,
    /// The interface that it was measured through.
    pub interface: String,
}

impl Offered {
    /// The name of the object: its digest is part of it, so the same octets have the same name.
    pub fn object(&self, unit: &UnitId) -> String {
        format!("{}.{}.{}", unit.campaign, unit.short(), self.sha256)
    }
}

/// What the coordinator says to one agent: its units that are in the dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The version.
    pub v: u32,
    /// Shards (`1-17,20`) by `CAMPAIGN/ROUND`.
    pub shards: BTreeMap<String, String>,
}

/// Whether to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The version.
    pub v: u32,
    /// Whether it is in force: `false` once it is lifted.
    pub stopped: bool,
    /// Whether to stop at once, without completing the wave in flight.
    pub now: bool,
    /// Why.
    pub reason: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The version.
    pub v: u32,
    /// When, in seconds since 1970, by the clock of the agent.
    pub at: u64,
    /// The version of pathspider.
    pub pathspider: String,
    /// The unit that is being measured.
    pub unit: Option<String>,
    /// The time of the stop that it obeys.
    pub stopped: Option<u64>,
    /// The version of the opt-out list that it has.
    #[serde(default)]
    pub optout: u64,
}

/// Octets with the signature of who wrote them. Readers verify the octets before they parse them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The text that is signed.
    pub text: String,
    /// The public key.
    pub key: String,
    /// The signature.
    pub signature: String,
}

impl Signed {
    /// Signs a message.
    ///
    /// # Errors
    /// If the key is a public key only.
    pub fn new(message: &impl Serialize, key: &Key) -> Result<Self> {
        let text = to_text(message)?;
        let signature = key.sign(text.as_bytes())?;
        Ok(Self { text, key: key.public(), signature })
    }

    /// The message, if one of these keys signed it.
    ///
    /// # Errors
    /// If another key signed it, if the text is not what was signed, or if it is not such a message.
    pub fn open<T: DeserializeOwned>(&self, keys: &[String]) -> Result<T> {
        if !keys.contains(&self.key) {
            return Err(Error::Usage(format!("the key {} is not trusted here", self.key)));
        }
        if !Key::of_user(&self.key)?.has_signed(self.text.as_bytes(), &self.signature) {
            return Err(Error::Usage(format!("the signature is not one of {}", self.key)));
        }
        parse(self.text.as_bytes())
    }
}

/// A message as JSON.
///
/// # Errors
/// Never in practice: messages have text keys.
pub fn to_text(message: &impl Serialize) -> Result<String> {
    serde_json::to_string(message).map_err(|why| Error::failed("write a message", why))
}

/// Parses a message.
///
/// # Errors
/// If it is not one of this kind.
pub fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T> {
    serde_json::from_slice(octets).map_err(|why| {
        Error::Usage(format!("read a message: {why}; it is of another version, or damaged"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::key::Kind;

    #[test]
    fn a_unit_is_known_by_its_text() {
        let unit = UnitId::parse("ecn-1/fra-1/0-17").unwrap();
        assert_eq!((unit.to_string().as_str(), unit.shard), ("ecn-1/fra-1/0-17", 17));
        for wrong in ["", "a/b", "a/b/c", "a/b/0-x", "a/../0-1", "A/b/0-1", "a/b/0-1/2"] {
            assert!(UnitId::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn only_what_a_trusted_key_signed_is_read() {
        let (key, other) = (Key::new(Kind::User), Key::new(Kind::User));
        let stop = Stop { v: 1, stopped: true, now: false, reason: "x".into(), at: 7 };
        let signed = Signed::new(&stop, &key).unwrap();
        assert_eq!(signed.open::<Stop>(&[key.public()]).unwrap(), stop);
        assert!(signed.open::<Stop>(&[other.public()]).is_err());
        let changed = Signed { text: signed.text.replace("true", "false"), ..signed.clone() };
        assert!(changed.open::<Stop>(&[key.public()]).is_err());
        let claimed = Signed { key: other.public(), ..signed };
        assert!(claimed.open::<Stop>(&[other.public()]).is_err());
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let text = r#"{"v":1,"stopped":true,"now":false,"reason":"","at":1,"color":"red"}"#;
        assert!(parse::<Stop>(text.as_bytes()).unwrap().stopped);
    }
}
