//! A measurement as it is meant: names have become functions, steps, kinds and rules.

use std::ops::Range;
use std::time::Duration;

use arrow::datatypes::{Field, Fields, Schema};
use toml::Spanned;

use super::NAMES;
use super::columns::Chosen;
use super::confirm::Confirm;
use super::connection::{Connection, Keep};
use super::file::{Config, Configs, File, Text};
use super::limits::MISTAKES;
use super::params::{Overrides, Param};
use super::read::{self, Path};
use super::record::{configuration_fields, record_schema, with_flags};
use super::steps::places;
use super::sweep::Swept;
use crate::chain::Selection;
use crate::connect::{self, KindDef};
use crate::error::{Diagnostic, Error, Report, Result};
use crate::field::FieldDef;
use crate::rule::{Rules, column_of};
use crate::step::{Privilege, Step, Turns};

/// The kind of connection if the file names none.
pub const DEFAULT_KIND: &str = "tcp";
/// How long a connection may take if the file does not say.
pub const DEFAULT_TIMEOUT: &str = "5s";

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
    /// The values that a user may change, in the order of the file.
    pub params: Vec<Param>,
    /// The configurations: the baseline first, then at most seven experiments.
    pub configs: Vec<Configuration>,
    /// The kinds of connection that a user may choose instead of the file's.
    pub kinds: Vec<&'static KindDef>,
    /// How long one connection may take, where a configuration does not say otherwise.
    pub timeout: Duration,
    /// What is done once for every target.
    pub prepare: Prepare,
    /// What is done about targets that look broken or transient.
    pub confirm: Confirm,
    /// Which columns of replies the file keeps.
    pub keep: Keep,
    /// The functions that look at the packets.
    pub selection: Selection,
    /// What is concluded; conditions over a sweep are already one for every value.
    pub rules: Rules,
    /// What hardly measures what its author means, though it can be run.
    pub warnings: Vec<Diagnostic>,
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
    /// Where in the file the steps are, in the same order but for [`Step::HoldReset`], which no file writes.
    pub(super) places: Vec<Range<usize>>,
    /// How targets are connected to.
    pub connection: Connection,
    /// The values that a sweep gave it: columns of its struct.
    pub swept: Vec<Swept>,
}

/// The name of the configuration that only shows whether a target is up.
const PROBE: &str = "probe";

/// What is done once for every target, before all configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepare {
    /// Whether names of targets are looked up.
    pub resolve: bool,
    /// The connection that shows whether the target is up at all.
    pub probe: Option<&'static KindDef>,
}

impl Prepare {
    /// Whether anything is done.
    pub fn is_something(&self) -> bool {
        self.resolve || self.probe.is_some()
    }
}

impl Plan {
    /// Reads a measurement. `origin` is the file's name for messages; `target_columns` are the
    /// columns that the target list has besides `ip`, `port` and `name`, or with them.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in the order of their places.
    pub fn load(origin: &str, text: &str, target_columns: &Fields) -> Result<Self, Report> {
        Self::read(origin, text, target_columns, &Overrides::default()).map(|(plan, _)| plan)
    }

    /// Reads a measurement, some of whose params the user gives other values.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in the order of their places; if there are none, every override
    /// that names no param or is not of its type.
    pub fn load_with(
        origin: &str,
        text: &str,
        target_columns: &Fields,
        overrides: &Overrides,
    ) -> Result<Self> {
        let (mut plan, mut refused) = Self::read(origin, text, target_columns, overrides)?;
        if let Some(kind) = &overrides.connect {
            refused.extend(plan.choose(kind, target_columns).err());
        }
        match refused.is_empty() {
            true => Ok(plan),
            false => Err(Error::Usage(refused.join("\n"))),
        }
    }

