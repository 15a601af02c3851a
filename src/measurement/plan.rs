//! A measurement with its names resolved to functions, steps, kinds and rules.

use std::ops::Range;
use std::time::Duration;

use arrow_schema::{Field, Fields, Schema};

use super::extends::{Origin, Sources};
use super::locate::Locate;
use super::params::Param;
use super::record::{configuration_fields, record_schema};
use super::sweep::Swept;
use crate::chain::Selection;
use crate::connect::forge::{Packet, Protocol};
use crate::connect::options::{PACKET, TFO};
use crate::connect::{self, KindDef, Options};
use crate::error::{Diagnostic, Report};
use crate::field::FieldDef;
use crate::rule::Rules;
use crate::step::{Privilege, Step, Turns};

/// A measurement, ready to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its title; the name if it has none.
    pub title: String,
    /// The question that it answers; may be empty.
    pub description: String,
    /// Where its subject is described.
    pub references: Vec<String>,
    /// The text of the file; of one that extends another, the text of both together.
    pub text: String,
    /// The files as they are written.
    pub sources: Sources,
    /// Where the parts of the measurement are written, if it extends another.
    pub origins: Vec<Origin>,
    /// The values that a user may change, in file order.
    pub params: Vec<Param>,
    /// The configurations: the baseline first, then its experiments.
    pub configs: Vec<Configuration>,
    /// The kinds of connection that a user may choose instead of the file's.
    pub kinds: Vec<&'static KindDef>,
    /// The timeout of one connection, unless a configuration overrides it.
    pub timeout: Duration,
    /// Work that is done once for every target.
    pub prepare: Prepare,
    /// How verdicts of broken and transient are confirmed.
    pub confirm: Confirm,
    /// What the file wants to be located.
    pub locatable: Option<Locate>,
    /// What is located, if the user wants that.
    pub locate: Option<Locate>,
    /// Which columns of replies the file keeps.
    pub keep: Keep,
    /// The functions that read the packets.
    pub selection: Selection,
    /// The conclusions; conditions over a sweep are expanded.
    pub rules: Rules,
    /// Parts that are valid, but probably do not measure what the author intends.
    pub warnings: Vec<Diagnostic>,
}

/// One configuration of this host.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its name: `zero`, `one`.
    pub name: &'static str,
    /// Its title; the name if it has none.
    pub title: String,
    /// Its changes to the host, in this order.
    pub steps: Vec<Step>,
    /// The places of the steps in the file, in the same order, without [`Step::HoldReset`], which is in no file.
    pub(super) places: Vec<Range<usize>>,
    /// How it connects to targets.
    pub connection: Connection,
    /// Its values of a sweep: columns of its struct.
    pub swept: Vec<Swept>,
}

/// How one configuration connects to targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The kind.
    pub kind: &'static KindDef,
    /// Whether the configuration itself names the kind, so a user's choice does not change it.
    pub own_kind: bool,
    /// The timeout of one connection.
    pub timeout: Duration,
    /// The options.
    pub options: Options,
    /// The packet that the file describes, for the kind `forge`, even if that is chosen later.
    pub packet: Option<Packet>,
}

impl Connection {
    /// Whether it depends on the kernel's cache of TCP Fast Open cookies.
    pub fn fast_open(&self) -> bool {
        self.kind.early || self.options.boolean(&TFO).is_some()
    }

    /// The IP protocol of its flows.
    pub fn protocol(&self) -> u8 {
        self.kind.protocol(&self.options)
    }
}

/// The columns of replies that are kept: all, or the named ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep(pub(super) Option<Vec<String>>);

impl Keep {
    /// The columns kept under these configurations, in the order of [`connect::Reply`].
    pub(super) fn columns(&self, configs: &[Configuration]) -> Vec<&'static FieldDef> {
        let wanted = |field: &&FieldDef| {
            self.0.as_ref().is_none_or(|names| names.iter().any(|name| name == field.name))
        };
        provided(configs).filter(wanted).collect()
    }
}

/// The columns that the kinds of some configurations provide.
pub(super) fn provided(configs: &[Configuration]) -> impl Iterator<Item = &'static FieldDef> {
    let provides = |kind: &KindDef, field: &FieldDef| kind.columns.contains(&field.name);
    connect::Reply::FIELDS
        .iter()
        .filter(move |field| configs.iter().any(|config| provides(config.connection.kind, field)))
}

