//! `[connect]` and the differences of a configuration: resolves the names of kinds, options and columns.

use super::bounds::{DEFAULT_KIND, DEFAULT_TIMEOUT, read_size, size};
use super::checker::Checker;
use super::file::{self, OwnConnect, Written};
use super::plan::{Configuration, Connection, Keep, Prepare, provided};
use super::words::Text;
use crate::connect::options::{OPTIONS, PACKET, Takes, VERSION, Words};
use crate::connect::{self, KindDef, OptionDef, Options, Value};
use crate::error::did_you_mean;

/// Words that people write for a kind of connection, and what does it.
static MEANT: &[(&[&str], &str)] = &[
    (
        &["udp"],
        "write kind = \"dns_udp\" for a DNS query, or kind = \"forge\" with packet = { protocol = \"udp\" } for any datagram",
    ),
    (&["dns"], "write dns_udp or dns_tcp"),
    (&["tls", "ssl"], "write https: a page over TLS"),
    (&["http2", "http/2"], "write h2, or kind = \"https\" with version = \"h2\""),
    (&["tfo", "fastopen"], "write tcp_fastopen"),
    (&["syn", "raw", "packet"], "write forge: one packet, described by `packet`"),
    (
        &["quic", "http3", "h3", "icmp", "ping", "sctp", "websocket", "ws"],
        "there is no such kind; forge sends one packet over TCP or UDP, described by `packet`",
    ),
];

