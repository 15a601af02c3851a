//! Settings of a run besides its measurement and its list: plain data, from a command line or another program.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::controls::Share;
use super::evidence;
use super::form::Form;
use super::memory;
use crate::as_table;
use crate::engine::scheduler::{Caps, Limits};
use crate::measurement::Overrides;
use crate::resolve::question::Family;
use crate::targets::Shard;

/// Connections to one address in any one second, unless the spec says otherwise.
const PER_ADDRESS: u32 = 10;
/// Connections to one prefix in any one second, unless the spec says otherwise.
const PER_PREFIX: u32 = 50;

/// The order in which targets are probed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As listed. Standard input is probed as it arrives.
    List,
    /// Drawn by the seed, so that neighbours are not probed in a row. The list must end first.
    #[default]
    Random,
}

/// Settings of a run. [`Spec::default`] equals a command line without options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Connections in flight at the same time.
    pub concurrency: usize,
    /// Connections started in any one second, at most.
    pub rate: Option<u32>,
    /// The same to one address. `None` is 10, or no limit on a network of the run's own; 0 is no limit.
    pub rate_per_address: Option<u32>,
    /// The same to all addresses of a prefix together. `None` is 50, or no limit on a network of the run's own; 0 is
    /// no limit.
    pub rate_per_prefix: Option<u32>,
    /// Length of such a prefix in bits, of IPv4 and of IPv6.
    pub prefix_lengths: (u8, u8),
    /// Maximum packets per target. A measurement that could send more does not start.
    pub max_packets_per_target: u64,
    /// The order of targets.
    pub order: Order,
    /// Seed of a random order.
    pub seed: u64,
    /// Whether to probe special-purpose networks, which are skipped otherwise.
    pub allow_reserved: bool,
    /// Exclusion lists: files of prefixes, addresses and names that are not probed.
    pub exclude: Vec<PathBuf>,
    /// A contact URI of the operator, for HTTP's User-Agent and the metadata.
    pub contact: Option<String>,
    /// The name of the vantage point, for the metadata.
    pub vantage: Option<String>,
    /// Notes of the user, for the metadata.
    pub notes: Vec<String>,
    /// Maximum targets per wave; `None` is as many as source ports allow.
    pub wave: Option<usize>,
    /// Source ports to use instead of the kernel's own range.
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Octets of the capture's ring; `None` is by rate and available memory.
    pub capture_buffer: Option<u64>,
    /// The shard of the list that is probed; all of it if `None`.
    pub shard: Option<Shard>,
    /// The port that the list was opened with, for targets without one.
    pub port: Option<u16>,
    /// Values of params, by name, that override the measurement's defaults.
    pub set: Vec<(String, String)>,
    /// The connection kind in place of the measurement's own.
    pub connect: Option<String>,
    /// Confirmation rounds in place of the measurement's own.
    pub confirm: Option<u16>,
    /// Whether to search for the places of labels: those of the measurement, and these.
    pub locate: Option<Vec<String>>,
    /// The share of targets that are controls.
    pub control: Option<Share>,
    /// The IP version to use where a name has addresses of both.
    pub prefer: Family,
    /// Resolvers for the names of targets; those of the system if empty.
    pub resolvers: Vec<SocketAddr>,
    /// Whether the calling thread drops, for good, every privilege that the rest of the run does not need. A program
    /// that starts more than one run from a thread must not set it.
    pub give_up_rights: bool,
    /// Whether `command` steps may run their programs.
    pub allow_commands: bool,
    /// A table of networks and the ASes that originate them, for the column `target.asn`.
    pub as_table: Option<as_table::Source>,
    /// The target list, to tell whether it changed; `None` if it can be read only once.
    pub list: Option<PathBuf>,
    /// Where records go, as the user wrote it.
    pub output: PathBuf,
    /// How records are written.
    pub form: Form,
    /// What becomes evidence, and where; none is kept otherwise.
    pub evidence: Option<evidence::Settings>,
    /// Whether to continue the run that `output` holds.
    pub resume: bool,
    /// The folder of journals, if it is not the system's.
    pub state: Option<PathBuf>,
    /// The command line that started the run, for the metadata.
    pub invoked_by: String,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            concurrency: memory::CONCURRENCY,
            rate: None,
            rate_per_address: None,
            rate_per_prefix: None,
            prefix_lengths: Caps::default().lengths,
            max_packets_per_target: 2000,
            order: Order::default(),
            seed: 0,
            allow_reserved: false,
            exclude: Vec::new(),
            contact: None,
            vantage: None,
            notes: Vec::new(),
            wave: None,
            source_ports: None,
            capture_buffer: None,
            shard: None,
            port: None,
            set: Vec::new(),
            connect: None,
            confirm: None,
            locate: None,
            control: None,
            prefer: Family::V4,
            resolvers: Vec::new(),
            give_up_rights: false,
            allow_commands: false,
            as_table: None,
            list: None,
            output: PathBuf::new(),
            form: Form::default(),
            evidence: None,
            resume: false,
            state: None,
            invoked_by: String::new(),
        }
    }
}

/// One setting as stored with the results.
struct Setting {
    /// Its key in the metadata, if it is stored there.
    metadata: Option<&'static str>,
    /// Its key in the identity of a run, if a run with another value is another run.
    identity: Option<&'static str>,
    value: fn(&Spec) -> Option<String>,
}

