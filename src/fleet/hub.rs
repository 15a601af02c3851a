//! The folder of a hub: keys, tokens, the register of agents, and the campaigns.
//!
//! The folder is its owner's alone. Keys are in `keys`, and never leave it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::campaign::name_of;
use super::document::Document;
use super::jwt;
use super::key::{Key, Kind};
use super::message::{Signed, VERSION, parse, to_text};
use super::nats::{Login, Nats};
use super::server::Settings;
use super::store;
use crate::error::{Error, Result};
use crate::files::Folder;

/// The keys of a hub, by file name.
const KEYS: [(&str, Kind); 6] = [
    ("operator", Kind::Operator),
    ("system", Kind::Account),
    ("account", Kind::Account),
    ("signing", Kind::Account),
    ("coordinator", Kind::User),
    ("campaign", Kind::User),
];

/// The file that says what the folder is.
const ABOUT: &str = "hub.json";
/// The register of agents.
const AGENTS: &str = "agents.json";
/// The configuration of the server.
pub const SERVER: &str = "nats-server.conf";

#[derive(Debug, Serialize, Deserialize)]
struct About {
    v: u32,
    url: String,
}

/// An agent in the register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its public key.
    pub key: String,
    /// Its group.
    #[serde(default)]
    pub group: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The register of agents, by name.
pub type Agents = BTreeMap<String, Registered>;

/// The folder of a hub.
#[derive(Debug)]
pub struct Hub {
    folder: PathBuf,
    url: String,
}

impl Hub {
    /// Whether a folder is one of a hub.
    pub fn exists(folder: &Path) -> bool {
        folder.join(ABOUT).is_file()
    }