    fn read(
        origin: &str,
        text: &str,
        target_columns: &Fields,
        overrides: &Overrides,
    ) -> Result<(Self, Vec<String>), Report> {
        let reading = read::read(text, overrides);
        let sweeps = !reading.swept.is_empty();
        let mut checker = Checker {
            text,
            mistakes: reading.mistakes,
            removed: reading.removed,
            swept: reading.swept,
            rounds: overrides.rounds,
        };
        let plan = reading.file.and_then(|file| checker.plan(file, reading.params, target_columns));
        let mut diagnostics = checker.mistakes;
        diagnostics.sort_by(|a, b| {
            (a.span.start, a.span.end, a.code).cmp(&(b.span.start, b.span.end, b.code))
        });
        // Warnings give way to errors.
        if diagnostics.len() > MISTAKES {
            diagnostics.sort_by_key(|diagnostic| !diagnostic.is_error());
            diagnostics.truncate(MISTAKES);
            diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        }
        without_echoes(&mut diagnostics, sweeps);
        match plan {
            Some(plan) if !diagnostics.iter().any(Diagnostic::is_error) => {
                Ok((Self { warnings: diagnostics, ..plan }, reading.refused))
            }
            _ => Err(Report { origin: origin.to_owned(), text: text.to_owned(), diagnostics }),
        }
    }

    /// The warnings about a file of this name.
    pub fn warnings(&self, origin: &str) -> Report {
        let (origin, text, diagnostics) = (origin.into(), self.text.clone(), self.warnings.clone());
        Report { origin, text, diagnostics }
    }

    /// Takes another kind of connection, where the file lets the user choose it.
    fn choose(&mut self, name: &str, target_columns: &Fields) -> Result<(), String> {
        let Some(kind) = self.kinds.iter().copied().find(|kind| kind.name == name) else {
            let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
            return Err(match names.is_empty() {
                true => format!(
                    "--connect {name}: the measurement leaves no choice (it has no `kinds`)"
                ),
                false => format!(
                    "--connect {name}: the measurement leaves the choice of {}",
                    names.join(", ")
                ),
            });
        };
        for config in self.configs.iter_mut().filter(|config| !config.connection.own_kind) {
            let mut given = config.connection.options.given();
            // A plain SYN is what the kind does by itself.
            given.retain(|option| *option != "packet" || config.connection.packet.is_some());
            if let Some(option) = given.iter().find(|option| !kind.options.contains(option)) {
                return Err(format!(
                    "--connect {name}: it has no `{option}`, which the measurement asks for"
                ));
            }
            if let Some((_, why)) = config.connection.options.conflict(kind) {
                return Err(format!("--connect {name}: {why}"));
            }
            config.connection.kind = kind;
            config.complete();
        }
        // Another kind may not provide what a condition is about.
        let schema = self.record_schema(target_columns);
        match self.rules.against(&with_flags(schema), &Chosen(&self.selection)) {
            Ok(rules) => {
                self.rules = rules;
                Ok(())
            }
            Err(mistakes) => {
                let first = mistakes.first().map_or("", |mistake| mistake.message.as_str());
                Err(format!("--connect {name}: with it, the conditions are not right: {first}"))
            }
        }
    }

    /// The columns of replies that are kept, in the order of [`Reply`](connect::Reply): those that the
    /// kinds in use provide, as far as the file does not keep fewer.
    pub fn reply_columns(&self) -> Vec<&'static FieldDef> {
        self.keep.columns(&self.configs)
    }

    /// The fields of a configuration's struct: the attempt, what is kept of the reply, whether the
    /// attempt's flow was observed, what the observer's functions record. Swept values come behind
    /// them ([`Configuration::swept`]).
    pub fn configuration_fields(&self) -> Vec<Field> {
        configuration_fields(&self.selection, &self.reply_columns())
    }

    /// The schema of a record: the structs `target`, `zero`, `one` and so on.
    pub fn record_schema(&self, target_columns: &Fields) -> Schema {
        let configs = self.configs.iter().map(|config| (config.name, config.swept.as_slice()));
        let prepares = self.prepare.is_something();
        let rounds = self.rules.comparing().filter(|_| self.confirm.rounds > 0);
        let reply = self.reply_columns();
        record_schema(&self.selection, &reply, prepares, configs, target_columns, rounds)
    }

    /// How a target is asked before all configurations whether it is up, if it is.
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

    /// The port of targets that have none of their own: that of the baseline's kind.
    pub fn port(&self) -> u16 {
        let connection = self.configs.first().map(|config| &config.connection);
        connection.map_or(0, |connection| connection.options.port(connection.kind))
    }

    /// How configurations follow each other: derived from the scopes of their steps.
    pub fn turns(&self) -> Turns {
        Turns::of(self.configs.iter().flat_map(|config| &config.steps))
    }

    /// What the steps need to be allowed, each once; the capture's own needs are not among them.
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

