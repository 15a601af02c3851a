//! `extends`: a measurement that is written as its differences from another.
//!
//! The texts of all files are joined, the extending one first, so each value has one place, whatever file it is in.
//! The documents are merged: tables key by key, and conditions by name; everything else replaces what the extended
//! file has.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::mistake::mistake;
use super::{SHIPPED, limits, read_file};
use crate::error::{Diagnostic, Error, Report, did_you_mean};

/// The key.
pub(super) const EXTENDS: &str = "extends";

/// The most files that extend each other.
const DEEPEST: usize = 8;

/// What is written between two joined texts.
const BETWEEN: &str = "\n";

/// The files of a measurement, joined: the named one, and those that it extends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The joined texts.
    text: String,
    /// Where each file begins, and its name.
    files: Vec<(usize, String)>,
}

impl Sources {
    /// A file, and those that it extends, the nearest first; and the mistakes that keep one from being found.
    pub(super) fn read(origin: &str, text: &str) -> (Self, Vec<Diagnostic>) {
        let mut sources = Self { text: text.to_owned(), files: vec![(0, origin.to_owned())] };
        let mut mistakes = Vec::new();
        while let Some((span, name)) = sources.next_base() {
            match sources.base(&name) {
                Ok((origin, text)) => {
                    let start = sources.text.len() + BETWEEN.len();
                    sources.text += BETWEEN;
                    sources.text += &text;
                    sources.files.push((start, origin));
                }
                Err((message, help)) => {
                    mistakes.push(mistake("E0111", span, &message, &help));
                    break;
                }
            }
        }
        (sources, mistakes)
    }

    /// The place and the value of `extends` in the last file.
    fn next_base(&self) -> Option<(Range<usize>, String)> {
        let (start, _) = self.files.last()?;
        let text = &self.text[*start..];
        if !text.contains(EXTENDS) || limits::values(&self.text).is_some() {
            return None;
        }
        let (document, _) = DeTable::parse_recoverable(text);
        let value = document.get_ref().get(EXTENDS)?;
        let name = value.get_ref().as_str()?.to_owned();
        Some((start + value.span().start..start + value.span().end, name))
    }

    /// The name and the text of the file that the last file extends; or what is wrong, and what to write.
    fn base(&self, name: &str) -> Result<(String, String), (String, String)> {
        let (_, from) = self.files.last().map_or((0, ""), |(start, from)| (*start, from.as_str()));
        if self.files.len() >= DEEPEST {
            let message = format!("more than {DEEPEST} files extend each other");
            return Err((message, "extend one of the first files directly".into()));
        }
        let shipped = SHIPPED.iter().find(|(known, _)| *known == name);
        let is_path = name.contains('/') || name.ends_with(".toml");
        if let (Some((_, text)), false) = (shipped, is_path) {
            let origin = compiled_in(name);
            return match self.is_read(&origin) {
                true => Err(self.cycle(name)),
                false => Ok((origin, (*text).to_owned())),
            };
        }
        if !is_path {
            let all: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            let near = did_you_mean(name, all.iter().copied());
            let help = near.unwrap_or_else(|| {
                format!(
                    "write the name of one ({}), or a file relative to this one: \"./{name}.toml\"",
                    all.join(", ")
                )
            });
            return Err((format!("there is no measurement `{name}` to extend"), help));
        }
        let help = "write a file relative to this one: \"./base.toml\"".to_owned();
        let path = Path::new(name);
        if path.is_absolute() {
            return Err((format!("`{name}` is not relative to this file"), help));
        }
        if from.ends_with(COMPILED_IN) {
            return Err(("this file is compiled in, so no file is next to it".into(), help));
        }
        let path = plain(&Path::new(from).parent().unwrap_or(Path::new("")).join(path));
        let origin = path.display().to_string();
        if self.is_read(&origin) {
            return Err(self.cycle(name));
        }
        match read_file(&path) {
            Ok((_, text)) => Ok((origin, text)),
            Err(Error::File(report)) => {
                let message = report.diagnostics.first().map_or("", |mistake| &mistake.message);
                Err((format!("{origin}: {message}"), "save it as UTF-8".into()))
            }
            Err(why) => Err((format!("the file that this one extends: {why}"), help)),
        }
    }

