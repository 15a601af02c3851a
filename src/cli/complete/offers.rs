//! What fits at the cursor: a table with a row for each argument whose values this program knows.

use std::path::Path;

use arrow_schema::Fields;
use clap::Arg;

use super::line::{Line, Wanted, takes_value};
use super::{Candidate, Files, Offer};
use crate::chain::GROUPS;
use crate::error::CODES;
use crate::files;
use crate::measurement::{self, Plan, SHIPPED};
use crate::{connect, record};

/// An argument whose values are known.
struct Row {
    /// The argument, as clap calls it.
    argument: &'static str,
    /// The commands in which it means this; none for all.
    commands: &'static [&'static str],
    /// Files that fit.
    files: Files,
    /// Words that fit.
    words: fn(&Line<'_>) -> Vec<Candidate>,
}

/// An argument that takes files only.
const fn file(argument: &'static str, files: Files) -> Row {
    Row { argument, commands: &[], files, words: |_| Vec::new() }
}

/// An argument that takes words only.
const fn words(argument: &'static str, words: fn(&Line<'_>) -> Vec<Candidate>) -> Row {
    Row { argument, commands: &[], files: Files::None, words }
}

/// The arguments whose values are known. The first row that fits counts. An argument with a list of possible values needs
/// no row.
const ROWS: &[Row] = &[
    Row { files: Files::Ending("toml"), ..words("measurement", measurements) },
    Row { commands: &["check"], files: Files::Ending("toml"), ..words("files", measurements) },
    Row { commands: &["explain"], files: Files::Ending("toml"), ..words("target", explained) },
    words("set", params),
    words("connect", kinds),
    words("interface", |_| interfaces()),
    words("groups", groups),
    words("user", |_| users()),
    Row { commands: &["judge"], ..file("results", Files::Ending("parquet")) },
    file("results", Files::Any),
    file("result", Files::Any),
    words("columns", columns),
    file("as_table", Files::Any),
    file("lab", Files::Ending("toml")),
    file("targets", Files::Any),
    file("names", Files::Any),
    file("as_table", Files::Any),
    file("file", Files::Any),
    file("output", Files::Any),
    file("resume", Files::Any),
    file("as_table", Files::Any),
    file("exclude", Files::Any),
    file("only", Files::Any),
    file("failures", Files::Any),
    file("status", Files::Any),
    file("evidence", Files::Folders),
    file("metadata", Files::Ending("json")),
    file("token_file", Files::Any),
    words("evidence_label", labels),
    file("folder", Files::Folders),
    #[cfg(feature = "fleet")]
    file("hub_folder", Files::Folders),
    #[cfg(feature = "fleet")]
    file("dataset", Files::Folders),
    #[cfg(feature = "fleet")]
    file("from", Files::Folders),
    #[cfg(feature = "fleet")]
    file("to", Files::Folders),
    #[cfg(feature = "fleet")]
    file("journals", Files::Folders),
    #[cfg(feature = "fleet")]
    file("config", Files::Ending("toml")),
    #[cfg(feature = "fleet")]
    file("server", Files::Any),
    #[cfg(feature = "fleet")]
    file("campaign_file", Files::Ending("toml")),
    file("package", Files::Folders),
    file("publish", Files::Ending("toml")),
    // A program with its arguments, for `lab shell`.
    file("command", Files::Any),
];

/// Arguments of which nothing is known: numbers, addresses, names of one's own.
#[cfg(test)]
const FREE: &[&str] = &[
    "add",
    "affiliation",
    "agent",
    "author",
    "campaign",
    "campaign_key",
    "campaign_name",
    "canonical",
    "capture_buffer",
    "column",
    "concurrency",
    "condition",
    "confirm",
    "contact",
    "control",
    "description",
    "entries",
    "evidence_limit",
    "evidence_targets",
    "expires",
    "expiry_timeout",
    "file_type",
    "filter",
    "group",
    "idle_timeout",
    "key",
    "label",
    "languages",
    "license",
    "max_flows",
    "max_packets_per_target",
    "metrics",
    "name",
    "note",
    "orcid",
    "port",
    "prefix_lengths",
    "rate",
    "rate_per_address",
    "rate_per_prefix",
    "reason",
    "resolver",
    "retries",
    "ror",
    "sample",
    "seed",
    "set_port",
    "shard",
    "size",
    "source_ports",
    "tag",
    "timeout",
    "title",
    "url",
    "vantage",
    "wave",
];