/// Work that is done once for every target, before all configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepare {
    /// Whether target names are looked up.
    pub resolve: bool,
    /// The connection that shows whether the target is up at all.
    pub probe: Option<&'static KindDef>,
}

impl Prepare {
    /// Whether there is any.
    pub fn is_something(&self) -> bool {
        self.resolve || self.probe.is_some()
    }
}

/// How a verdict of broken or transient is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// The number of confirmation rounds, each under every configuration; 0 if nothing compares.
    pub rounds: u16,
    /// The least time from the end of one round to the next.
    pub spread: Duration,
}

/// The name of the configuration that only shows whether a target is up.
const PROBE: &str = "probe";

impl Plan {
    /// The warnings about a file of this name.
    pub fn warnings(&self, origin: &str) -> Report {
        self.sources.report(origin, self.warnings.clone())
    }

    /// The columns of replies that are kept, in the order of [`Reply`](connect::Reply): those that the
    /// kinds in use provide, unless the file keeps fewer.
    pub fn reply_columns(&self) -> Vec<&'static FieldDef> {
        self.keep.columns(&self.configs)
    }

    /// The fields of a configuration's struct: the attempt, the kept columns of the reply, whether the
    /// attempt's flow was observed, and the facts of the observer's functions. Swept values follow
    /// ([`Configuration::swept`]).
    pub fn configuration_fields(&self) -> Vec<Field> {
        configuration_fields(&self.selection, &self.reply_columns())
    }

    /// The schema of a record: the structs `target`, `zero`, `one` and so on.
    pub fn record_schema(&self, target_columns: &Fields) -> Schema {
        let configs = self.configs.iter().map(|config| (config.name, config.swept.as_slice()));
        let prepares = self.prepare.is_something();
        let rounds = self.rules.comparing().filter(|_| self.confirm.rounds > 0);
        let reply = self.reply_columns();
        let extra = (prepares, self.locate.is_some());
        record_schema(&self.selection, &reply, extra, configs, target_columns, rounds)
    }

    /// The connection that checks before all configurations whether a target is up, if there is one.
    pub fn probe(&self) -> Option<Configuration> {
        let kind = self.prepare.probe?;
        let options = connect::Options::default();
        let timeout = self.timeout;
        let connection = Connection { kind, own_kind: true, timeout, options, packet: None };
        let mut probe = Configuration {
            name: PROBE,
            title: "is it up?".to_owned(),
            steps: Vec::new(),
            places: Vec::new(),
            connection,
            swept: Vec::new(),
        };
        probe.complete();
        Some(probe)
    }

    /// The port of targets without one: that of the baseline's kind.
    pub fn port(&self) -> u16 {
        let connection = self.configs.first().map(|config| &config.connection);
        connection.map_or(0, |connection| connection.kind.port_with(&connection.options))
    }

    /// How configurations take turns: derived from their steps.
    pub fn turns(&self) -> Turns {
        let of = |config: &Configuration| config.connection.options.repeat();
        Turns::of(self.configs.iter().map(|config| (config.steps.as_slice(), of(config))))
    }

    /// The privileges that the steps need, each once, without those of the capture.
    pub fn privileges(&self) -> Vec<Privilege> {
        let steps = self.configs.iter().flat_map(|config| &config.steps);
        let mut all: Vec<Privilege> = steps.map(Step::privilege).collect();
        all.sort();
        all.dedup();
        all.retain(|privilege| *privilege != Privilege::None);
        all
    }

    /// Every condition with its verdict as one SQL expression over the records, sweeps expanded.
    pub fn expanded_sql(&self) -> Vec<(String, String)> {
        self.rules.iter().map(|rule| (rule.name().to_owned(), rule.sql())).collect()
    }
}

impl Configuration {
    /// Adds the packet exactly for the kind that sends one, and keeps the kernel from
    /// resetting its connections.
    pub(super) fn complete(&mut self) {
        let connection = &mut self.connection;
        let packet =
            connection.kind.takes(&PACKET).then(|| connection.packet.clone().unwrap_or_default());
        let hold = packet.as_ref().is_some_and(|packet| packet.protocol == Protocol::Tcp);
        connection.options.packet = packet;
        self.steps.retain(|step| *step != Step::HoldReset);
        if hold {
            self.steps.insert(0, Step::HoldReset);
        }
    }
}
