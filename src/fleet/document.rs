//! The document of a campaign: everything that its units need to be the same everywhere, signed by who answers for the
//! traffic.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::campaign::Campaign;
use super::key::Key;
use super::message::{Signed, VERSION, to_text};
use super::store;
use crate::error::{Error, Result};
use crate::run::Spec;
use crate::targets::{Options, Reader};

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The version.
    pub v: u32,
    /// The campaign file, as it was written.
    pub campaign: String,
    /// The name of the measurement.
    pub measurement: String,
    /// Its text.
    pub text: String,
    /// The SHA-256 of its text together with those that it extends.
    pub measured: String,
    /// The target list.
    pub list: List,
    /// Units of each agent.
    pub units: u64,
    /// The agents.
    pub agents: Vec<String>,
}

/// A target list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The SHA-256 of its octets.
    pub sha256: String,
    /// The ending of its name, which says what it is.
    pub ending: String,
    /// Its targets.
    pub targets: u64,
}

impl List {
    /// The name of the file on an agent.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.sha256, self.ending)
    }
}

impl Document {
    /// Makes the document of a campaign.
    ///
    /// # Errors
    /// If the list cannot be read or has no target.
    pub fn new(
        campaign: (&Campaign, &str),
        measurement: (&str, &str),
        list: (&Path, &[u8]),
        agents: Vec<String>,
    ) -> Result<Self> {
        let (campaign, written) = campaign;
        let (path, octets) = list;
        let mut reader = Reader::open(path, Options::from(Some(campaign.port.unwrap_or(1))))?;
        reader.names();
        while !reader.next_batch(4096)?.is_empty() {}
        let targets = reader.targets_read();
        let (last, _) = reader.positions();
        if targets == 0 {
            return Err(Error::Usage(format!("read {}: it has no targets", path.display())));
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned());
        let ending = ending.filter(|ending| ending.bytes().all(|b| b.is_ascii_alphanumeric()));
        Ok(Self {
            v: VERSION,
            campaign: written.to_owned(),
            measurement: measurement.0.to_owned(),
            text: measurement.1.to_owned(),
            measured: store::digest(measurement.1.as_bytes()),
            list: List {
                sha256: store::digest(octets),
                ending: ending.unwrap_or_else(|| "ndjson".into()),
                targets,
            },
            units: campaign.units(last.max(targets)),
            agents,
        })
    }

    /// Signs it; returns the signed octets and their SHA-256.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, key: &Key) -> Result<(Vec<u8>, String)> {
        let octets = to_text(&Signed::new(self, key)?)?.into_bytes();
        let sha256 = store::digest(&octets);
        Ok((octets, sha256))
    }

    /// The campaign file.
    ///
    /// # Errors
    /// Its mistakes.
    pub fn campaign(&self) -> Result<Campaign> {
        Campaign::parse("the campaign", &self.campaign)
    }

    /// The settings of every run of the campaign. Caps are per agent: the share of the fleet's cap is in them.
    ///
    /// # Errors
    /// As [`Document::campaign`].
    pub fn spec(&self) -> Result<Spec> {
        let campaign = self.campaign()?;
        let caps = campaign.caps;
        let agents = u32::try_from(self.agents.len()).unwrap_or(u32::MAX).max(1);
        let share = caps.fleet_rate_per_prefix.map(|rate| (rate / agents).max(1));
        let usual = Spec::default();
        Ok(Spec {
            rate: caps.rate,
            rate_per_address: caps.rate_per_address,
            rate_per_prefix: least(caps.rate_per_prefix, share),
            max_packets_per_target: caps
                .max_packets_per_target
                .unwrap_or(usual.max_packets_per_target),
            contact: Some(campaign.contact),
            port: campaign.port,
            set: campaign.set,
            confirm: campaign.confirm,
            control: campaign.control,
            ..usual
        })
    }
}

/// The lower of two limits, of which each may be none.
pub fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::fleet::campaign::tests::TEXT;
    use crate::fleet::key::Kind;
    use crate::fleet::message::parse;

    #[test]
    fn a_document_has_all_that_its_units_share() {
        let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
        let lines: String = (1..=81).map(|n| format!("{{\"dip\":\"192.0.2.{n}\"}}\n")).collect();
        file.write_all(lines.as_bytes()).unwrap();
        let campaign = Campaign::parse("c", TEXT).unwrap();
        let agents = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let list = (file.path(), lines.as_bytes());
        let document = Document::new((&campaign, TEXT), ("ecn", "text"), list, agents).unwrap();
        assert_eq!((document.units, document.list.targets), (3, 81));
        let spec = document.spec().unwrap();
        assert_eq!((spec.rate, spec.rate_per_prefix), (Some(100), Some(16)), "a third of 50");
        let key = Key::new(Kind::User);
        let (octets, sha256) = document.sign(&key).unwrap();
        assert_eq!(store::digest(&octets), sha256);
        let signed: Signed = parse(&octets).unwrap();
        assert_eq!(signed.open::<Document>(&[key.public()]).unwrap(), document);
    }
}
