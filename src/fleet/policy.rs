//! What the owner of an agent allows: `agent.toml`, which neither hub nor campaign can read or change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::document::{Document, least};
use super::store;
use crate::connect::KINDS;
use crate::error::{Diagnostic, Error, Report, Result};
use crate::measurement::{Plan, SHIPPED, duration};
use crate::run::Spec;
use crate::targets::{Options, Reader};

/// The usual leash.
const LEASH: Duration = Duration::from_secs(15 * 60);
/// The usual number of days for which results are kept after they are stored.
const KEEP_DAYS: u64 = 7;
/// Kinds that an owner must name: packets made by hand.
const NAMED_ONLY: [&str; 1] = ["forge"];
/// Steps that no owner can allow: they run programs.
const NEVER: [&str; 1] = ["command"];

/// The owner's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The hub.
    pub hub: HubText,
    /// The folder of keys, ledger and results, relative to that of the file.
    #[serde(default = "here")]
    pub state: PathBuf,
    /// The interface to send through; that of the default route if absent.
    #[serde(default)]
    pub interface: Option<String>,
    /// What may be measured.
    #[serde(default)]
    pub allow: Allow,
    /// Limits on sending.
    #[serde(default)]
    pub caps: Caps,
    /// What is never probed.
    #[serde(default)]
    pub deny: Deny,
    /// How long the agent goes on without a word of the hub.
    #[serde(default)]
    leash: Option<String>,
    /// Days for which results are kept after the hub has stored them.
    #[serde(default)]
    keep_days: Option<u64>,
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

/// The hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubText {
    /// Its address: `nats://127.0.0.1:4222` or `tls://hub.example.org:4222`. None if units come as files only.
    #[serde(default)]
    pub url: Option<String>,
    /// The certificate that has signed that of the hub; those of the system if absent.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Public keys of those who may start campaigns.
    pub campaign_keys: Vec<String>,
}

/// What may be measured. Nothing named means the usual: shipped measurements, all kinds but `forge`, all steps but
/// `command`, all ports.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Names of shipped measurements.
    #[serde(default)]
    pub measurements: Option<Vec<String>>,
    /// Connection kinds.
    #[serde(default)]
    pub kinds: Option<Vec<String>>,
    /// Step kinds.
    #[serde(default)]
    pub steps: Option<Vec<String>>,
    /// Ports of targets.
    #[serde(default)]
    pub ports: Option<Vec<u16>>,
}

/// Limits on sending.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Connections started in any one second.
    #[serde(default)]
    pub rate: Option<u32>,
    /// To one address.
    #[serde(default)]
    pub rate_per_address: Option<u32>,
    /// To one prefix.
    #[serde(default)]
    pub rate_per_prefix: Option<u32>,
    /// Packets per target.
    #[serde(default)]
    pub max_packets_per_target: Option<u64>,
}

/// What is never probed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deny {
    /// Exclusion lists.
    pub files: Vec<PathBuf>,
    /// Whether special-purpose networks are skipped.
    pub reserved: bool,
}

impl Default for Deny {
    fn default() -> Self {
        Self { files: Vec::new(), reserved: true }
    }
}

/// Whether a text is an owner's file rather than a measurement, a lab or a campaign.
pub fn is_policy(text: &str) -> bool {
    text.lines().any(|line| line.trim().starts_with("campaign_keys"))
}

