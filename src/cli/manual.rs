//! What manual pages and `--help` say besides the options: examples, exit codes, files and variables of each command. The
//! guide's tables come from here, too, by way of `reference`.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};
use roff::{Roff, bold, roman};

use super::Cli;
use crate::error::Exit;

/// A command line that is of use as it stands.
#[derive(Debug)]
pub struct Example {
    /// The command that it shows: `targets resolve`, or nothing for the program itself.
    command: &'static str,
    /// What it does, as a fragment.
    about: &'static str,
    /// The line.
    line: &'static str,
}

const fn example(command: &'static str, about: &'static str, line: &'static str) -> Example {
    Example { command, about, line }
}

/// Every example, by command.
pub static EXAMPLES: &[Example] = &[
    example("", "Measure a lab on this machine; needs no privilege", "pathspider run ecn --lab"),
    example("", "List the measurements that can be run by name", "pathspider list measurements"),
    example("", "Read about target lists", "pathspider guide targets"),
    example("run", "Measure a lab on this machine; needs no privilege", "pathspider run ecn --lab"),
    example(
        "run",
        "Say what a run would send, and send nothing",
        "pathspider run ecn --targets targets.ndjson --rate 200 --dry-run",
    ),
    example(
        "run",
        "Measure a list as root; the results are yours",
        "sudo pathspider run ecn --user $USER --targets targets.ndjson -o ecn.parquet",
    ),
    example(
        "run",
        "Continue a run that was stopped or killed",
        "sudo pathspider run ecn --user $USER --targets targets.ndjson --resume ecn.parquet",
    ),
    example("check", "Check a file", "pathspider check bleach.toml"),
    example(
        "check",
        "Check a folder, for a program to read",
        "pathspider check measurements --format json",
    ),
    example("explain", "Say what a run would do", "pathspider explain ecn"),
    example("explain", "Explain the code of a mistake", "pathspider explain E0202"),
    example("new", "Write bleach.toml, to start from", "pathspider new bleach"),
    example("list", "List connection kinds", "pathspider list kinds"),
    example("list", "List columns, for a program to read", "pathspider list fields --format json"),
    example(
        "schema",
        "Give an editor the schema of measurements",
        "pathspider schema measurement > measurement.schema.json",
    ),
    example("reference", "Write the reference to a file", "pathspider reference > reference.md"),
    example("guide", "List the pages", "pathspider guide"),
    example("guide", "Read one in a pager", "pathspider guide format | less"),
    example("observe", "Observe a capture", "pathspider observe trace.pcap.gz -o flows.parquet"),
    example(
        "observe",
        "Observe an interface until Ctrl-C",
        "sudo pathspider observe -i eth0 --use basic,ecn -o flows.ndjson",
    ),
    example(
        "judge",
        "Compute the conditions of another measurement",
        "pathspider judge ecn.parquet -m ecn.toml -o again.parquet",
    ),
    example(
        "merge",
        "Merge the results of two shards",
        "pathspider merge first.parquet second.parquet -o all.parquet",
    ),
    example("describe", "Say what is in a result", "pathspider describe ecn.parquet"),
    example(
        "export",
        "Write some columns of broken targets as CSV",
        "pathspider export ecn.parquet --columns target,one.error --where \"verdict.ecn_connectivity = 'broken'\"",
    ),
    example("export", "Write flat Parquet", "pathspider export results/ -o flat.parquet"),
    example("hops", "Show where on paths something happens", "pathspider hops flows.parquet"),
    example("verify", "Verify a result", "pathspider verify ecn.parquet"),
    example(
        "upload",
        "Print what would be sent",
        "pathspider upload ecn.ndjson --url https://pto.example.org/raw --campaign ecn --dry-run",
    ),
    example(
        "upload",
        "Upload a compressed file",
        "pathspider upload ecn.ndjson.bz2 --url https://pto.example.org/raw --campaign ecn --token-file key",
    ),
    example(
        "report",
        "Write ecn.report.html, a page about a result",
        "pathspider report ecn.parquet",
    ),
    example(
        "report",
        "Compare two runs",
        "pathspider report week1.parquet week2.parquet --compare -o change.html",
    ),
    example(
        "report",
        "Write a package for publication, without what identifies targets",
        "pathspider report ecn.parquet --package ecn-2026 --redact --author 'Family, Given' --license CC-BY-4.0",
    ),
    example("targets", "Look names up", "pathspider targets resolve names.txt -o targets.ndjson"),
    example(
        "targets resolve",
        "Look names up, at most 50 queries in a second",
        "pathspider targets resolve names.txt --rate 50 -o targets.ndjson",
    ),
    example(
        "targets filter",
        "Drop those who opted out, and duplicates",
        "pathspider targets filter targets.ndjson --exclude optouts --unique -o left.ndjson",
    ),
    example("restore", "List what killed runs left", "sudo pathspider restore --list"),
    example("restore", "Restore it", "sudo pathspider restore"),
    example(
        "attribution",
        "Write a probing.txt",
        "pathspider attribution ecn --contact mailto:probing@example.org -o probing.txt",
    ),
    example("lab", "List the hosts", "pathspider lab list"),
    example(
        "lab list",
        "List the hosts, for a program to read",
        "pathspider lab list --format json",
    ),
    example("lab targets", "Write the targets", "pathspider lab targets > targets.ndjson"),
    example("lab as-table", "Write the AS table", "pathspider lab as-table > lab.pfx2as"),
    example("lab shell", "Run one command inside", "pathspider lab shell -- ip address"),
    #[cfg(feature = "fleet")]
    example("fleet", "See who is measuring what", "pathspider fleet status"),
    #[cfg(feature = "fleet")]
    example(
        "fleet init",
        "Make a hub for agents on this machine",
        "pathspider fleet init hub --local",
    ),
    #[cfg(feature = "fleet")]
    example("fleet agent", "List the agents", "pathspider fleet agent list"),
    #[cfg(feature = "fleet")]
    example(
        "fleet agent add",
        "Add an agent by the key that `agent enroll` printed",
        "pathspider fleet agent add fra-1 --key UDAISRDOPGBQ3MR7UAMUX3T2MUSAP6HQDOVIKBIUE565WTF2W5IIOVKN --group eu --tag as=64496",
    ),
    #[cfg(feature = "fleet")]
    example(
        "fleet agent list",
        "List the agents, for a program to read",
        "pathspider fleet agent list --format json",
    ),
    #[cfg(feature = "fleet")]
    example("fleet plan", "Show what a campaign would do", "pathspider fleet plan campaign.toml"),
    #[cfg(feature = "fleet")]
    example("fleet start", "Start it", "pathspider fleet start campaign.toml"),
    #[cfg(feature = "fleet")]
    example("fleet status", "See how far a campaign is", "pathspider fleet status ecn-1"),
    #[cfg(feature = "fleet")]
    example(
        "fleet stop",
        "Stop everything at once",
        "pathspider fleet stop --all --now --reason complaint",
    ),
    #[cfg(feature = "fleet")]
    example("fleet continue", "Lift the stop", "pathspider fleet continue --all"),
    #[cfg(feature = "fleet")]
    example("fleet optout", "List who opted out", "pathspider fleet optout list"),
    #[cfg(feature = "fleet")]
    example(
        "fleet optout add",
        "Protect a network and a name with its subdomains from now on",
        "pathspider fleet optout add 192.0.2.0/24 .example.org",
    ),
    #[cfg(feature = "fleet")]
    example("fleet optout list", "List who opted out", "pathspider fleet optout list"),
    #[cfg(feature = "fleet")]
    example("fleet ingest", "Take what has arrived", "pathspider fleet ingest ecn-1 dataset"),
    #[cfg(feature = "fleet")]
    example(
        "fleet verify",
        "Prove that the dataset is whole",
        "pathspider fleet verify ecn-1 dataset",
    ),
    #[cfg(feature = "fleet")]
    example("fleet export", "Write a campaign as files", "pathspider fleet export ecn-1 stick"),
    #[cfg(feature = "fleet")]
    example("agent", "Be a vantage point, as root", "sudo pathspider agent run"),
    #[cfg(feature = "fleet")]
    example(
        "agent enroll",
        "Make the key and the configuration of an agent",
        "pathspider agent enroll fra-1 --url nats://127.0.0.1:4222 --campaign-key UDAISRDOPGBQ3MR7UAMUX3T2MUSAP6HQDOVIKBIUE565WTF2W5IIOVKN",
    ),
    #[cfg(feature = "fleet")]
    example(
        "agent run",
        "Measure what the hub hands out",
        "sudo pathspider agent run --config fra-1/agent.toml",
    ),
    #[cfg(feature = "fleet")]
    example(
        "agent once",
        "Measure an exported campaign",
        "sudo pathspider agent once --config fra-1/agent.toml --from stick --to stick",
    ),
    example(
        "completions",
        "Install completions for bash",
        "pathspider completions bash > ~/.local/share/bash-completion/completions/pathspider",
    ),
    example("man", "Read the page of the program", "pathspider man | man -l -"),
    example("man", "Write all pages to a folder", "pathspider man man1"),
];

