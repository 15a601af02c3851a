//! A measurement as it is meant: names have become functions, steps, kinds and rules.

use std::ops::Range;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use toml::Spanned;

use super::file::{self, File, Text};
use super::read::{self, Path};
use crate::chain::{self, Chain, Selection};
use crate::connect::{self, Kind};
use crate::error::{Diagnostic, Report, did_you_mean};
use crate::rule::Rules;
use crate::step::Step;

/// The kind of connection if the file names none.
pub const DEFAULT_KIND: &str = "tcp";
/// How long a connection may take if the file does not say.
pub const DEFAULT_TIMEOUT: &str = "5s";
/// Nobody waits longer for a connection.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// A measurement, ready to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its title; the name if it has none.
    pub title: String,
    /// What is asked; may be empty.
    pub description: String,
    /// Where the subject is described.
    pub references: Vec<String>,
    /// The file as it was written.
    pub text: String,
    /// The configurations: the baseline first.
    pub configs: Vec<Configuration>,
    /// How targets are connected to.
    pub kind: Kind,
    /// How long one connection may take.
    pub timeout: Duration,
    /// The functions that look at the packets.
    pub selection: Selection,
    /// What is concluded.
    pub rules: Rules,
}

/// One configuration of this host.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its name: `zero`, `one`.
    pub name: &'static str,
    /// Its title; the name if it has none.
    pub title: String,
    /// What is changed, in this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Reads a measurement. `origin` is the file's name for messages; `target_columns` are the
    /// columns that the target list has besides `ip`, `port` and `name`, or with them.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in the order of their places.
    pub fn load(origin: &str, text: &str, target_columns: &Fields) -> Result<Self, Report> {
        let reading = read::read(text);
        let mut checker = Checker { text, mistakes: reading.mistakes, removed: reading.removed };
        let plan = reading.file.and_then(|file| checker.plan(file, target_columns));
        let mut diagnostics = checker.mistakes;
        diagnostics.sort_by(|a, b| {
            (a.span.start, a.span.end, a.code).cmp(&(b.span.start, b.span.end, b.code))
        });
        diagnostics.dedup();
        match plan {
            Some(plan) if diagnostics.is_empty() => Ok(plan),
            _ => Err(Report { origin: origin.to_owned(), text: text.to_owned(), diagnostics }),
        }
    }

    /// The fields of the structs `zero` and `one`: the attempt, whether its flow was observed, and
    /// what the observer's functions record.
    pub fn configuration_fields(&self) -> Vec<Field> {
        configuration_fields(&self.selection)
    }

    /// The schema of a record: the structs `target`, `zero`, `one`.
    pub fn record_schema(&self, target_columns: &Fields) -> Schema {
        record_schema(&self.selection, target_columns)
    }
}

fn configuration_fields(selection: &Selection) -> Vec<Field> {
    let attempt = connect::Attempt::FIELDS.iter();
    attempt
        .chain([&connect::OBSERVED])
        .chain(selection.fields())
        .map(|field| field.arrow())
        .collect()
}

fn record_schema(selection: &Selection, target_columns: &Fields) -> Schema {
    let facts: Fields = configuration_fields(selection).into();
    Schema::new(vec![
        Field::new("target", DataType::Struct(target_fields(target_columns)), false),
        Field::new("zero", DataType::Struct(facts.clone()), false),
        Field::new("one", DataType::Struct(facts), false),
    ])
}

/// The columns that every target has, and those that the list adds.
fn target_fields(extra: &Fields) -> Fields {
    let base = [("ip", DataType::Utf8), ("port", DataType::UInt16), ("name", DataType::Utf8)];
    let base = base.into_iter().filter(|(name, _)| extra.find(name).is_none());
    let base = base.map(|(name, data_type)| Field::new(name, data_type, true).into());
    base.chain(extra.iter().cloned()).collect()
}

/// Turns names into things, and notes what is wrong on the way.
pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) removed: Vec<Path>,
}