/// Leaves out what is only another mistake's doing.
fn without_echoes(diagnostics: &mut Vec<Diagnostic>, sweeps: bool) {
    diagnostics.dedup();
    if sweeps {
        // What a sweep made several of has one place in the file.
        diagnostics.dedup_by(|a, b| a.span == b.span && a.code == b.code);
    }
    let others: Vec<(Range<usize>, &str)> =
        diagnostics.iter().map(|d| (d.span.clone(), d.code)).collect();
    diagnostics.retain(|d| {
        let covers = |span: &Range<usize>| d.span.start <= span.start && span.end <= d.span.end;
        let is_name = |code: &str| matches!(code, "E0105" | "E0106");
        !others.iter().filter(|(span, _)| covers(span)).any(|(span, code)| {
            // A value that could not be put in is not wrong in another way too.
            (is_name(code) && !is_name(d.code))
                // A step that is empty only because its content is wrong.
                || (d.code == "E0209" && *span != d.span)
                // The same in a condition of which a sweep made several, where it has no exact place.
                || (sweeps && *code == d.code && *span != d.span)
        })
    });
    diagnostics.retain(|d| !d.message.is_empty());
}

/// Turns names into things, and notes what is wrong on the way.
pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) removed: Vec<Path>,
    /// The swept values of every configuration, by its number.
    pub(super) swept: Vec<Vec<Swept>>,
    /// How often the user wants targets asked again.
    pub(super) rounds: Option<u16>,
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

    fn plan(&mut self, file: File, params: Vec<Param>, target_columns: &Fields) -> Option<Plan> {
        let name = self.name(file.name.as_ref());
        let others = file.config.kinds();
        let base = self.connection(&file.connect, &others);
        let (configs, names) = self.configs(file.config, &file.connect);
        let kinds = self.kinds(&file.connect.kinds);
        let prepare = self.prepare(&file.connect.prepare);
        let keep = file.connect.after.keep.as_deref();
        let keep = self.keep(keep, configs.as_deref());
        // Where a configuration is wrong, no column is missing by a condition's fault.
        let reply = match &configs {
            Some(configs) => keep.columns(configs),
            None => connect::Reply::FIELDS.iter().collect(),
        };
        let before = self.mistakes.len();
        let selection = self.selection(&file.observer);
        let trusted = self.mistakes.len() == before && !self.was_removed(&["observer".into()]);
        let sources = self.conditions(&file.conditions, &names);
        let mut confirm = self.confirm(&file.confirm);
        confirm.rounds = self.rounds.unwrap_or(confirm.rounds);
        let compares = sources.iter().filter(|source| names.len() > 1 && source.compares());
        let rounds: Vec<String> = compares.map(|source| column_of(&source.name)).collect();
        if rounds.is_empty() {
            confirm.rounds = 0;
        }
        // Where the observer's part is wrong, columns are not missing by their own fault.
        let everything = Selection::everything();
        let known = if trusted { &selection } else { &everything };
        let schema = {
            let swept = |name: &&'static str| {
                let number = NAMES.iter().position(|known| known == name).unwrap_or_default();
                (*name, self.swept.get(number).map_or(&[][..], Vec::as_slice))
            };
            let rounds = rounds.into_iter().filter(|_| confirm.rounds > 0);
            let (prepares, configs) = (prepare.is_something(), names.iter().map(swept));
            record_schema(known, &reply, prepares, configs, target_columns, rounds)
        };
        let (rules, mistakes) = Rules::compile(&sources, &with_flags(schema), &Chosen(&selection));
        self.mistakes.extend(mistakes);
        let name = name?;
        Some(Plan {
            title: file.title.unwrap_or_else(|| name.clone()),
            name,
            description: file.description.unwrap_or_default(),
            references: file.references,
            text: self.text.to_owned(),
            params,
            configs: configs?,
            kinds,
            timeout: base?.timeout,
            prepare,
            confirm,
            keep,
            selection,
            rules,
            warnings: Vec::new(),
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

    /// The configurations, if all of them could be read, and the names of those that are there. Where
    /// something was taken out, the names are as if it had been right.
    fn configs(
        &mut self,
        configs: Configs,
        base: &super::file::Connect,
    ) -> (Option<Vec<Configuration>>, Vec<&'static str>) {
        let list = configs.into_list();
        let here = ["config".to_owned()];
        let last = list.iter().rposition(Option::is_some).unwrap_or_default();
        let mut all = Some(Vec::new());
        let mut names = Vec::new();
        let mut gap = None;
        for (number, (name, config)) in NAMES.iter().zip(list).enumerate().take(last + 1) {
            names.push(*name);
            let Some(config) = config else {
                all = None;
                if number == 0 {
                    let help = "write a section [config.zero], the baseline; it may have no steps";
                    let message = "there is no configuration `zero`";
                    self.missing(&here, self.top(), message, help);
                } else if gap.is_none() && !self.was_removed(&here) {
                    gap = Some(*name);
                }
                continue;
            };
            if let Some(gap) = gap.take() {
                let message = format!("there is a configuration `{name}` without `{gap}`");
                let help =
                    format!("call it [config.{gap}]: configurations are counted without gaps");
                self.mistake("E0108", config.span(), message, Some(help));
            }
            let made = self.config(name, number, config.get_ref(), base);
            match (&mut all, made) {
                (Some(all), Some(made)) => all.push(made),
                _ => all = None,
            }
        }
        // If a configuration was taken out whole, what names it is not wrong by its own fault.
        for path in &self.removed {
            if let [config, name, ..] = path.as_slice()
                && config == "config"
                && let Some(name) = NAMES.iter().find(|known| *known == name)
                && !names.contains(name)
            {
                names.push(name);
            }
        }
        (all, names)
    }

    fn config(
        &mut self,
        name: &'static str,
        number: usize,
        config: &Config,
        base: &super::file::Connect,
    ) -> Option<Configuration> {
        let mut steps = Vec::new();
        for step in &config.steps {
            self.step(step, &mut steps);
        }
        let places = config.steps.iter().flat_map(places).collect();
        self.contradictions(&config.steps);
        let connection = self.own_connection(base, &config.connect);
        let swept = self.swept.get(number).cloned().unwrap_or_default();
        let mut title = config.title.clone().unwrap_or_else(|| name.to_owned());
        // One title for several configurations would not tell them apart.
        for Swept { name, value } in &swept {
            if !title.contains(&value.to_string()) {
                title += &format!(" ({name} = {value})");
            }
        }
        let mut made = Configuration { name, title, steps, places, connection: connection?, swept };
        made.complete();
        self.suspects(&config.steps, &made);
        Some(made)
    }

    /// A duration that is more than zero and at most an hour.
    pub(super) fn duration(&mut self, written: Option<&Text>, default: &str) -> Option<Duration> {
        let text = written.map_or(default, |written| written.get_ref());
        let span = written.map_or(0..0, Spanned::span);
        match read_duration(text) {
            Some(duration) if !duration.is_zero() && duration <= LONGEST => Some(duration),
            Some(_) => {
                let message = "a timeout is more than zero and at most an hour";
                self.mistake("E0207", span, message, Some(format!("{default} is usual")));
                None
            }
            None => {
                let help = "write a whole number and a unit, without space: 500ms, 5s or 1m";
                let message = format!("`{text}` is not a duration");
                self.mistake("E0206", span, message, Some(help.into()));
                None
            }
        }
    }
}

/// Nobody waits longer for anything.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// Reads a duration as it is written in measurements and on the command line: 500ms, 5s, 1m.
///
/// # Errors
///
/// What to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| "write a whole number and a unit: 500ms, 5s or 1m".to_owned())
}

pub(super) fn read_duration(text: &str) -> Option<Duration> {
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