/// A file or an environment variable.
#[derive(Debug)]
pub struct Used {
    /// The path, or the variable's name.
    pub name: &'static str,
    /// What is in it.
    pub about: &'static str,
    /// The commands that use it; none means all.
    commands: &'static [&'static str],
}

/// Commands that take a measurement by its name.
const NAMED: &[&str] = &["run", "check", "explain", "list", "observe", "judge", "attribution"];

/// Files that commands use besides those on their command line.
pub static FILES: &[Used] = &[
    Used {
        name: "measurements/*.toml",
        about: "measurements that are run by name, in the current folder; they take precedence over those below",
        commands: NAMED,
    },
    Used {
        name: "$XDG_CONFIG_HOME/pathspider/measurements/*.toml",
        about: "your own measurements (without XDG_CONFIG_HOME: ~/.config); they take precedence over those built in",
        commands: NAMED,
    },
    Used {
        name: "OUTPUT.meta.json",
        about: "next to each result: what was run, on what, and how it ended",
        commands: &["run", "judge", "merge", "export", "verify"],
    },
    Used {
        name: "/run/pathspider, $XDG_RUNTIME_DIR/pathspider or ~/.local/state/pathspider",
        about: "the journal of what a run changes on this host, until it is restored",
        commands: &["run", "restore"],
    },
    #[cfg(feature = "fleet")]
    Used {
        name: "/etc/pathspider/agent.toml",
        about: "what the owner of this host allows, unless --config names another file; next to it, or in its `state`, are \
                agent.nk, agent.jwt, ledger.ndjson, inputs and units",
        commands: &["agent run", "agent once"],
    },
    Used {
        name: "/etc/resolv.conf",
        about: "the resolvers, where none is named",
        commands: &["run", "targets resolve"],
    },
];