impl Checker<'_> {
    pub(super) fn mistake(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.mistakes.push(Diagnostic {
            code,
            span,
            message: message.into(),
            label: String::new(),
            help,
        });
    }

    /// Whether reading took something out of this table (or all of it), so that what is not there
    /// may well have been written.
    pub(super) fn was_removed(&self, table: &[String]) -> bool {
        self.removed.iter().any(|path| path.starts_with(table) || table.starts_with(path))
    }

    /// Something that must be in a table is not there.
    pub(super) fn missing(
        &mut self,
        table: &[String],
        span: Range<usize>,
        message: &str,
        help: &str,
    ) {
        let parent = |path: &Path| path.len() == table.len() + 1 && path.starts_with(table);
        if !self.removed.iter().any(|path| parent(path) || table.starts_with(path)) {
            self.mistake("E0103", span, message, Some(help.into()));
        }
    }

    /// The place of what is missing from the top of the file: its first line with words.
    fn top(&self) -> Range<usize> {
        let start = self.text.len() - self.text.trim_start().len();
        let line = self.text[start..].lines().next().map_or(0, |line| line.trim_end().len());
        start..start + line
    }

    fn plan(&mut self, file: File, target_columns: &Fields) -> Option<Plan> {
        let name = self.name(file.name.as_ref());
        let zero = self.config("zero", file.config.zero);
        let one = self.config("one", file.config.one);
        let kind = self.kind(file.connect.kind.as_ref());
        let timeout = self.timeout(file.connect.timeout.as_ref());
        let before = self.mistakes.len();
        let selection = self.selection(&file.observer);
        let trusted = self.mistakes.len() == before && !self.was_removed(&["observer".into()]);
        let sources = self.conditions(&file.conditions);
        // Where the observer's part is wrong, columns are not missing by their own fault.
        let everything = Selection::everything();
        let known = if trusted { &selection } else { &everything };
        let schema = record_schema(known, target_columns);
        let (rules, mistakes) =
            Rules::compile(&sources, &schema, &|column| provider(column, &selection));
        self.mistakes.extend(mistakes);
        let name = name?;
        Some(Plan {
            title: file.title.unwrap_or_else(|| name.clone()),
            name,
            description: file.description.unwrap_or_default(),
            references: file.references,
            text: self.text.to_owned(),
            configs: vec![zero?, one?],
            kind: kind?,
            timeout: timeout?,
            selection,
            rules,
        })
    }

    fn name(&mut self, name: Option<&Text>) -> Option<String> {
        let Some(name) = name else {
            self.missing(
                &[],
                self.top(),
                "the measurement has no `name`",
                "write name = \"ecn\" at the top",
            );
            return None;
        };
        let text = name.get_ref();
        if text.is_empty()
            || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            let help = "write letters, digits, - and _: it becomes part of file names";
            self.mistake(
                "E0210",
                name.span(),
                "this cannot be a measurement's name",
                Some(help.into()),
            );
        }
        Some(text.clone())
    }

    fn config(
        &mut self,
        name: &'static str,
        config: Option<file::Config>,
    ) -> Option<Configuration> {
        let Some(config) = config else {
            let message = format!("there is no configuration `{name}`");
            let help = match name {
                "zero" => "write a section [config.zero], the baseline; it may have no steps",
                _ => "write a section [config.one], the experiment",
            };
            self.missing(&["config".into()], self.top(), &message, help);
            return None;
        };
        let mut steps = Vec::new();
        for step in &config.steps {
            self.step(step, &mut steps);
        }
        Some(Configuration { name, title: config.title.unwrap_or_else(|| name.to_owned()), steps })
    }

    fn step(&mut self, step: &Spanned<file::Step>, steps: &mut Vec<Step>) {
        let file::Step::Sysctl(settings) = step.get_ref();
        if settings.is_empty() && !self.was_removed(&["config".into()]) {
            let help = "write { sysctl = { \"net.ipv4.tcp_ecn\" = 1 } }";
            self.mistake("E0209", step.span(), "this step changes nothing", Some(help.into()));
        }
        let mut settings: Vec<_> = settings.iter().collect();
        settings.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in settings {
            let text = name.get_ref();
            if !is_sysctl(text) {
                let message = format!("`{text}` is not the name of a network parameter");
                let help = match text.strip_prefix("/proc/sys/") {
                    Some(rest) => format!("write its dotted name: {}", rest.replace('/', ".")),
                    None => "write a name that begins with net. such as net.ipv4.tcp_ecn".into(),
                };
                self.mistake("E0208", name.span(), message, Some(help));
            }
            let value = value.get_ref().0.clone();
            steps.push(Step::Sysctl { name: text.clone(), value });
        }
    }

    fn kind(&mut self, kind: Option<&Text>) -> Option<Kind> {
        let name = kind.map_or(DEFAULT_KIND, |kind| kind.get_ref());
        if let Some(row) = connect::KINDS.iter().find(|row| row.name == name) {
            return Some(row.kind);
        }
        let names: Vec<&str> = connect::KINDS.iter().map(|row| row.name).collect();
        let near = did_you_mean(name, names.iter().copied());
        let help = near.unwrap_or_else(|| format!("the kinds are: {}", names.join(", ")));
        let span = kind.map_or(0..0, Spanned::span);
        self.mistake("E0205", span, format!("unknown kind of connection `{name}`"), Some(help));
        None
    }

    fn timeout(&mut self, timeout: Option<&Text>) -> Option<Duration> {
        let text = timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.get_ref());
        let span = timeout.map_or(0..0, Spanned::span);
        match read_duration(text) {
            Some(duration) if !duration.is_zero() && duration <= LONGEST_TIMEOUT => Some(duration),
            Some(_) => {
                let message = "a connection's timeout is more than zero and at most an hour";
                self.mistake("E0207", span, message, Some(format!("{DEFAULT_TIMEOUT} is usual")));
                None
            }
            None => {
                let help = "write a whole number and a unit, without space: 500ms, 5s or 1m";
                self.mistake(
                    "E0206",
                    span,
                    format!("`{text}` is not a duration"),
                    Some(help.into()),
                );
                None
            }
        }
    }

    fn selection(&mut self, observer: &file::Observer) -> Selection {
        let mut selection = Selection::default();
        let mut placed = Vec::new();
        for (chain, listed) in observer.chains() {
            for name in listed {
                let text = name.get_ref();
                let Some((_, function)) = chain::function(text) else {
                    self.unknown_function(name, chain);
                    continue;
                };
                if !function.chains.has(chain) {
                    let chains: Vec<Chain> = function.chains.iter().collect();
                    let reads: Vec<&str> = chains.iter().map(|chain| chain.reads()).collect();
                    let keys: Vec<&str> = chains.iter().map(|chain| chain.key()).collect();
                    let message = format!(
                        "{text} reads {}, but {} is for {}",
                        reads.join(" and "),
                        chain.key(),
                        chain.reads()
                    );
                    self.mistake(
                        "E0202",
                        name.span(),
                        message,
                        Some(format!("list it in {}", keys.join(" and "))),
                    );
                } else if placed.contains(&(chain, function.name)) {
                    let message = format!("{text} is in {} already", chain.key());
                    self.mistake("E0204", name.span(), message, Some("remove it here".into()));
                    continue;
                } else {
                    placed.push((chain, function.name));
                    selection.place(function, chain);
                }
                let Some(setup) = function.setup else { continue };
                let there = observer.new_flow_chain.iter().any(|name| name.get_ref() == setup);
                if !there && !self.was_removed(&["observer".into(), Chain::NewFlow.key().into()]) {
                    let message =
                        format!("{text} needs {setup}, which makes room for what it records");
                    let help = format!("add \"{setup}\" to {}", Chain::NewFlow.key());
                    // Listed in several chains, it needs its set-up function all the same once.
                    if !self.mistakes.iter().any(|m| m.code == "E0203" && m.message == message) {
                        self.mistake("E0203", name.span(), message, Some(help));
                    }
                }
            }
        }
        selection
    }

    fn unknown_function(&mut self, name: &Text, chain: Chain) {
        let text = name.get_ref();
        let fitting =
            chain::functions().map(|(_, function)| function).filter(|f| f.chains.has(chain));
        let fitting: Vec<&str> = fitting.map(|function| function.name).collect();
        let all = chain::functions().map(|(_, function)| function.name);
        let help = did_you_mean(text, fitting.iter().copied())
            .or_else(|| did_you_mean(text, all))
            .unwrap_or_else(|| format!("functions of {}: {}", chain.key(), fitting.join(", ")));
        self.mistake("E0201", name.span(), format!("unknown function `{text}`"), Some(help));
    }
}