impl Checker<'_> {
    /// The file's own connection, without the differences of configurations. An option that only
    /// the kind of some configuration takes (`others`) is valid here too.
    pub(super) fn connection(
        &mut self,
        base: &file::Connect,
        others: &[&'static KindDef],
    ) -> Option<Connection> {
        self.packet_is_used(base);
        self.merged(base, &OwnConnect::default(), Some(others))
    }

    /// The connection of a configuration: the options of [connect] that its kind takes, and its own.
    pub(super) fn own_connection(
        &mut self,
        base: &file::Connect,
        own: &OwnConnect,
    ) -> Option<Connection> {
        self.merged(base, own, None)
    }

    fn merged(
        &mut self,
        base: &file::Connect,
        OwnConnect(own): &OwnConnect,
        others: Option<&[&'static KindDef]>,
    ) -> Option<Connection> {
        let kind = match own.kind.as_ref().or(base.kind.as_ref()) {
            Some(kind) => self.kind(kind),
            None => connect::kind(DEFAULT_KIND),
        };
        let timeout = own.timeout.as_ref().or(base.timeout.as_ref());
        let timeout = self.duration(timeout, DEFAULT_TIMEOUT);
        let inherits =
            |option: &OptionDef| others.is_some() || kind.is_none_or(|kind| kind.takes(option));
        let mut options = Options::default();
        let mut places = Vec::new();
        for option in OPTIONS {
            let inherited = base.option(option).filter(|_| inherits(option));
            if let Some(written) = own.option(option).or(inherited) {
                places.push((*option, written.span()));
                if let Some(value) = self.value(option, written, inherited) {
                    options.set(option, value);
                }
            }
        }
        let packet = (base.packet.is_some() || own.packet.is_some())
            .then(|| self.packet(base.packet.as_ref(), own.packet.as_ref()));
        places.extend(own.packet.as_ref().map(|packet| (&PACKET, packet.span())));
        let kind = kind?;
        let others = others.unwrap_or_default();
        let mut fits = true;
        for (option, span) in &places {
            if kind.takes(option) || others.iter().any(|kind| kind.takes(option)) {
                continue;
            }
            let message = format!("connections of kind {} have no `{}`", kind.name, option.name);
            let able = connect::KINDS.iter().filter(|row| row.takes(option));
            let able: Vec<&str> = able.map(|row| row.name).collect();
            let help = format!("`{}` is for {}", option.name, able.join(", "));
            self.mistake("E0217", span.clone(), message, Some(help));
            fits = false;
        }
        if let Some((option, message)) = (kind.conflict)(kind, &options).filter(|_| fits) {
            let span = places.into_iter().find(|(other, _)| *other == option);
            let span = span.map_or(0..0, |(_, span)| span);
            let help = (*option != VERSION)
                .then(|| format!("leave out `{}`, or write another `version`", option.name));
            self.mistake("E0217", span, message, help);
        }
        let (own_kind, timeout) = (own.kind.is_some(), timeout?);
        Some(Connection { kind, own_kind, timeout, options, packet })
    }

    /// The value of an option, where `[connect]` may have another one. A wrong value is recorded and, if it has a
    /// meaning, used all the same.
    fn value(
        &mut self,
        option: &OptionDef,
        written: &Written,
        inherited: Option<&Written>,
    ) -> Option<Value> {
        let pairs = |words: &Words| words.all.iter().map(|(name, _)| (*name, *name)).collect();
        let value = match (&option.takes, written) {
            (_, Written::Boolean(value)) => Value::Boolean(*value.get_ref()),
            (Takes::Integer(range), Written::Integer(value)) => {
                let number = *value.get_ref();
                self.range(option.name, value.span(), number, range)?;
                Value::Integer(number)
            }
            (Takes::Size(range), Written::Text(text)) => {
                let example = option.example.trim_matches('\'');
                let Some(octets) = read_size(text.get_ref()) else {
                    let message = format!("`{}` is not a number of octets", text.get_ref());
                    let help = format!("write a whole number and B, kB, KiB, MB or MiB: {example}");
                    self.mistake("E0214", text.span(), message, Some(help));
                    return None;
                };
                if !range.contains(&octets) {
                    let message = format!("`{}` cannot be {}", option.name, text.get_ref());
                    let (least, most) = (size(*range.start()), size(*range.end()));
                    let help = format!("write a size from {least} to {most}");
                    self.mistake("E0214", text.span(), message, Some(help));
                    return None;
                }
                Value::Integer(octets)
            }
            (Takes::Word(words), Written::Text(word)) => {
                let all: Vec<_> = pairs(words);
                Value::Word(self.word(word, words.of, &all)?)
            }
            (Takes::Words(words), Written::Texts(list)) => {
                let (all, list): (Vec<_>, _) = (pairs(words), list.get_ref());
                let known = list.iter().filter_map(|word| self.word(word, words.of, &all));
                let known: Vec<&str> = known.collect();
                if known.len() < list.len() {
                    return Some(Value::Words(known));
                }
                Value::Words(known)
            }
            (_, Written::Text(text)) => Value::Text(text.get_ref().clone()),
            (_, Written::Texts(list)) => {
                Value::Texts(list.get_ref().iter().map(|text| text.get_ref().clone()).collect())
            }
            (_, Written::Edns(own)) => {
                let base = inherited.and_then(|inherited| match inherited {
                    Written::Edns(base) => Some(base),
                    _ => None,
                });
                Value::Edns(self.edns(base, Some(own))?)
            }
            (_, Written::Integer(_)) => return None,
        };
        if let Some((message, help)) = (option.check)(&value) {
            self.mistake("E0214", written.span(), message, Some(help));
        }
        Some(value)
    }

    fn kind(&mut self, kind: &Text) -> Option<&'static KindDef> {
        let name = kind.get_ref();
        if let Some(row) = connect::kind(name) {
            return Some(row);
        }
        let names: Vec<&str> = connect::KINDS.iter().map(|row| row.name).collect();
        let lower = name.to_ascii_lowercase();
        let meant = MEANT.iter().find(|(words, _)| words.contains(&lower.as_str()));
        let near = meant.map(|(_, help)| (*help).to_owned());
        let near = near.or_else(|| did_you_mean(name, names.iter().copied()));
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

    /// The columns of replies that are kept, out of those that the kinds of the configurations provide:
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
                    "this kind adds no columns; every record has: {}",
                    every.map(|field| field.name).collect::<Vec<_>>().join(", ")
                ),
                None => format!("its columns are: {}", columns.join(", ")),
            };
            self.mistake("E0218", name.span(), message, Some(help));
        }
        Keep(names)
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Fields;

    use super::*;
    use crate::measurement::Plan;

    #[test]
    fn kinds_accept_the_examples_and_defaults_of_their_options() {
        for (kind, option) in
            connect::KINDS.iter().flat_map(|k| OPTIONS.iter().map(move |o| (k, o)))
        {
            // Not every kind supports the version of the example.
            let example = match kind.versions.first() {
                Some(version) if **option == VERSION => format!("'{version}'"),
                _ => option.example.to_owned(),
            };
            for value in [example.as_str(), option.default] {
                if value.is_empty() {
                    continue;
                }
                let pair = format!("{} = {value}", option.name);
                let base = format!("kind = '{}'\n{pair}\n[config.zero]", kind.name);
                let own = format!("[config.zero]\nconnect = {{ kind = '{}', {pair} }}", kind.name);
                for text in [base, own] {
                    let text = format!("name = 'x'\n[connect]\n{text}\n");
                    let plan = Plan::load("x.toml", &text, &Fields::empty());
                    assert_eq!(plan.is_ok(), kind.takes(option), "{text}");
                    let Ok(plan) = plan else { continue };
                    let options = &plan.configs[0].connection.options;
                    let given = options.get(option).is_some() || options.packet.is_some();
                    assert!(given, "{text}");
                }
            }
        }
    }
}