/// Environment variables that commands read.
pub static ENVIRONMENT: &[Used] = &[
    Used {
        name: "PATHSPIDER_MEASUREMENTS",
        about: "a further folder of measurements that are run by name",
        commands: NAMED,
    },
    Used {
        name: "PATHSPIDER_STATE",
        about: "the folder of the journal, as --state",
        commands: &["run", "restore"],
    },
    Used {
        name: "~/.config/pathspider/publish.toml",
        about: "author, licence and title of packages (`report --package`)",
        commands: &["report"],
    },
    Used {
        name: "PATHSPIDER_PTO_TOKEN",
        about: "the API key of an observatory, unless --token-file names a file with it",
        commands: &["upload"],
    },
    Used {
        name: "SSL_CERT_FILE",
        about: "the certificate authorities that are trusted, instead of those of this host",
        commands: &["upload"],
    },
    Used {
        name: "SOURCE_DATE_EPOCH",
        about: "the date on manual pages, in seconds since 1970, instead of that of the program's file",
        commands: &["man"],
    },
    Used { name: "SHELL", about: "the shell that is opened", commands: &["lab shell"] },
    Used { name: "NO_COLOR", about: "if it is not empty, output has no colors", commands: &[] },
];

/// Exit codes besides 0 and 2, with what they mean where that is more than [`Exit::ALL`] says.
const EXITS: &[(&str, Exit, Option<&str>)] = &[
    ("run", Exit::Lossy, None),
    ("run", Exit::Untrue, None),
    ("run", Exit::Interrupted, None),
    ("observe", Exit::Lossy, None),
    ("observe", Exit::Interrupted, None),
    ("judge", Exit::Interrupted, Some("a signal ended the command; no file is left")),
    ("merge", Exit::Interrupted, Some("a signal ended the command; no file is left")),
    ("hops", Exit::Interrupted, Some("a signal ended the command")),
    ("describe", Exit::Interrupted, Some("a signal ended the command")),
    ("export", Exit::Lossy, Some("spoiled files were left out (--allow-incomplete)")),
    ("export", Exit::Interrupted, Some("a signal ended the command; no file is left")),
    ("report", Exit::Interrupted, Some("a signal ended the command; no page is left")),
    ("verify", Exit::Failed, Some("a result is not as it was written")),
    ("verify", Exit::Lossy, Some("records are missing, or a result cannot be checked")),
    ("targets resolve", Exit::Lossy, Some("names got no answer")),
    (
        "targets resolve",
        Exit::Interrupted,
        Some("a signal ended the command; what was written stays"),
    ),
    ("targets filter", Exit::Lossy, Some("values did not fit into CSV")),
    (
        "targets filter",
        Exit::Interrupted,
        Some("a signal ended the command; what was written stays"),
    ),
    ("restore", Exit::Failed, Some("something was kept, or could not be restored")),
    ("restore", Exit::Interrupted, Some("a signal ended the command; what is left is listed")),
    #[cfg(feature = "fleet")]
    (
        "fleet ingest",
        Exit::Lossy,
        Some("a result or a commit does not count; the message says why"),
    ),
    #[cfg(feature = "fleet")]
    (
        "fleet verify",
        Exit::Lossy,
        Some("the dataset is not whole; the message says what is missing"),
    ),
    #[cfg(feature = "fleet")]
    (
        "agent run",
        Exit::Interrupted,
        Some("a signal ended the agent; the same command goes on where it ended"),
    ),
    #[cfg(feature = "fleet")]
    ("agent once", Exit::Lossy, Some("units are left; start the same command again")),
    #[cfg(feature = "fleet")]
    (
        "agent once",
        Exit::Interrupted,
        Some("a signal ended the agent; the same command goes on where it ended"),
    ),
    ("lab shell", Exit::Failed, Some("the command in the lab failed")),
];