/// The row for an argument of a command.
fn row(command: &str, argument: &Arg) -> Option<&'static Row> {
    let fits = |row: &&Row| {
        row.argument == argument.get_id().as_str()
            && (row.commands.is_empty() || row.commands.contains(&command))
    };
    ROWS.iter().find(fits)
}

/// What fits at the cursor of a line.
pub fn at(line: &Line<'_>) -> Offer {
    match line.wanted {
        Wanted::Nothing => Offer { candidates: Vec::new(), files: Files::None },
        Wanted::Command => Offer { candidates: commands(line), files: Files::None },
        Wanted::Option => Offer { candidates: options(line), files: Files::None },
        Wanted::Value(argument) => match row(&line.path, argument) {
            Some(row) => Offer { candidates: (row.words)(line), files: row.files },
            None => Offer { candidates: possible(argument), files: Files::None },
        },
    }
}

fn commands(line: &Line<'_>) -> Vec<Candidate> {
    let below = line.command.get_subcommands().filter(|command| !command.is_hide_set());
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
    below.map(|c| Candidate::new(c.get_name(), about(c).unwrap_or_default())).collect()
}

/// The options that may still be given.
fn options(line: &Line<'_>) -> Vec<Candidate> {
    let given =
        |argument: &Arg| line.given.iter().any(|(given, _)| *given == argument.get_id().as_str());
    let conflicts = |argument: &Arg| {
        let mut with = line.command.get_arg_conflicts_with(argument).into_iter();
        with.any(given)
    };
    let arguments: Vec<&Arg> = line.command.get_arguments().collect();
    let excluded = |argument: &Arg| {
        // Clap knows a conflict from the side that declares it.
        let mut others = arguments.iter().filter(|other| given(other));
        others.any(|other| {
            let with = line.command.get_arg_conflicts_with(other);
            with.iter().any(|excluded| excluded.get_id() == argument.get_id())
        })
    };
    let repeats = |argument: &Arg| {
        matches!(argument.get_action(), clap::ArgAction::Append | clap::ArgAction::Count)
    };
    let fitting = arguments.iter().copied().filter(|argument| {
        !argument.is_hide_set()
            && (repeats(argument) || !given(argument))
            && !conflicts(argument)
            && !excluded(argument)
    });
    let about = |argument: &Arg| argument.get_help().map(ToString::to_string).unwrap_or_default();
    fitting.filter_map(|a| Some(Candidate::new(format!("--{}", a.get_long()?), about(a)))).collect()
}

/// The possible values of an argument that lists them.
fn possible(argument: &Arg) -> Vec<Candidate> {
    if !takes_value(argument) {
        return Vec::new();
    }
    let values = argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
    let about = |value: &clap::builder::PossibleValue| value.get_help().map(ToString::to_string);
    values.map(|v| Candidate::new(v.get_name(), about(&v).unwrap_or_default())).collect()
}

/// The measurements that can be run by name. They are not read: only their names are needed.
fn measurements(_: &Line<'_>) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for folder in measurement::folders() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let toml = path.extension().is_some_and(|extension| extension == "toml");
            let name = path.file_stem().and_then(|name| name.to_str()).filter(|_| toml);
            found.extend(name.map(|name| Candidate::new(name, folder.display().to_string())));
        }
    }
    found.extend(SHIPPED.iter().map(|(name, text)| Candidate::new(*name, title(text))));
    // The first of a name is the one that is run.
    let mut names = std::collections::HashSet::new();
    found.retain(|candidate| names.insert(candidate.word.clone()));
    found.sort_by(|a, b| a.word.cmp(&b.word));
    found
}

/// The title of a shipped measurement, which has it in a line.
fn title(text: &str) -> &str {
    let line = text.lines().find_map(|line| line.strip_prefix("title = "));
    line.unwrap_or_default().trim_matches('"')
}

/// What `explain` explains: measurements, and when a word has begun, codes and columns.
fn explained(line: &Line<'_>) -> Vec<Candidate> {
    let mut found = measurements(line);
    if !line.word.is_empty() {
        found.extend(CODES.iter().map(|(code, title)| Candidate::new(*code, *title)));
        found.extend(record::fields().map(|field| Candidate::new(field.name, field.doc.trim())));
    }
    found
}

/// The plan of the measurement that the line names, if it is without mistakes.
fn plan(line: &Line<'_>) -> Option<Plan> {
    let name = line.value_of("measurement").or_else(|| line.value_of("target"))?;
    let (origin, text) = measurement::find(name).ok()?;
    Plan::load(&origin, &text, &Fields::empty()).ok()
}