/// The file that `agent enroll` writes.
pub fn template(url: Option<&str>, keys: &[String]) -> String {
    let url = url.map_or("# url = \"tls://hub.example.org:4222\"".to_owned(), |url| {
        format!("url = {url:?}")
    });
    let keys = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
    format!(
        "# What this agent may do. Neither the hub nor a campaign can read or change this file.\n\
         leash = \"15m\"        # without a word of the hub for so long, the agent stops\n\
         keep_days = 7        # results are removed this long after the hub has stored them\n\
         # interface = \"eth0\" # the interface to send through; default: that of the default route\n\n\
         [hub]\n{url}\ncampaign_keys = [{keys}]  # who may start campaigns\n\n\
         [allow]\n\
         # measurements = [\"ecn\", \"dscp\"]  # default: every shipped measurement\n\
         # kinds = [\"tcp\", \"https\"]        # default: all but forge\n\
         # steps = [\"sysctl\", \"sockopt\"]   # default: all but command, which is never allowed\n\
         # ports = [80, 443]               # default: all\n\n\
         [caps]\nrate = 50\nrate_per_address = 2\nrate_per_prefix = 10\nmax_packets_per_target = 200\n\n\
         [deny]\n\
         files = []       # exclusion lists: prefixes, addresses and names that are never probed\n\
         reserved = true  # neither are special-purpose networks\n"
    )
}

impl Policy {
    /// Reads the owner's file.
    ///
    /// # Errors
    /// Its mistakes, with their places.
    pub fn read(path: &Path) -> Result<Self> {
        let text = store::text(path)?;
        let mut policy = Self::parse(&path.display().to_string(), &text)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        policy.state = folder.join(&policy.state);
        policy.hub.ca = policy.hub.ca.map(|ca| folder.join(ca));
        policy.deny.files = policy.deny.files.iter().map(|file| folder.join(file)).collect();
        Ok(policy)
    }

