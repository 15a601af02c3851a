//! `pathspider completions` and `pathspider man`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::cli::{Cli, complete};
use crate::error::{Doing as _, Exit, Result};
use crate::guide;
use crate::report::page;
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
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .doing(|| "write the manual page")?;
        page::print_own(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    let doing = || format!("write manual pages to {}", folder.display());
    std::fs::create_dir_all(folder).doing(doing)?;
    // Replaces existing files atomically.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, folder)?;
    for page in guide::PAGES {
        let file = Temporary::create(&folder.join(format!("pathspider-{}.7", page.topic)))?;
        let written = file.writer()?.write_all(guide::man(page).as_bytes());
        written.doing(|| format!("write {}", file.path().display()))?;
        file.keep()?;
    }
    Ok(Exit::Done)
}

/// Writes the pages of a command and of its subcommands.
fn write_pages(command: &clap::Command, folder: &Path) -> Result<()> {
    let mut below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.try_for_each(|below| write_pages(below, folder))?;
    let page = clap_mangen::Man::new(command.clone());
    let file = Temporary::create(&folder.join(page.get_filename()))?;
    let written = file.writer().and_then(|mut to| {
        page.render(&mut to).doing(|| format!("write {}", file.path().display()))
    });
    written?;
    file.keep().map(drop)
}