    fn is_read(&self, origin: &str) -> bool {
        let same =
            |read: &str| read == origin || plain(Path::new(read)) == plain(Path::new(origin));
        self.files.iter().any(|(_, read)| same(read))
    }

    fn cycle(&self, name: &str) -> (String, String) {
        let files: Vec<&str> = self.files.iter().map(|(_, origin)| origin.as_str()).collect();
        let message = format!("`{name}` extends itself: {}, {name}", files.join(", "));
        (message, "let one of these files extend none of the others".into())
    }

    /// The joined texts.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where each file is in the text, in the order in which they extend each other.
    pub(super) fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let ends = self.files.iter().skip(1).map(|(start, _)| start - BETWEEN.len());
        let starts = self.files.iter().map(|(start, _)| *start);
        starts.zip(ends.chain([self.text.len()])).map(|(start, end)| start..end)
    }

    /// The files that are extended.
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        self.files.iter().skip(1).map(|(_, origin)| origin.as_str())
    }

    /// The folder of the file that has this place; `None` for one that is compiled in.
    pub(super) fn folder(&self, place: usize) -> Option<PathBuf> {
        let (_, origin) = self.files.iter().rev().find(|(start, _)| *start <= place)?;
        let path = Path::new(origin).parent()?;
        (!origin.ends_with(COMPILED_IN)).then(|| path.to_owned())
    }

    /// A report about these files.
    pub(super) fn report(&self, origin: &str, diagnostics: Vec<Diagnostic>) -> Report {
        let mut files = self.files.clone();
        if let Some((_, first)) = files.first_mut() {
            origin.clone_into(first);
        }
        Report::joined(files, self.text.clone(), diagnostics)
    }
}

/// The end of the name of a file that is compiled in.
const COMPILED_IN: &str = " (compiled in)";

/// The name of a measurement that is compiled in.
pub(super) fn compiled_in(name: &str) -> String {
    format!("{name}.toml{COMPILED_IN}")
}

/// A path without `.` and without `x/..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        let into = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if into => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The document of a part of a text, with its places in the whole.
pub(super) fn moved(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let move_span = |span: Range<usize>| span.start + by..span.end + by;
    let mut moved_table = DeTable::new();
    for (key, value) in table {
        let key = Spanned::new(move_span(key.span()), key.into_inner());
        moved_table.insert(key, moved_value(value, by));
    }
    moved_table
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span().start + by..value.span().end + by;
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved(table, by)),
        DeValue::Array(items) => {
            let mut array = DeArray::new();
            items.into_iter().for_each(|item| array.push(moved_value(item, by)));
            DeValue::Array(array)
        }
        other => other,
    };
    Spanned::new(span, value)
}

/// Adds what an extended file has to the document that extends it. Its name stays its own.
pub(super) fn merge<'a>(document: &mut DeTable<'a>, mut base: DeTable<'a>) {
    base.remove("name");
    for list in NAMED {
        merge_list(document, &mut base, list);
    }
    merge_tables(document, base);
}

/// The lists whose entries have names: conditions and metrics.
const NAMED: [&str; 2] = ["conditions", "metrics"];

/// Merges a list whose entries have names.
fn merge_list<'a>(document: &mut DeTable<'a>, base: &mut DeTable<'a>, list: &'static str) {
    let known = base.remove(list);
    let own = document.get_mut(list).map(Spanned::get_mut);
    match (known, own) {
        (Some(known), Some(DeValue::Array(own))) => {
            let span = known.span();
            if let DeValue::Array(known) = known.into_inner() {
                let own = std::mem::replace(own, DeArray::new());
                let all = DeValue::Array(entries(known, own));
                document.insert(Spanned::new(span.clone(), list.into()), Spanned::new(span, all));
            }
        }
        (Some(known), None) => {
            document.insert(Spanned::new(known.span(), list.into()), known);
        }
        _ => {}
    }
}

/// The known entries, replaced by the own ones of the same name, and then the new ones.
fn entries<'a>(known: DeArray<'a>, own: DeArray<'a>) -> DeArray<'a> {
    let name = |condition: &Spanned<DeValue<'a>>| {
        let name = condition.get_ref().get("name").and_then(|name| name.get_ref().as_str());
        name.map(|name| Cow::<str>::Owned(name.to_owned()))
    };
    let mut own: Vec<_> = own.into_iter().map(Some).collect();
    let mut all = DeArray::new();
    for condition in known {
        let wanted = name(&condition);
        let same = |own: &Spanned<DeValue<'a>>| wanted.is_some() && name(own) == wanted;
        let replaced = own.iter_mut().find(|own| own.as_ref().is_some_and(same));
        all.push(replaced.and_then(Option::take).unwrap_or(condition));
    }
    own.into_iter().flatten().for_each(|condition| all.push(condition));
    all
}