/// Every setting stored with the results.
static SETTINGS: &[Setting] = &[
    Setting {
        metadata: None,
        identity: Some("--confirm"),
        value: |spec| spec.confirm.map(|rounds| rounds.to_string()),
    },
    Setting {
        metadata: Some("locate"),
        identity: Some("--locate"),
        value: |spec| spec.locate.as_ref().map(|labels| labels.join(",")),
    },
    Setting {
        metadata: Some("control_share"),
        identity: Some("--control"),
        value: |spec| spec.control.map(|share| share.to_string()),
    },
    Setting {
        metadata: Some("connect"),
        identity: Some("--connect"),
        value: |spec| spec.connect.clone(),
    },
    Setting {
        metadata: Some("port"),
        identity: Some("--port"),
        value: |spec| spec.port.map(|port| port.to_string()),
    },
    Setting {
        metadata: Some("shard"),
        identity: Some("--shard"),
        value: |spec| spec.shard.map(|shard| shard.to_string()),
    },
    Setting {
        metadata: Some("prefer"),
        identity: Some("--prefer"),
        value: |spec| Some(if spec.prefer == Family::V6 { "6" } else { "4" }.to_owned()),
    },
    Setting {
        metadata: Some("order"),
        identity: Some("--order"),
        value: |spec| Some(if spec.order == Order::List { "list" } else { "random" }.to_owned()),
    },
    Setting {
        metadata: Some("seed"),
        identity: Some("--seed"),
        value: |spec| (spec.order == Order::Random).then(|| spec.seed.to_string()),
    },
    noted("contact", |spec| spec.contact.clone()),
    noted("vantage", |spec| spec.vantage.clone()),
    noted("notes", |spec| {
        (!spec.notes.is_empty()).then(|| serde_json::json!(spec.notes).to_string())
    }),
    noted("concurrency", |spec| Some(spec.concurrency.to_string())),
    noted("prefix_lengths", |spec| {
        let (v4, v6) = spec.prefix_lengths;
        Some(format!("{v4},{v6}"))
    }),
    noted("max_packets_per_target", |spec| Some(spec.max_packets_per_target.to_string())),
    noted("allow_reserved", |spec| Some(spec.allow_reserved.to_string())),
    noted("evidence", |spec| Some(spec.evidence.as_ref()?.folder.display().to_string())),
    noted("evidence_labels", |spec| {
        Some(spec.evidence.as_ref()?.wanted().collect::<Vec<_>>().join(","))
    }),
    noted("evidence_limit", |spec| Some(spec.evidence.as_ref()?.limit.to_string())),
];

/// A setting of the metadata with which a run may be resumed whatever its value.
const fn noted(metadata: &'static str, value: fn(&Spec) -> Option<String>) -> Setting {
    Setting { metadata: Some(metadata), identity: None, value }
}

impl Spec {
    /// The overrides to load the measurement with.
    pub fn overrides(&self) -> Overrides {
        let overrides = Overrides::new(self.set.clone()).connect(self.connect.clone());
        overrides.rounds(self.confirm).locate(self.locate.clone())
    }

    /// The limits on sending. A network of the run's `own` has no caps unless the spec sets them.
    pub fn limits(&self, own: bool) -> Limits {
        let cap = |given: Option<u32>, usual: u32| match given {
            None => Some(usual).filter(|_| !own),
            given => given.filter(|cap| *cap > 0),
        };
        let caps = Caps {
            per_address: cap(self.rate_per_address, PER_ADDRESS),
            per_prefix: cap(self.rate_per_prefix, PER_PREFIX),
            lengths: self.prefix_lengths,
        };
        Limits { concurrency: self.concurrency, rate: self.rate, caps }
    }

    /// The settings of the run's identity by key; empty if not set.
    pub(super) fn identity(&self) -> impl Iterator<Item = (&'static str, String)> {
        let settings = SETTINGS.iter().filter_map(|setting| {
            Some((setting.identity?, (setting.value)(self).unwrap_or_default()))
        });
        // Runs of earlier versions do not state it.
        let folder = self.evidence.as_ref().map(|of| of.folder.display().to_string());
        settings.chain(folder.map(|folder| ("--evidence", folder)))
    }

    /// The settings of the metadata by key.
    pub(super) fn metadata(&self) -> impl Iterator<Item = (&'static str, Option<String>)> {
        SETTINGS.iter().filter_map(|setting| Some((setting.metadata?, (setting.value)(self))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_serialization() {
        let spec = Spec {
            source_ports: Some(40_000..=40_999),
            shard: Some(Shard::parse("2/8").unwrap()),
            control: Some(Share::parse("5%").unwrap()),
            form: Form::Upstream { flows: true },
            ..Spec::default()
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec, "{text}");
        assert_eq!(serde_json::from_str::<Spec>("{}").unwrap(), Spec::default());
        for wrong in [r#"{"rat":1}"#, r#"{"shard":"9/8"}"#, r#"{"control":2}"#] {
            assert!(serde_json::from_str::<Spec>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_of_its_own_has_no_caps() {
        let spec = Spec::default();
        assert_eq!(spec.limits(false).caps.per_address, Some(PER_ADDRESS));
        assert_eq!(spec.limits(true).caps.per_prefix, None);
        let spec = Spec { rate_per_prefix: Some(7), rate_per_address: Some(0), ..spec };
        assert_eq!(spec.limits(true).caps.per_prefix, Some(7));
        assert_eq!(spec.limits(false).caps.per_address, None);
    }
}
