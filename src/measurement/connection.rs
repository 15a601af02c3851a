//! `[connect]`, and what a configuration has of its own: kinds and options by their names.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::file::{self, Text};
use super::plan::{Checker, Configuration, DEFAULT_KIND, DEFAULT_TIMEOUT, Prepare};
use crate::connect::forge::Packet;
use crate::connect::{
    self, GROUPS, HTTP_VERSIONS, KindDef, LONGEST_PATH, METHODS, Options, QUESTIONS,
};
use crate::error::did_you_mean;
use crate::field::FieldDef;

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
    /// The file's own connection, without what configurations change about it. An option that only
    /// the kind of some configuration takes (`others`) is right here too.
    pub(super) fn connection(
        &mut self,
        base: &file::Connect,
        others: &[&'static KindDef],
    ) -> Option<Connection> {
        self.packet_for_somebody(base);
        self.merged(base, &file::OwnConnect::default(), Some(others))
    }

    /// The connection of a configuration. It has what [connect] says as far as its own kind takes it.
    pub(super) fn own_connection(
        &mut self,
        base: &file::Connect,
        own: &file::OwnConnect,
    ) -> Option<Connection> {
        self.merged(base, own, None)
    }

    fn merged(
        &mut self,
        base: &file::Connect,
        own: &file::OwnConnect,
        others: Option<&[&'static KindDef]>,
    ) -> Option<Connection> {
        let kind = own.kind.as_ref().or(base.kind.as_ref());
        let kind = match kind {
            Some(kind) => self.kind(kind),
            None => connect::kind(DEFAULT_KIND),
        };
        let timeout = own.timeout.as_ref().or(base.timeout.as_ref());
        let timeout = self.duration(timeout, DEFAULT_TIMEOUT);
        let inherits = |option: &str| {
            others.is_some() || kind.is_none_or(|kind| kind.options.contains(&option))
        };
        fn pick<'a, T>(own: &'a Option<T>, base: &'a Option<T>, inherits: bool) -> Option<&'a T> {
            own.as_ref().or(base.as_ref().filter(|_| inherits))
        }
        let tfo = pick(&own.tfo, &base.tfo, inherits("tfo"));
        let alpn = pick(&own.alpn, &base.alpn, inherits("alpn"));
        let groups = pick(&own.groups, &base.groups, inherits("groups"));
        let version = pick(&own.version, &base.version, inherits("version"));
        let method = pick(&own.method, &base.method, inherits("method"));
        let path = pick(&own.path, &base.path, inherits("path"));
        let question = pick(&own.question, &base.question, inherits("question"));
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
        if let Some(path) = path
            && (!path.get_ref().starts_with('/')
                || path.get_ref().len() > LONGEST_PATH
                || !path.get_ref().bytes().all(|b| b.is_ascii_graphic()))
        {
            let help = format!(
                "write \"/\" and letters without spaces, at most {LONGEST_PATH}; others as %20"
            );
            self.mistake("E0214", path.span(), "this cannot be the path of a page", Some(help));
        }
        if let Some(groups) = groups
            && groups.get_ref().is_empty()
        {
            let help = "write [\"x25519\"]";
            let message = "without a group there is no key exchange";
            self.mistake("E0214", groups.span(), message, Some(help.into()));
        }
        let words = |words: &'static [(&'static str, &'static str)]| -> Vec<_> {
            words.iter().map(|(name, _)| (*name, *name)).collect()
        };
        let options = Options {
            tfo: tfo.map(|tfo| *tfo.get_ref()),
            alpn: alpn.map(|alpn| alpn.get_ref().clone()),
            groups: groups.map(|groups| {
                let of = words(GROUPS);
                let groups = groups.get_ref().iter();
                groups
                    .filter_map(|group| self.word(group, "group of the key exchange", &of))
                    .collect()
            }),
            version: version
                .and_then(|version| self.word(version, "version of HTTP", &words(HTTP_VERSIONS))),
            method: method.and_then(|method| self.word(method, "method", &words(METHODS))),
            path: path.map(|path| path.get_ref().clone()),
            question: question
                .and_then(|question| self.word(question, "question", &words(QUESTIONS))),
            repeat: repeat.and_then(|repeat| u32::try_from(*repeat.get_ref()).ok()),
            packet: None,
            contact: None,
        };
        let packet = (base.packet.is_some() || own.packet.is_some())
            .then(|| self.packet(base.packet.as_ref(), own.packet.as_ref()));
        let places = [
            ("tfo", tfo.map(Spanned::span)),
            ("alpn", alpn.map(Spanned::span)),
            ("groups", groups.map(Spanned::span)),
            ("version", version.map(Spanned::span)),
            ("packet", own.packet.as_ref().map(Spanned::span)),
            ("method", method.map(Spanned::span)),
            ("path", path.map(Spanned::span)),
            ("question", question.map(Spanned::span)),
        ];
        let kind = kind?;
        let others = others.unwrap_or_default();
        let mut fits = true;
        for (option, span) in places.clone() {
            let Some(span) = span else { continue };
            let elsewhere = others.iter().any(|kind| kind.options.contains(&option));
            if !kind.options.contains(&option) && !elsewhere {
                let message = format!("connections of kind {} have no `{option}`", kind.name);
                let able = connect::KINDS.iter().filter(|row| row.options.contains(&option));
                let able: Vec<&str> = able.map(|row| row.name).collect();
                let help = format!("`{option}` is for {}", able.join(", "));
                self.mistake("E0217", span, message, Some(help));
                fits = false;
            }
        }
        if let Some((option, message)) = options.conflict(kind).filter(|_| fits) {
            let span = places.into_iter().find(|(name, _)| *name == option);
            let span = span.and_then(|(_, span)| span).unwrap_or(0..0);
            let help = match option {
                "version" => None,
                _ => Some(format!("leave out `{option}`, or write another `version`")),
            };
            self.mistake("E0217", span, message, help);
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

    /// The columns of replies that are kept: of those that the kinds of the configurations provide,
    /// the named ones, or all if the file names none.
    pub(super) fn keep(
        &mut self,
        keep: Option<&[Text]>,
        configs: Option<&[Configuration]>,
    ) -> Keep {
        let names = keep.map(|keep| keep.iter().map(|name| name.get_ref().clone()).collect());
        let Some(configs) = configs else { return Keep(names) };
        let mut kinds: Vec<&KindDef> =
            configs.iter().map(|config| config.connection.kind).collect();
        kinds.dedup();
        for name in keep.unwrap_or_default() {
            let text = name.get_ref().as_str();
            let columns: Vec<&str> = provided(configs).map(|field| field.name).collect();
            if columns.contains(&text) {
                continue;
            }
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
            let message =
                format!("connections of kind {} provide no column `{text}`", kinds.join(" and "));
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
        Keep(names)
    }
}

/// Which columns of replies are kept: all, or those that are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep(Option<Vec<String>>);

impl Keep {
    /// The columns that are kept under these configurations, in the order of [`connect::Reply`].
    pub(super) fn columns(&self, configs: &[Configuration]) -> Vec<&'static FieldDef> {
        let wanted = |field: &&FieldDef| {
            self.0.as_ref().is_none_or(|names| names.iter().any(|name| name == field.name))
        };
        provided(configs).filter(wanted).collect()
    }
}

/// The columns that the kinds of some configurations provide.
fn provided(configs: &[Configuration]) -> impl Iterator<Item = &'static FieldDef> {
    let provides = |kind: &KindDef, field: &FieldDef| kind.columns.contains(&field.name);
    connect::Reply::FIELDS
        .iter()
        .filter(move |field| configs.iter().any(|config| provides(config.connection.kind, field)))
}
