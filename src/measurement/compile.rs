//! From a file to a [`Plan`].

use std::ops::Range;

use arrow_schema::Fields;

use super::checker::Checker;
use super::columns::Chosen;
use super::extends::Sources;
use super::file::{Config, Configs, Connect, File};
use super::limits::MISTAKES;
use super::locate;
use super::params::{Overrides, Param};
use super::plan::{Configuration, Plan};
use super::read;
use super::record::{record_schema, with_flags};
use super::remedy;
use super::steps::places;
use super::substitute::CALCULATION;
use super::sweep::Swept;
use super::texts::Texts;
use super::words::Text;
use crate::chain::Selection;
use crate::connect;
use crate::connect::options::{OptionDef, PACKET};
use crate::error::{Diagnostic, Error, Report, Result};
use crate::record::CONFIGURATIONS as NAMES;
use crate::rule::{Rules, column_of};

impl Plan {
    /// Reads a measurement. `origin` is the file's name in messages; `target_columns` are the
    /// columns of the target list, with or without `ip`, `port` and `name`.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in the order of their places.
    pub fn load(origin: &str, text: &str, target_columns: &Fields) -> Result<Self, Report> {
        Self::read(origin, text, target_columns, &Overrides::default()).map(|(plan, _)| plan)
    }

    /// Reads a measurement with the user's overrides.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in the order of their places; without any, every override
    /// that does not fit the file.
    pub fn load_with(
        origin: &str,
        text: &str,
        target_columns: &Fields,
        overrides: &Overrides,
    ) -> Result<Self> {
        let (mut plan, mut rejected) = Self::read(origin, text, target_columns, overrides)
            .map_err(|report| Self::blamed(report, origin, text, target_columns, overrides))?;
        if let Some(labels) = &overrides.locate {
            rejected.extend(plan.locate(labels, target_columns).err());
        }
        if let Some(kind) = &overrides.connect {
            rejected.extend(plan.choose(kind, target_columns).err());
        }
        match rejected.is_empty() {
            true => Ok(plan),
            false => Err(Error::Usage(rejected.join("\n"))),
        }
    }

    /// The error for a report with the user's overrides: if the file is right without them, theirs.
    fn blamed(
        report: Report,
        origin: &str,
        text: &str,
        target_columns: &Fields,
        overrides: &Overrides,
    ) -> Error {
        let without = overrides.without_values();
        if overrides.values().is_empty()
            || Self::read(origin, text, target_columns, &without).is_err()
        {
            return report.into();
        }
        let one = |(name, value): &(String, String)| {
            let alone = without.clone().value(name, value);
            let report = Self::read(origin, text, target_columns, &alone).err()?;
            Some(report.blame(&format!("{name}={value}")))
        };
        let mut blamed: Vec<String> = overrides.values().iter().filter_map(one).collect();
        if blamed.is_empty() {
            // Each is right alone.
            let all = overrides.values().iter().map(|(name, value)| format!("{name}={value}"));
            blamed.push(report.blame(&all.collect::<Vec<_>>().join(", ")));
        }
        Error::Usage(blamed.join("\n"))
    }