fn merge_tables<'a>(table: &mut DeTable<'a>, base: DeTable<'a>) {
    for (key, value) in base {
        match table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut) {
            None => {
                table.insert(key, value);
            }
            // A sweep is one value: the names of both would multiply.
            Some(DeValue::Table(own)) if key.get_ref() != "sweep" => {
                if let DeValue::Table(base) = value.into_inner() {
                    merge_tables(own, base);
                }
            }
            Some(_) => {}
        }
    }
}

/// The merged document as a file of its own.
pub(super) fn flattened(document: &DeTable<'_>, sources: &Sources) -> Option<String> {
    let mut document = document.clone();
    document.remove(EXTENDS);
    let table = toml::Table::deserialize(Deserializer::from(Spanned::new(0..0, document))).ok()?;
    let bases: Vec<&str> = sources.bases().collect();
    let text = toml::to_string_pretty(&table).ok()?;
    Some(format!("# Together with what it extends: {}\n\n{text}", bases.join(", ")))
}

/// Where a part of a measurement is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The part: `config.one.steps`, or `condition ecn.connectivity`.
    pub part: String,
    /// The file.
    pub file: String,
    /// The line in it.
    pub line: usize,
}

impl Sources {
    /// Where the parts of a merged document are written, in the order of the joined texts.
    pub(super) fn origins(&self, document: &DeTable<'_>) -> Vec<Origin> {
        let mut found: Vec<(Range<usize>, String)> = Vec::new();
        parts(document, "", &mut found);
        found.sort_by_key(|(span, _)| span.start);
        let report = self.report(self.files.first().map_or("", |(_, name)| name), Vec::new());
        let origin = |(span, part)| {
            let (file, place) = report.place_in_file(&span);
            Origin { part, file: file.to_owned(), line: place.line }
        };
        found.into_iter().map(origin).collect()
    }
}