    /// Parses the owner's file; `origin` is its name in messages.
    ///
    /// # Errors
    /// As [`Policy::read`].
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let refuse = |span, message: String, help: Option<String>| {
            let mistake = Diagnostic { code: "E1103", span, message, label: String::new(), help };
            Error::from(Report::new(origin, text, vec![mistake]))
        };
        let policy: Self = toml::from_str(text).map_err(|error| {
            refuse(error.span().unwrap_or(0..0), error.message().trim().to_owned(), None)
        })?;
        let place = |word: &str| text.find(word).map_or(0..0, |at| at..at + word.len());
        if policy.hub.campaign_keys.is_empty() {
            let help = "name the key that `pathspider fleet init` prints".to_owned();
            let message = "no campaign could be started: campaign_keys is empty".to_owned();
            return Err(refuse(place("campaign_keys"), message, Some(help)));
        }
        for key in &policy.hub.campaign_keys {
            super::key::Key::of_user(key)
                .map_err(|why| refuse(place(key), why.to_string(), None))?;
        }
        if let Some(leash) = &policy.leash {
            duration(leash).map_err(|help| {
                refuse(place(leash), format!("`{leash}` is not a duration"), Some(help))
            })?;
        }
        for kind in policy.allow.kinds.iter().flatten() {
            if KINDS.iter().all(|known| known.name != kind) {
                let help = "`pathspider list kinds` lists them".to_owned();
                let message = format!("there is no connection kind `{kind}`");
                return Err(refuse(place(kind), message, Some(help)));
            }
        }
        if let Some(step) =
            policy.allow.steps.iter().flatten().find(|step| NEVER.contains(&step.as_str()))
        {
            let message = "an agent never runs programs of a measurement".to_owned();
            return Err(refuse(place(step), message, Some("remove the word".into())));
        }
        Ok(policy)
    }

    /// How long the agent goes on without a word of the hub.
    pub fn leash(&self) -> Duration {
        self.leash.as_ref().and_then(|text| duration(text).ok()).unwrap_or(LEASH)
    }

    /// Seconds for which results are kept after the hub has stored them.
    pub fn keeps(&self) -> u64 {
        self.keep_days.unwrap_or(KEEP_DAYS) * 24 * 3600
    }

    /// Whether a campaign may be measured here; else why not.
    pub fn permits(&self, document: &Document, plan: &Plan) -> Result<(), String> {
        let shipped = SHIPPED.iter().find(|(_, text)| *text == document.text);
        let Some((name, _)) = shipped else {
            return Err(format!(
                "the measurement {} is not the one that this version of pathspider ships",
                document.measurement
            ));
        };
        let listed = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|one| one == word))
        };
        if store::digest(plan.text.as_bytes()) != document.measured {
            return Err(format!("the measurement that {name} extends is another one here"));
        }
        if !listed(&self.allow.measurements, name) {
            return Err(format!("the measurement {name} is not allowed here"));
        }
        let configs = plan.configs.iter().chain(plan.probe().as_ref()).cloned().collect::<Vec<_>>();
        for config in &configs {
            let kind = config.connection.kind.name;
            let named = self.allow.kinds.is_some() || !NAMED_ONLY.contains(&kind);
            if !named || !listed(&self.allow.kinds, kind) {
                return Err(format!("connections of kind {kind} are not allowed here"));
            }
            for step in config.steps.iter().map(|step| step.def().name) {
                if NEVER.contains(&step) || !listed(&self.allow.steps, step) {
                    return Err(format!("steps of kind {step} are not allowed here"));
                }
            }
        }
        let (_, most) = crate::cost::in_all(plan);
        match self.caps.max_packets_per_target {
            Some(cap) if most.packets > cap => Err(format!(
                "a target could be sent {} packets, and {cap} are allowed here",
                most.packets
            )),
            _ => Ok(()),
        }
    }

    /// Whether every target of a list has an allowed port; else the first that has not.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn permits_ports(&self, list: &Path, port: Option<u16>) -> Result<Result<(), String>> {
        let Some(allowed) = &self.allow.ports else { return Ok(Ok(())) };
        let mut reader = Reader::open(list, Options::from(port))?;
        reader.names();
        loop {
            let batch = reader.next_batch(4096)?;
            if batch.is_empty() {
                return Ok(Ok(()));
            }
            if let Some(target) = batch.iter().find(|target| !allowed.contains(&target.port)) {
                let (port, at) = (target.port, target.position);
                return Ok(Err(format!("port {port} (line {at} of the list) is not allowed here")));
            }
        }
    }

    /// Lowers the settings of a campaign to what is allowed here.
    pub fn lower(&self, spec: &mut Spec) {
        let usual = spec.limits(false).caps;
        spec.rate = least(spec.rate, self.caps.rate);
        spec.rate_per_address =
            least(usual.per_address, self.caps.rate_per_address.filter(|cap| *cap > 0));
        spec.rate_per_prefix =
            least(usual.per_prefix, self.caps.rate_per_prefix.filter(|cap| *cap > 0));
        let most = self.caps.max_packets_per_target.unwrap_or(u64::MAX);
        spec.max_packets_per_target = spec.max_packets_per_target.min(most);
        spec.allow_reserved = !self.deny.reserved;
        spec.exclude.clone_from(&self.deny.files);
        // Whatever is written anywhere.
        spec.allow_commands = false;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fleet::document::List;
    use crate::fleet::key::{Key, Kind};

    /// A policy with these further lines in its tables.
    pub fn policy(key: &Key, more: &str) -> Policy {
        let text = template(None, &[key.public()]);
        let (head, rest) = text.split_once("[caps]").unwrap();
        let text = format!("{head}{more}\n[caps]{rest}");
        Policy::parse("agent.toml", &text).unwrap()
    }

    fn document(measurement: &str) -> (Document, Plan) {
        let (name, text) = SHIPPED.iter().find(|(name, _)| *name == measurement).unwrap();
        let plan = Plan::load(name, text, &Reader::from_targets(Vec::new()).fields()).unwrap();
        let list = List { sha256: String::new(), ending: "ndjson".into(), targets: 1 };
        let document = Document {
            v: 1,
            campaign: String::new(),
            measurement: (*name).into(),
            text: (*text).into(),
            measured: store::digest(plan.text.as_bytes()),
            list,
            units: 1,
            agents: Vec::new(),
        };
        (document, plan)
    }

    #[test]
    fn an_owner_decides_what_is_measured() {
        let key = Key::new(Kind::User);
        let (ecn, plan) = document("ecn");
        let allows = |more: &str| policy(&key, more).permits(&ecn, &plan);
        assert_eq!(allows(""), Ok(()));
        assert_eq!(allows("measurements = [\"ecn\"]\nsteps = [\"sysctl\"]"), Ok(()));
        assert!(allows("measurements = [\"dscp\"]").unwrap_err().contains("measurement ecn"));
        assert!(allows("steps = [\"sockopt\"]").unwrap_err().contains("sysctl"));
        assert!(allows("kinds = [\"https\"]").unwrap_err().contains("tcp"));
        let changed = Document { text: ecn.text.replace("tcp_ecn", "tcp_sack"), ..ecn.clone() };
        let why = policy(&key, "").permits(&changed, &plan).unwrap_err();
        assert!(why.contains("not the one"), "{why}");
        let other = Document { measured: store::digest(b""), ..ecn.clone() };
        let why = policy(&key, "").permits(&other, &plan).unwrap_err();
        assert!(why.contains("extends"), "{why}");
    }

    #[test]
    fn packets_made_by_hand_must_be_named() {
        let key = Key::new(Kind::User);
        let forged = SHIPPED.iter().map(|(name, _)| document(name));
        let is_forged =
            |plan: &Plan| plan.configs.iter().any(|c| c.connection.kind.name == "forge");
        let Some((document, plan)) = forged.into_iter().find(|(_, plan)| is_forged(plan)) else {
            panic!("no shipped measurement forges packets");
        };
        assert!(policy(&key, "").permits(&document, &plan).unwrap_err().contains("forge"));
        let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(policy(&key, &format!("kinds = {kinds:?}")).permits(&document, &plan), Ok(()));
    }

    #[test]
    fn a_campaign_only_lowers() {
        let key = Key::new(Kind::User);
        let policy = policy(&key, "");
        let mut spec = Spec { rate: Some(9000), rate_per_address: Some(0), ..Spec::default() };
        spec.allow_commands = true;
        spec.allow_reserved = true;
        policy.lower(&mut spec);
        assert_eq!(
            (spec.rate, spec.rate_per_address, spec.rate_per_prefix),
            (Some(50), Some(2), Some(10))
        );
        assert_eq!(spec.max_packets_per_target, 200);
        assert!(!spec.allow_commands && !spec.allow_reserved);
        let mut spec = Spec { rate: Some(3), rate_per_prefix: Some(1), ..Spec::default() };
        policy.lower(&mut spec);
        assert_eq!((spec.rate, spec.rate_per_prefix), (Some(3), Some(1)));
    }

    #[test]
    fn mistakes_of_an_owner_are_named() {
        let key = Key::new(Kind::User).public();
        let text = template(None, std::slice::from_ref(&key));
        let wrong = |from: &str, to: &str| match Policy::parse("a", &text.replace(from, to)) {
            Err(Error::File(report)) => report.diagnostics[0].message.clone(),
            other => panic!("{to}: {other:?}"),
        };
        assert!(wrong(&format!("\"{key}\""), "").contains("campaign_keys is empty"));
        assert!(wrong(&key, "UX").contains("not a public key"));
        assert!(wrong("\"15m\"", "\"long\"").contains("`long` is not a duration"));
        assert!(wrong("[allow]", "[allow]\nsteps = [\"command\"]").contains("never runs programs"));
        assert!(wrong("[allow]", "[allow]\nkinds = [\"smtp\"]").contains("no connection kind"));
        assert!(wrong("[deny]", "[dony]").contains("unknown field"));
    }

    #[test]
    fn ports_are_those_of_the_list() {
        let list = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
        std::fs::write(
            list.path(),
            "{\"dip\":\"192.0.2.1\",\"dp\":443}\n{\"dip\":\"192.0.2.2\",\"dp\":25}\n",
        )
        .unwrap();
        let key = Key::new(Kind::User);
        let ports = |more: &str| policy(&key, more).permits_ports(list.path(), None).unwrap();
        assert_eq!(ports(""), Ok(()));
        assert_eq!(ports("ports = [25, 443]"), Ok(()));
        assert!(ports("ports = [443]").unwrap_err().contains("port 25 (line 2"));
    }
}