    fn read(
        origin: &str,
        text: &str,
        target_columns: &Fields,
        overrides: &Overrides,
    ) -> Result<(Self, Vec<String>), Report> {
        let (sources, unfound) = Sources::read(origin, text);
        let text = sources.text();
        let texts = Texts::default();
        let mut reading = read::read(&sources, overrides, &texts);
        if !unfound.is_empty() {
            // Without it, most of what is missing is there.
            reading.file = None;
            reading.mistakes.extend(unfound);
        }
        let sweeps = !reading.swept.is_empty();
        let mut checker = Checker {
            text,
            sources: &sources,
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
        // Errors take precedence over warnings.
        if diagnostics.len() > MISTAKES {
            diagnostics.sort_by_key(|diagnostic| !diagnostic.is_error());
            diagnostics.truncate(MISTAKES);
            diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        }
        without_echoes(&mut diagnostics, sweeps);
        match plan {
            Some(plan) if !diagnostics.iter().any(Diagnostic::is_error) => {
                let plan = Self {
                    warnings: diagnostics,
                    text: reading.flattened.unwrap_or_else(|| text.to_owned()),
                    origins: reading.origins,
                    sources: sources.clone(),
                    ..plan
                };
                Ok((plan, reading.rejected))
            }
            _ => Err(sources.report(origin, diagnostics)),
        }
    }

    /// Locates the labels of the file, and these.
    fn locate(&mut self, labels: &[String], target_columns: &Fields) -> Result<(), String> {
        let mut wanted = self.locatable.clone().unwrap_or_default();
        for label in labels {
            let found = locate::matching(label, &self.rules);
            if found.is_empty() {
                let likely = locate::likely(label, &self.rules);
                return Err(format!("locate {label}: no condition gives this label; {likely}"));
            }
            wanted.labels.extend(found);
        }
        if wanted.labels.is_empty() {
            return Err(
                "locate: the measurement has no [locate]; name a label, --locate=LABEL".into()
            );
        }
        let sources = wanted.sources();
        self.locate = Some(wanted);
        let schema = with_flags(self.record_schema(target_columns));
        for source in &sources {
            if self.rules.iter().any(|rule| rule.name() == source.name) {
                return Err(format!(
                    "locate: the measurement has a condition {} of its own",
                    source.name
                ));
            }
            let mistakes = self.rules.add(source, None, &schema, &Chosen(&self.selection));
            if let Some(mistake) = mistakes.iter().find(|mistake| mistake.is_error()) {
                return Err(format!("locate: the condition {}: {}", source.name, mistake.message));
            }
        }
        Ok(())
    }

    /// Selects another kind of connection, if the file allows this choice.
    fn choose(&mut self, name: &str, target_columns: &Fields) -> Result<(), String> {
        let Some(kind) = self.kinds.iter().copied().find(|kind| kind.name == name) else {
            let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
            return Err(match names.is_empty() {
                true => {
                    format!("kind {name}: the measurement allows no other kind (it has no `kinds`)")
                }
                false => format!("kind {name}: the measurement allows only {}", names.join(", ")),
            });
        };
        for config in self.configs.iter_mut().filter(|config| !config.connection.own_kind) {
            // The plain SYN of a file without a packet is the kind's own.
            let is_own =
                |option: &OptionDef| *option == PACKET && config.connection.packet.is_none();
            let mut given = config.connection.options.given().filter(|option| !is_own(option));
            if let Some(option) = given.find(|option| !kind.takes(option)) {
                return Err(format!(
                    "kind {name}: it has no option `{}`, which the measurement sets",
                    option.name
                ));
            }
            if let Some((_, why)) = (kind.conflict)(kind, &config.connection.options) {
                return Err(format!("kind {name}: {why}"));
            }
            config.connection.kind = kind;
            drop(given);
            config.complete();
        }
        // Another kind may lack the columns of a condition.
        let schema = self.record_schema(target_columns);
        match self.rules.against(&with_flags(schema), &Chosen(&self.selection)) {
            Ok(rules) => {
                self.rules = rules;
                Ok(())
            }
            Err(mistakes) => {
                let first = mistakes.first().map_or("", |mistake| mistake.message.as_str());
                Err(format!("kind {name}: the conditions are invalid with it: {first}"))
            }
        }
    }
}

/// Removes mistakes that are only consequences of others.
fn without_echoes(diagnostics: &mut Vec<Diagnostic>, sweeps: bool) {
    diagnostics.dedup();
    if sweeps {
        // The configurations of a sweep have one place in the file.
        diagnostics.dedup_by(|a, b| a.span == b.span && a.code == b.code);
    }
    let others: Vec<(Range<usize>, &str)> =
        diagnostics.iter().map(|d| (d.span.clone(), d.code)).collect();
    diagnostics.retain(|d| {
        let covers = |span: &Range<usize>| d.span.start <= span.start && span.end <= d.span.end;
        let is_name = |code: &str| matches!(code, "E0105" | "E0106" | CALCULATION);
        let is_inside = |span: &Range<usize>| span.start <= d.span.start && d.span.end <= span.end;
        if !is_name(d.code) && others.iter().any(|(span, code)| is_name(code) && is_inside(span)) {
            return false;
        }
        !others.iter().filter(|(span, _)| covers(span)).any(|(span, code)| {
            // A value that could not be substituted has no other mistakes.
            (is_name(code) && !is_name(d.code))
                // A step that is empty only because its content was removed.
                || (d.code == "E0209" && *span != d.span)
                // The same mistake in the copies of a swept condition, without an exact place.
                || (sweeps && *code == d.code && *span != d.span)
        })
    });
    diagnostics.retain(|d| !d.message.is_empty());
}

impl Checker<'_> {
    fn plan(&mut self, file: File, params: Vec<Param>, target_columns: &Fields) -> Option<Plan> {
        let name = self.name(file.name.as_ref());
        let others = file.config.kinds();
        let base = self.connection(&file.connect, &others);
        let (configs, names) = self.configs(file.config, &file.connect);
        let kinds = self.kinds(&file.connect.kinds);
        let prepare = self.prepare(&file.connect.prepare);
        let keep = file.connect.after.keep.as_deref();
        let keep = self.keep(keep, configs.as_deref());
        // With a wrong configuration, a missing column is not the condition's mistake.
        let reply = match &configs {
            Some(configs) => keep.columns(configs),
            None => connect::Reply::FIELDS.iter().collect(),
        };
        let before = self.mistakes.len();
        let selection = self.selection(&file.observer);
        let is_removed = self.was_removed(&["observer".into()])
            || self.removed.iter().any(|path| remedy::stands_for(path, "observer"));
        let trusted = self.mistakes.len() == before && !is_removed;
        let sources = self.conditions(&file.conditions, &names);
        let mut confirm = self.confirm(&file.confirm);
        confirm.rounds = self.rounds.unwrap_or(confirm.rounds);
        let compares = sources.iter().filter(|source| names.len() > 1 && source.compares());
        let rounds: Vec<String> = compares.map(|source| column_of(&source.name)).collect();
        if rounds.is_empty() {
            confirm.rounds = 0;
        }
        // With a wrong observer, a missing column is not the condition's mistake.
        let mut everything = Selection::everything();
        everything.define(selection.own().to_vec());
        let known = if trusted { &selection } else { &everything };
        let schema = {
            let swept = |name: &&'static str| {
                let number = NAMES.iter().position(|known| known == name).unwrap_or_default();
                (*name, self.swept.get(number).map_or(&[][..], Vec::as_slice))
            };
            let rounds = rounds.into_iter().filter(|_| confirm.rounds > 0);
            let (prepares, configs) = (prepare.is_something(), names.iter().map(swept));
            record_schema(known, &reply, (prepares, false), configs, target_columns, rounds)
        };
        let (schema, chosen) = (with_flags(schema), Chosen(&selection));
        let (mut rules, mistakes) = Rules::compile(&sources, &schema, &chosen);
        self.mistakes.extend(mistakes);
        let locatable = self.locate(file.locate.as_ref(), &rules);
        let metrics = self.metrics(&file.metrics);
        self.mistakes.extend(rules.add_metrics(&metrics, &schema, &chosen));
        let name = name?;
        Some(Plan {
            title: file.title.unwrap_or_else(|| name.clone()),
            name,
            description: file.description.unwrap_or_default(),
            references: file.references,
            text: String::new(),
            sources: Sources::default(),
            origins: Vec::new(),
            params,
            configs: configs?,
            kinds,
            timeout: base?.timeout,
            prepare,
            confirm,
            locatable,
            locate: None,
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
            let likely =
                text.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
            let likely = likely.collect::<String>();
            let likely = match likely.trim_matches('-') {
                "" => String::new(),
                likely => format!(", such as \"{likely}\""),
            };
            let help =
                format!("write letters, digits, - and _{likely}: it becomes part of file names");
            self.mistake("E0210", name.span(), "this cannot be a measurement's name", Some(help));
        }
        Some(text.clone())
    }

    /// The configurations, if all of them could be read, and the names of those in the file, including
    /// those that the parser removed.
    fn configs(
        &mut self,
        configs: Configs,
        base: &Connect,
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
                if self.was_removed(&["extends".to_owned()])
                    || self.removed.iter().any(|path| remedy::stands_for(path, "config"))
                {
                    // It may be in the file that is not known.
                } else if number == 0 {
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
        // A reference to a configuration that was removed is not a mistake, nor one to the configuration that a wrong
        // name stands for.
        for path in &self.removed {
            if let [config, name, ..] = path.as_slice()
                && config == "config"
            {
                let known = NAMES.iter().find(|known| *known == name);
                let next = NAMES.iter().find(|name| !names.contains(name));
                if let Some(name) = known.or(next).filter(|name| !names.contains(name)) {
                    names.push(name);
                }
            }
        }
        (all, names)
    }

    fn config(
        &mut self,
        name: &'static str,
        number: usize,
        config: &Config,
        base: &Connect,
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
        // Configurations of a sweep need different titles.
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
}