fn parts(table: &DeTable<'_>, path: &str, found: &mut Vec<(Range<usize>, String)>) {
    for (key, value) in table {
        let part = format!("{path}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Array(entries) if NAMED.contains(&part.as_str()) => {
                let what = part.trim_end_matches('s');
                found.extend(entries.iter().map(|condition| {
                    let name = condition.get_ref().get("name");
                    let place = name.map_or(condition.span(), Spanned::span);
                    let name = name.and_then(|name| name.get_ref().as_str()).unwrap_or_default();
                    (place, format!("{what} {name}"))
                }));
            }
            // Sections, and their sections, but no values that are tables.
            DeValue::Table(inner) if path.matches('.').count() < 2 && key.get_ref() != "sweep" => {
                let before = found.len();
                parts(inner, &format!("{part}."), found);
                if found.len() == before {
                    found.push((key.span(), part));
                }
            }
            _ if part == EXTENDS => {}
            _ => found.push((key.span(), part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Plan;
    use arrow_schema::Fields;

    const BASE: &str = r#"
name = "base"
title = "What is extended"
[params]
timeout = { default = "3s", help = "How long" }
[config.zero]
[config.one]
title = "One"
sweep = { ttl = [1, 2] }
steps = [{ sockopt = { ip_ttl = "${ttl}" } }]
[connect]
kind = "http"
timeout = "${timeout}"
[observer]
use = ["basic", "tcp"]
[[conditions]]
name = "x.${ttl}"
compare = "ok"
[[conditions]]
name = "x.rest"
value = "zero.pkt_rev"
"#;

    fn plan(text: &str) -> Plan {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("base.toml"), BASE).unwrap();
        let file = folder.path().join("sub/own.toml");
        let origin = file.to_str().unwrap();
        Plan::load(origin, text, &Fields::empty()).unwrap_or_else(|report| panic!("{report}"))
    }

    fn labels(plan: &Plan) -> Vec<&str> {
        plan.rules.iter().map(|rule| rule.name()).collect()
    }

    #[test]
    fn own_keys_are_in_place_of_the_extended_ones() {
        let plan = plan(
            r#"
extends = "../base.toml"
name = "own"
params = { timeout = { default = "1s" } }
[config.one]
sweep = { ttl = [8] }
steps = [{ sockopt = { ip_ttl = "${ttl}" } }, { command = { run = ["./arm", "east"], undo = ["dish"] } }]
[[conditions]]
name = "x.new"
value = "one.pkt_rev"
[[conditions]]
name = "x.${ttl}"
value = "one.ttl"
[[conditions]]
name = "x.rest"
compare = "ok"
"#,
        );
        assert_eq!((plan.name.as_str(), plan.title.as_str()), ("own", "What is extended"));
        assert_eq!(plan.timeout, std::time::Duration::from_secs(1));
        assert_eq!(plan.params[0].help, "How long");
        assert_eq!(plan.configs.len(), 2);
        assert_eq!(plan.configs[1].title, "One (ttl = 8)");
        let steps = &plan.configs[1].steps;
        let folder = plan.sources.folder(0).unwrap();
        let arm = folder.join("arm").display().to_string();
        assert!(steps[1].describe().contains(&arm), "{}", steps[1].describe());
        assert!(steps[1].describe_undo().contains("dish"), "{}", steps[1].describe_undo());
        assert!(!steps[1].describe_undo().contains('/'), "{}", steps[1].describe_undo());
    }

    #[test]
    fn conditions_are_replaced_by_name_or_added() {
        let plan = plan(
            r#"
extends = "../base.toml"
name = "own"
[[conditions]]
name = "x.new"
value = "one.pkt_rev"
[[conditions]]
name = "x.${ttl}"
value = "one.ttl"
"#,
        );
        assert_eq!(labels(&plan), ["x.1", "x.2", "x.rest", "x.new"]);
        assert_eq!(plan.rules.iter().next().unwrap().labels()[0], "x.1:...");
        let origins: Vec<String> = plan
            .origins
            .iter()
            .filter(|origin| origin.part.starts_with("cond"))
            .map(|origin| {
                let file = Path::new(&origin.file).file_name().unwrap().to_str().unwrap();
                format!("{} {file}:{}", origin.part, origin.line)
            })
            .collect();
        let expected = [
            "condition x.new own.toml:5",
            "condition x.${ttl} own.toml:8",
            "condition x.rest base.toml:20",
        ];
        assert_eq!(origins, expected);
    }

    /// What is stored with a result must be enough to judge it again, without the files.
    #[test]
    fn the_text_of_the_plan_stands_alone() {
        let own = "extends = \"../base.toml\"\nname = \"own\"\nparams.timeout.default = \"1s\"\n";
        let plan = plan(own);
        assert!(!plan.text.contains("extends ="), "{}", plan.text);
        let again = Plan::load("stored", &plan.text, &Fields::empty()).unwrap();
        assert_eq!(again.expanded_sql(), plan.expanded_sql());
        assert_eq!((again.timeout, &again.title), (plan.timeout, &plan.title));
        assert_eq!(again.params, plan.params);
        assert_eq!(again.text, plan.text);
    }

    #[test]
    fn mistakes_are_in_the_file_that_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let base = BASE.replace("zero.pkt_rev", "zero.pkt_rew");
        std::fs::write(folder.path().join("base.toml"), base).unwrap();
        let origin = folder.path().join("own.toml").display().to_string();
        let own = "extends = \"./base.toml\"\nname = \"own\"\ntittle = \"x\"\n";
        let report = Plan::load(&origin, own, &Fields::empty()).unwrap_err();
        let places: Vec<String> = report
            .diagnostics
            .iter()
            .map(|mistake| {
                let (file, place) = report.place_in_file(&mistake.span);
                let file = Path::new(file).file_name().unwrap().to_str().unwrap();
                format!("{} {file}:{}:{}", mistake.code, place.line, place.column)
            })
            .collect();
        assert_eq!(places, ["E0101 own.toml:3:1", "E0403 base.toml:21:10"]);
        assert!(report.render(false).contains("21 | value = \"zero.pkt_rew\""), "{report}");
        assert!(
            report
                .json_lines()
                .contains("base.toml\",\"severity\":\"error\",\"code\":\"E0403\",\"line\":21")
        );
    }
}