/// What to add to a measurement so that a column is recorded.
fn provider(column: &str, selection: &Selection) -> Option<String> {
    let fields = chain::GROUPS.iter().flat_map(|group| group.fields);
    let field =
        fields.into_iter().find(|field| field.name == column && !selection.has(field.by))?;
    let (_, function) = chain::function(field.by)?;
    let chains: Vec<&str> = function.chains.iter().map(Chain::key).collect();
    let setup = function
        .setup
        .map_or(String::new(), |setup| format!(", and {setup} in {}", Chain::NewFlow.key()));
    Some(format!("{} records it: list it in {}{setup}", function.name, chains.join(" and ")))
}

/// Whether a name stays below /proc/sys/net, whatever separator is used.
fn is_sysctl(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    let mut parts = name.split(['.', '/']);
    name.len() <= 200
        && name.bytes().all(allowed)
        && parts.next() == Some("net")
        && name.contains(['.', '/'])
        && parts.all(|part| !part.is_empty())
}

/// Reads a duration as it is written in measurements and on the command line: 500ms, 5s, 1m.
pub fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| "write a whole number and a unit: 500ms, 5s or 1m".to_owned())
}

fn read_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_stay_below_net() {
        for good in ["net.ipv4.tcp_ecn", "net.ipv4.conf.eth0/1.forwarding", "net/core/rmem_max"] {
            assert!(is_sysctl(good), "{good}");
        }
        for bad in [
            "",
            "net",
            "net.",
            "kernel.hostname",
            "net..x",
            "net/../kernel",
            "net.ipv4/..",
            "/net.x",
            "net.X",
        ] {
            assert!(!is_sysctl(bad), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_whole() {
        assert_eq!(read_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read_duration("1m"), Some(Duration::from_secs(60)));
        for bad in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5h",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert_eq!(read_duration(bad), None, "{bad}");
        }
    }
}