/// What the exit codes of a command mean.
fn exits(command: &str) -> Vec<(Exit, &'static str)> {
    let rows = Exit::ALL.iter().filter_map(|&(exit, meaning)| {
        let own = EXITS.iter().find(|(name, code, _)| *name == command && *code == exit);
        let usual =
            command.is_empty() || matches!(exit, Exit::Done | Exit::Failed | Exit::BadInput);
        match own {
            Some((_, _, about)) => Some((exit, about.unwrap_or(meaning))),
            None => usual.then_some((exit, meaning)),
        }
    });
    rows.collect()
}

/// The rows of a table that concern a command.
fn used<'a>(table: &'a [Used], command: &'a str) -> impl Iterator<Item = &'a Used> {
    table.iter().filter(move |row| row.commands.is_empty() || row.commands.contains(&command))
}

/// The command line of the program, with examples in its help.
pub fn command() -> Command {
    described(Cli::command(), "")
}

/// A command and those below it, with examples at the end of `--help`.
fn described(command: Command, path: &str) -> Command {
    let below: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let command = below.into_iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |command| described(command, &path))
    });
    let examples = EXAMPLES.iter().filter(|example| example.command == path);
    let mut text = String::new();
    for example in examples {
        let head = if text.is_empty() { "Examples:\n" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{head}  {}:\n    {}", example.about, example.line);
    }
    if text.is_empty() {
        return command;
    }
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    match after.map(ToString::to_string) {
        Some(after) => command.after_long_help(format!("{text}\n{after}")),
        None => command.after_long_help(text),
    }
}

/// The sections of a manual page that follow the options.
pub fn sections(path: &str, page: &mut Roff) {
    let mut examples = EXAMPLES.iter().filter(|example| example.command == path).peekable();
    if examples.peek().is_some() {
        page.control("SH", ["EXAMPLES"]);
    }
    for example in examples {
        page.control("TP", []);
        page.text([roman(example.about)]);
        page.text([bold(example.line)]);
    }
    page.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in exits(path) {
        page.control("TP", []);
        page.text([bold((exit as u8).to_string())]);
        page.text([roman(meaning)]);
    }
    for (heading, table) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        let mut rows = used(table, path).peekable();
        if rows.peek().is_some() {
            page.control("SH", [heading]);
        }
        for row in rows {
            page.control("TP", []);
            page.text([bold(row.name)]);
            page.text([roman(row.about)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path of every command that is shown.
    fn paths(command: &Command, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            paths(below, format!("{path} {}", below.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let mut known = Vec::new();
        paths(&Cli::command(), "", &mut known);
        for path in &known {
            assert!(EXAMPLES.iter().any(|example| example.command == path), "no example of {path}");
        }
        for Example { command, line, .. } in EXAMPLES {
            assert!(known.iter().any(|path| path == command), "no command {command}");
            let own = line.split([' ']).skip_while(|word| *word == "sudo");
            let words: Vec<&str> = own.take_while(|word| !["|", ">"].contains(word)).collect();
            assert!(
                words.join(" ").starts_with(format!("pathspider {command}").trim_end()),
                "{line}"
            );
            if let Err(why) = super::command().try_get_matches_from(&words) {
                panic!("{line}: {why}");
            }
        }
    }

    #[test]
    fn tables_name_commands_that_exist() {
        let mut known = Vec::new();
        paths(&Cli::command(), "", &mut known);
        let used = FILES.iter().chain(ENVIRONMENT).flat_map(|row| row.commands);
        for command in used.copied().chain(EXITS.iter().map(|(command, ..)| *command)) {
            assert!(known.iter().any(|path| path == command), "no command {command}");
        }
    }

    #[test]
    fn help_ends_with_the_examples() {
        let mut command = command();
        let run = command.find_subcommand_mut("run").unwrap();
        let help = run.render_long_help().to_string();
        assert!(
            help.contains("Examples:\n  Measure a lab")
                && help.contains("pathspider run ecn --lab")
        );
        assert!(!run.render_help().to_string().contains("Examples:"));
    }
}