/// `NAME=` for each param of the line's measurement; after the equals sign, its default.
fn params(line: &Line<'_>) -> Vec<Candidate> {
    let Some(plan) = plan(line) else { return Vec::new() };
    let params = plan.params.iter().map(|param| match line.value().contains('=') {
        true => Candidate::new(format!("{}={}", param.name, param.default), "the default"),
        false => Candidate::new(format!("{}=", param.name), param.help.clone()),
    });
    params.collect()
}

/// The labels that the line's measurement can give.
fn labels(line: &Line<'_>) -> Vec<Candidate> {
    let labels = plan(line).map(|plan| plan.rules.iter().flat_map(|rule| rule.labels()).collect());
    let labels: Vec<String> = labels.unwrap_or_default();
    labels.into_iter().map(|label| Candidate::new(label, "")).collect()
}

/// The kinds among which the line's measurement lets choose; without one, all.
fn kinds(line: &Line<'_>) -> Vec<Candidate> {
    let row = |kind: &connect::KindDef| Candidate::new(kind.name, kind.doc);
    match plan(line) {
        Some(plan) => plan.kinds.iter().copied().map(row).collect(),
        None => connect::KINDS.iter().map(row).collect(),
    }
}

/// Groups of functions, after those that are there already.
fn groups(line: &Line<'_>) -> Vec<Candidate> {
    let before = line.value().rfind(',').map_or("", |at| line.value().get(..=at).unwrap_or(""));
    let used = |name: &str| before.split(',').any(|given| given == name);
    let left = GROUPS.iter().filter(|group| !used(group.name));
    left.map(|group| Candidate::new(format!("{before}{}", group.name), group.doc)).collect()
}

/// Columns of configurations, after those that are there already.
fn columns(line: &Line<'_>) -> Vec<Candidate> {
    let before = line.value().rfind(',').map_or("", |at| line.value().get(..=at).unwrap_or(""));
    let of = |table: &str| {
        let names = record::fields().map(move |field| (field.name, field.doc.trim()));
        let table = table.to_owned();
        names.map(move |(name, doc)| Candidate::new(format!("{before}{table}.{name}"), doc))
    };
    record::CONFIGURATIONS.iter().take(2).flat_map(|table| of(table)).collect()
}

/// The interfaces of this network namespace.
fn interfaces() -> Vec<Candidate> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<Candidate> = names.map(|name| Candidate::new(name, "")).collect();
    found.sort_by(|a, b| a.word.cmp(&b.word));
    found
}

/// The users of this host's own list.
fn users() -> Vec<Candidate> {
    let list = files::regular(Path::new("/etc/passwd")).and_then(std::io::read_to_string);
    let list = list.unwrap_or_default();
    let rows = list.lines().filter_map(|row| {
        let mut cells = row.split(':');
        Some(Candidate::new(cells.next()?, cells.nth(3).unwrap_or_default()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;
    use crate::cli::Cli;

    /// Every argument with a value, with the command's path.
    fn arguments(command: &Command, path: &str, found: &mut Vec<(String, Arg)>) {
        let own = command.get_arguments().filter(|argument| takes_value(argument));
        found.extend(own.map(|argument| (path.to_owned(), argument.clone())));
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            arguments(below, format!("{path} {}", below.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_value_is_known_or_listed_as_free() {
        let mut root = Cli::command().disable_help_subcommand(true);
        root.build();
        let mut found = Vec::new();
        arguments(&root, "", &mut found);
        let mut wrong = Vec::new();
        for (path, argument) in &found {
            let id = argument.get_id().as_str();
            let known = row(path, argument).is_some() || !argument.get_possible_values().is_empty();
            if known == FREE.contains(&id) {
                wrong.push(format!("{path} {id}"));
            }
        }
        assert!(wrong.is_empty(), "with a row and free, or neither: {wrong:?}");
        let unused =
            |row: &&Row| !found.iter().any(|(_, argument)| argument.get_id() == row.argument);
        let unused: Vec<&str> = ROWS.iter().filter(unused).map(|row| row.argument).collect();
        assert!(unused.is_empty(), "no such argument: {unused:?}");
    }

    #[test]
    fn shipped_measurements_have_their_title_in_a_line() {
        for (name, text) in SHIPPED {
            assert!(!title(text).is_empty(), "{name}");
        }
    }
}