    /// Makes the folder of a hub whose server listens on this port of 127.0.0.1, with new keys.
    ///
    /// # Errors
    /// If it exists and is not empty, or cannot be written.
    pub fn create(folder: &Path, port: u16, now: u64) -> Result<Self> {
        let (opened, _) = Folder::make_with(folder, 0o700)?;
        if let Some(name) = opened.names()?.first() {
            let (folder, name) = (folder.display(), name.display());
            return Err(Error::Usage(format!(
                "make a hub in {folder}: it has {name} already; name a new folder"
            )));
        }
        let (keys, _) = Folder::make_with(&folder.join("keys"), 0o700)?;
        let made = KEYS.map(|(name, kind)| (name, Key::new(kind)));
        made.iter().try_for_each(|(name, key)| key.write(&keys, name))?;
        for name in ["agents", "campaigns", "store", "accounts"] {
            store::make(folder, &[name])?;
        }
        let absolute =
            std::path::absolute(folder).map_err(|why| Error::failed("make a hub", why))?;
        let [operator, system, account, signing, coordinator, _] =
            &made.each_ref().map(|(_, key)| key);
        let settings = Settings {
            folder: &absolute,
            port,
            operator: &jwt::operator(operator, system, now)?,
            system: (&system.public(), &jwt::system(operator, system, now)?),
            account: (&account.public(), &jwt::account(operator, account, signing, now)?),
        };
        store::write(&folder.join(SERVER), settings.text().as_bytes())?;
        let token = jwt::coordinator(account, coordinator, now)?;
        store::write(&folder.join("coordinator.jwt"), token.as_bytes())?;
        store::write(&folder.join(AGENTS), b"{}")?;
        let url = format!("nats://127.0.0.1:{port}");
        // Last: a folder without it is not a hub.
        let about = to_text(&About { v: VERSION, url: url.clone() })?;
        store::write(&folder.join(ABOUT), about.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), url })
    }

    /// Opens the folder of a hub.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(folder: &Path) -> Result<Self> {
        if !Self::exists(folder) {
            return Err(Error::Usage(format!(
                "open the hub {}: it is not the folder of a hub; `pathspider fleet init` makes one, --hub names it",
                folder.display()
            )));
        }
        let about: About = parse(&store::need(&folder.join(ABOUT))?)?;
        Ok(Self { folder: folder.to_owned(), url: about.url })
    }

    /// The address of its server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn key(&self, name: &str) -> Result<Key> {
        Key::read(&self.folder.join("keys").join(name))
    }

    /// The key that signs campaigns.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn campaign_key(&self) -> Result<Key> {
        self.key("campaign")
    }

    /// Connects as the coordinator.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn connect(&self) -> Result<Nats> {
        let (key, token) =
            (self.key("coordinator")?, store::text(&self.folder.join("coordinator.jwt"))?);
        Nats::connect(Login {
            url: &self.url,
            ca: None,
            token: &token,
            key: &key,
            name: "coordinator",
        })
    }

    /// The register of agents.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn agents(&self) -> Result<Agents> {
        parse(&store::need(&self.folder.join(AGENTS))?)
    }

    /// Registers an agent; returns the file with its token.
    ///
    /// # Errors
    /// If the name or the key is another agent's already, or is none.
    pub fn register(&self, name: &str, agent: Registered, now: u64) -> Result<PathBuf> {
        name_of(name)
            .map_err(|why| Error::Usage(format!("add the agent {name:?}: the name {why}")))?;
        let mut agents = self.agents()?;
        let key = Key::of_user(&agent.key)?;
        if let Some((other, _)) =
            agents.iter().find(|(other, row)| *other != name && row.key == agent.key)
        {
            return Err(Error::Usage(format!(
                "add the agent {name}: the agent {other} has this key"
            )));
        }
        if agents.get(name).is_some_and(|known| known.key != agent.key) {
            return Err(Error::Usage(format!(
                "add the agent {name}: there is one with another key; commits of both would be mixed, so take a new name"
            )));
        }
        let token =
            jwt::agent(&self.key("signing")?, &self.key("account")?.public(), (name, &key), now)?;
        let path = self.folder.join("agents").join(format!("{name}.jwt"));
        store::write(&path, token.as_bytes())?;
        agents.insert(name.to_owned(), agent);
        store::write(&self.folder.join(AGENTS), to_text(&agents)?.as_bytes())?;
        Ok(path)
    }

    /// The document of a campaign and its signed octets, as it was started.
    ///
    /// # Errors
    /// If there is no such campaign.
    pub fn document(&self, campaign: &str) -> Result<(Document, Vec<u8>)> {
        let known = self.campaigns()?;
        if !known.iter().any(|one| one == campaign) {
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(Error::Usage(format!(
                "there is no campaign {campaign:?} (there is {known})"
            )));
        }
        let octets =
            store::need(&self.folder.join("campaigns").join(campaign).join("document.json"))?;
        let signed: Signed = parse(&octets)?;
        Ok((signed.open(&[self.campaign_key()?.public()])?, octets))
    }

    /// The names of all campaigns that were started.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn campaigns(&self) -> Result<Vec<String>> {
        store::names(&self.folder.join("campaigns"))
    }

    /// Keeps a document: a campaign is started once, and can be started again only if nothing of it has changed.
    ///
    /// # Errors
    /// If another campaign has the name.
    pub fn keep(&self, name: &str, octets: &[u8], list: &[u8]) -> Result<()> {
        let folder = store::make(&self.folder, &["campaigns", name])?;
        let path = folder.join("document.json");
        match store::read(&path)? {
            Some(known) if known == octets => return Ok(()),
            Some(_) => {
                return Err(Error::Usage(format!(
                    "start {name}: a campaign of this name was started, with another list, measurement, file or agents; \
                     give this one another name"
                )));
            }
            None => {}
        }
        store::write(&folder.join("list"), list)?;
        store::write(&path, octets)
    }

    /// The list of a campaign.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn list(&self, campaign: &str) -> Result<Vec<u8>> {
        store::need(&self.folder.join("campaigns").join(campaign).join("list"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_has_keys_and_agents_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("hub");
        let hub = Hub::create(&folder, 4222, 7).unwrap();
        assert!(Hub::create(&folder, 4222, 7).is_err(), "it is not made twice");
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.join("keys")).unwrap());
        assert_eq!(mode & 0o77, 0, "keys are for their owner alone");
        let key = Key::new(Kind::User).public();
        let row = |key: &str| Registered { key: key.into(), group: None, tags: BTreeMap::new() };
        let token = hub.register("fra-1", row(&key), 7).unwrap();
        assert_eq!(jwt::claim(&store::text(&token).unwrap(), "name").as_deref(), Some("fra-1"));
        hub.register("fra-1", row(&key), 8).unwrap();
        assert!(hub.register("fra-2", row(&key), 7).is_err(), "one key, one name");
        assert!(hub.register("fra-1", row(&Key::new(Kind::User).public()), 7).is_err());
        assert!(hub.register("Fra", row(&Key::new(Kind::User).public()), 7).is_err());
        assert_eq!(Hub::open(&folder).unwrap().agents().unwrap().len(), 1);
        assert!(Hub::open(home.path()).unwrap_err().to_string().contains("fleet init"));
        assert!(hub.document("x").unwrap_err().to_string().contains("there is none"));
    }
}
