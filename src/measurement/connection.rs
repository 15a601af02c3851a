//! `[connect]`, and what a configuration has of its own: kinds and options by their names.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::file::{self, Text};
use super::plan::{Checker, Configuration, DEFAULT_KIND, DEFAULT_TIMEOUT, Prepare};
use crate::connect::forge::Packet;
use crate::connect::{self, HTTP_VERSIONS, KindDef, Options};
use crate::error::did_you_mean;

/// How often a target may be asked.
pub(super) const REPEATS: RangeInclusive<i64> = 1..=100;

/// How targets are connected to under one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The kind.
    pub kind: &'static KindDef,
    /// Whether the configuration itself names the kind, so that --connect does not change it.
    pub own_kind: bool,
    /// How long one connection may take.
    pub timeout: Duration,
    /// What else was asked for.
    pub options: Options,
    /// The packet that the file describes: what the kind `forge` sends, be it chosen later.
    pub packet: Option<Packet>,
}

impl Connection {
    /// Whether it depends on what the kernel remembers of TCP Fast Open.
    pub fn fast_open(&self) -> bool {
        self.kind.kind == connect::Kind::TcpFastopen || self.options.tfo.is_some()
    }

    /// The IP protocol of its flows.
    pub fn protocol(&self) -> u8 {
        self.kind.protocol(&self.options)
    }
}

impl Checker<'_> {
    /// The file's own connection, without what configurations change about it.
    pub(super) fn connection(&mut self, base: &file::Connect) -> Option<Connection> {
        self.packet_for_somebody(base);
        self.own_connection(base, &file::OwnConnect::default())
    }

    /// The connection of a configuration.
    pub(super) fn own_connection(
        &mut self,
        base: &file::Connect,
        own: &file::OwnConnect,
    ) -> Option<Connection> {
        let kind = own.kind.as_ref().or(base.kind.as_ref());
        let kind = match kind {
            Some(kind) => self.kind(kind),
            None => connect::kind(DEFAULT_KIND),
        };
        let timeout = own.timeout.as_ref().or(base.timeout.as_ref());
        let timeout = self.duration(timeout, DEFAULT_TIMEOUT);
        let tfo = own.tfo.as_ref().or(base.tfo.as_ref());
        let alpn = own.alpn.as_ref().or(base.alpn.as_ref());
        let version = own.version.as_ref().or(base.version.as_ref());
        let repeat = own.repeat.as_ref().or(base.repeat.as_ref());
        if let Some(alpn) = alpn
            && (alpn.get_ref().is_empty()
                || alpn.get_ref().iter().any(|p| !(1..=255).contains(&p.len())))
        {
            let help = "write [\"h2\", \"http/1.1\"]";
            let message = "these cannot be names of protocols: each has 1 to 255 bytes";
            self.mistake("E0214", alpn.span(), message, Some(help.into()));
        }
        if let Some(repeat) = repeat {
            self.range("repeat", repeat.span(), *repeat.get_ref(), &REPEATS);
        }
        let versions: Vec<_> = HTTP_VERSIONS.iter().map(|(name, _)| (*name, *name)).collect();
        let options = Options {
            tfo: tfo.map(|tfo| *tfo.get_ref()),
            alpn: alpn.map(|alpn| alpn.get_ref().clone()),
            version: version.and_then(|version| self.word(version, "version of HTTP", &versions)),
            repeat: repeat.and_then(|repeat| u32::try_from(*repeat.get_ref()).ok()),
            packet: None,
        };
        let packet = (base.packet.is_some() || own.packet.is_some())
            .then(|| self.packet(base.packet.as_ref(), own.packet.as_ref()));
        let places = [
            ("tfo", tfo.map(Spanned::span)),
            ("alpn", alpn.map(Spanned::span)),
            ("version", version.map(Spanned::span)),
            ("packet", own.packet.as_ref().map(Spanned::span)),
        ];
        let kind = kind?;
        for (option, span) in places {
            let Some(span) = span else { continue };
            if !kind.options.contains(&option) {
                let message = format!("connections of kind {} have no `{option}`", kind.name);
                let able = connect::KINDS.iter().filter(|row| row.options.contains(&option));
                let able: Vec<&str> = able.map(|row| row.name).collect();
                let help = format!("`{option}` is for {}", able.join(", "));
                self.mistake("E0217", span, message, Some(help));
            }
        }
        let (own_kind, timeout) = (own.kind.is_some(), timeout?);
        Some(Connection { kind, own_kind, timeout, options, packet })
    }

    fn kind(&mut self, kind: &Text) -> Option<&'static KindDef> {
        let name = kind.get_ref();
        if let Some(row) = connect::kind(name) {
            return Some(row);
        }
        let names: Vec<&str> = connect::KINDS.iter().map(|row| row.name).collect();
        let near = did_you_mean(name, names.iter().copied());
        let help = near.unwrap_or_else(|| format!("the kinds are: {}", names.join(", ")));
        let message = format!("unknown kind of connection `{name}`");
        self.mistake("E0205", kind.span(), message, Some(help));
        None
    }

    pub(super) fn kinds(&mut self, kinds: &[Text]) -> Vec<&'static KindDef> {
        let kinds: Vec<_> = kinds.iter().map(|kind| self.kind(kind)).collect();
        kinds.into_iter().flatten().collect()
    }

    pub(super) fn prepare(&mut self, prepare: &file::Prepare) -> Prepare {
        Prepare {
            resolve: prepare.resolve.unwrap_or_default(),
            probe: prepare.probe.as_ref().and_then(|probe| self.kind(probe)),
        }
    }

    /// Columns to keep: those that the kind of some configuration provides.
    pub(super) fn keep(
        &mut self,
        keep: &[Text],
        configs: &Option<Vec<Configuration>>,
    ) -> Vec<String> {
        let Some(configs) = configs else { return Vec::new() };
        let mut kinds: Vec<&KindDef> =
            configs.iter().map(|config| config.connection.kind).collect();
        kinds.dedup();
        let columns: Vec<&str> = kinds.iter().flat_map(|kind| kind.columns).copied().collect();
        for name in keep {
            let text = name.get_ref().as_str();
            if columns.contains(&text) {
                continue;
            }
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
            let message =
                format!("connections of kind {} provide no column `{text}`", names.join(" and "));
            let every = connect::Attempt::FIELDS.iter().chain([&connect::OBSERVED]);
            let help = match did_you_mean(text, columns.iter().copied()) {
                Some(near) => near,
                None if every.clone().any(|field| field.name == text) => {
                    "every record has it anyway: remove it here".into()
                }
                None if columns.is_empty() => format!(
                    "there is nothing to keep beside what every record has: {}",
                    every.map(|field| field.name).collect::<Vec<_>>().join(", ")
                ),
                None => format!("there is: {}", columns.join(", ")),
            };
            self.mistake("E0218", name.span(), message, Some(help));
        }
        keep.iter().map(|name| name.get_ref().clone()).collect()
    }
}
