//! `pathspider completions` and `pathspider man`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::{Command, CommandFactory as _};
use roff::{Roff, roman};

use crate::cli::{Cli, complete, manual};
use crate::error::{Doing as _, Exit, Result};
use crate::guide;
use crate::report::page;
use crate::run::about;
use crate::sink::Temporary;

/// Print completions for a shell
///
/// For bash: pathspider completions bash > ~/.local/share/bash-completion/completions/pathspider
///
/// In bash, zsh and fish they know the measurements, their params, connection kinds, interfaces and codes: the program is
/// started at each Tab, reads what it needs for the answer, and changes nothing. For the other shells they know the
/// options.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Print the manual page, or write the pages of all commands and of the guide to a folder
///
/// To view it: pathspider man | man -l -
#[derive(Debug, clap::Args)]
pub struct Man {
    /// The folder; it is created if missing, and pages with these names in it are replaced
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs `completions`.
pub fn completions(args: &Completions) -> Result<Exit> {
    match complete::script(args.shell) {
        Some(script) => page::print_own(script)?,
        None => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "pathspider", &mut script);
            page::print_own(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(Exit::Done)
}

/// Runs `man`.
pub fn man(args: &Man) -> Result<Exit> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let date = date();
    let Some(folder) = &args.folder else {
        page::print_own(&written(&command, "", &date)?)?;
        return Ok(Exit::Done);
    };
    let doing = || format!("write manual pages to {}", folder.display());
    std::fs::create_dir_all(folder).doing(doing)?;
    write_pages(&command, "", &date, folder)?;
    for page in guide::PAGES {
        let name = format!("pathspider-{}.7", page.topic);
        write_page(&folder.join(name), &guide::man(page, &date))?;
    }
    Ok(Exit::Done)
}

/// Writes the pages of a command and of its subcommands; `path` is their names, without the program's.
fn write_pages(command: &Command, path: &str, date: &str, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, format!("{path} {}", below.get_name()).trim(), date, folder)?;
    }
    let name = format!("{}.1", name_of(path));
    write_page(&folder.join(name), &written(command, path, date)?)
}

/// Replaces an existing file atomically.
fn write_page(path: &Path, text: &str) -> Result<()> {
    let file = Temporary::create(path)?;
    let written = file.writer()?.write_all(text.as_bytes());
    written.doing(|| format!("write {}", file.path().display()))?;
    file.keep().map(drop)
}

/// The name of a command's page.
fn name_of(path: &str) -> String {
    format!("pathspider {path}").trim_end().replace(' ', "-")
}

/// The page of a command.
fn written(command: &Command, path: &str, date: &str) -> Result<String> {
    let page = clap_mangen::Man::new(command.clone())
        .date(date)
        .source(concat!("pathspider ", env!("CARGO_PKG_VERSION")))
        .manual("Commands of pathspider");
    let mut text = Vec::new();
    let mut render = || {
        page.render_title(&mut text)?;
        page.render_name_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        if command.has_subcommands() {
            page.render_subcommands_section(&mut text)?;
        }
        std::io::Result::Ok(())
    };
    render().doing(|| "write a manual page")?;
    let mut rest = Roff::new();
    // That of the program itself is in the sections below.
    let more = command.get_after_long_help().or_else(|| command.get_after_help());
    if let Some(more) = more.filter(|_| !path.is_empty()) {
        rest.control("SH", ["NOTES"]).control("EX", []);
        for line in more.to_string().lines() {
            rest.text([roman(line)]);
        }
        rest.control("EE", []);
    }
    manual::sections(path, &mut rest);
    rest.control("SH", ["SEE ALSO"]);
    let topic = path.split(' ').next().unwrap_or_default();
    let own = guide::find(topic).map(|page| format!("pathspider-{}(7)", page.topic));
    let mut others: Vec<String> = own.into_iter().collect();
    others.push("pathspider-exit-codes(7)".into());
    others.push(if path.is_empty() { "pathspider-commands(7)" } else { "pathspider(1)" }.into());
    rest.text([roman(others.join(", "))]);
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(guide::tidy(&(text + &rest.to_roff())))
}

/// The date on pages: of `SOURCE_DATE_EPOCH`, or else of the program's file.
fn date() -> String {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let fixed = fixed.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    let built = || std::env::current_exe()?.metadata()?.modified();
    let time = fixed.or_else(|| built().ok()).unwrap_or(UNIX_EPOCH);
    about::utc(time).split('T').next().unwrap_or_default().to_owned()
}
