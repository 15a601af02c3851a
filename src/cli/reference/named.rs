//! Sections of the reference about the command line: options, lists of other tools, situations of the lab, checks of
//! `verify`, keys of metadata.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{Cli, Written, code, table};
use crate::lab::prober::SITUATIONS;
use crate::results::verify::CHECKS;
use crate::run::keys::KEYS;
use crate::targets::TOOLS;

/// The options of every command, one section per command with options.
pub fn options(page: &mut String) -> Written {
    writeln!(page, "\n## Options")?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut shown = root.get_subcommands().filter(|command| !command.is_hide_set());
    shown.try_for_each(|command| of_command("", command, page))
}

fn of_command(above: &str, command: &Command, page: &mut String) -> Written {
    let name = format!("{above}{}", command.get_name());
    let own = |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && !arg.is_positional();
    let options = command.get_arguments().filter(own).filter(|arg| arg.get_id() != "help");
    let rows: Vec<[String; 2]> = options.map(|arg| [spelled(arg), meaning(arg)]).collect();
    if !rows.is_empty() {
        writeln!(page, "\n### Options of {}\n", code(&name))?;
        table(page, ["option", "meaning"], rows.into_iter())?;
    }
    let above = format!("{name} ");
    command.get_subcommands().try_for_each(|below| of_command(&above, below, page))
}

/// An option as it is typed: `-o`, `--output FILE`.
fn spelled(arg: &Arg) -> String {
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().filter(|_| takes_value).into_iter().flatten();
    let values: String = values.map(|name| format!(" {name}")).collect();
    let short = arg.get_short().map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    let long = arg.get_long().unwrap_or_default();
    format!("{short}{}", code(&format!("--{long}{values}")))
}

/// Its help, with its default and its possible values.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.ends_with('.') && !text.is_empty() {
        text.push('.');
    }
    if !arg.get_action().takes_values() {
        return text;
    }
    let words: Vec<String> =
        arg.get_possible_values().iter().map(|word| code(word.get_name())).collect();
    if !words.is_empty() {
        text += &format!(" One of {}.", words.join(", "));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    if !defaults.is_empty() {
        text += &format!(" Default: {}.", defaults.join(", "));
    }
    text
}

/// The lists of other tools that are read as targets.
pub fn tools(page: &mut String) -> Written {
    writeln!(page, "\n## Lists of other tools\n")?;
    let rows = TOOLS.iter().map(|tool| [tool.name, tool.made, tool.reads].map(str::to_owned));
    table(page, ["tool", "how the list is made", "what is read"], rows)
}

/// The situations of the lab's prober.
pub fn situations(page: &mut String) -> Written {
    writeln!(page, "\n## Situations of the lab's prober\n")?;
    let rows = SITUATIONS
        .iter()
        .map(|row| [code(row.name), row.title.to_owned(), row.expected.to_owned()]);
    table(page, ["situation", "the prober", "what is left"], rows)
}

/// What `verify` checks.
pub fn checks(page: &mut String) -> Written {
    writeln!(page, "\n## Checks of `verify`\n")?;
    let rows = CHECKS.iter().map(|check| [code(check.name()), check.doc().to_owned()]);
    table(page, ["check", "what must hold"], rows)
}

/// The keys of a result's metadata.
pub fn metadata(page: &mut String) -> Written {
    writeln!(page, "\n## Metadata of a result\n")?;
    let rows = KEYS.iter().map(|key| {
        [code(key.name), key.kind.as_str().to_owned(), key.by.to_owned(), key.doc.to_owned()]
    });
    table(page, ["key", "value", "written by", "meaning"], rows)
}
