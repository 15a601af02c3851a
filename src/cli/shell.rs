//! `pathspider completions` and `pathspider man`: what clap makes of the command line's own text.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, out};
use crate::error::{Doing as _, Exit, Result};
use crate::guide;

/// Print completions for a shell
///
/// For bash: pathspider completions bash > ~/.local/share/bash-completion/completions/pathspider
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Print the manual page, or write the pages of all commands and of the guide into a folder
///
/// To look at it: pathspider man | man -l -
#[derive(Debug, clap::Args)]
pub struct Man {
    /// The folder; it is made if it is not there, and pages of these names in it are replaced
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs `completions`.
pub fn completions(args: &Completions) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pathspider", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Runs `man`.
pub fn man(args: &Man) -> Result<Exit> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .doing(|| "write the manual page")?;
        out::print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    let doing = || format!("write manual pages to {}", folder.display());
    std::fs::create_dir_all(folder).doing(doing)?;
    clap_mangen::generate_to(Cli::command(), folder).doing(doing)?;
    for page in &guide::PAGES {
        let path = folder.join(format!("pathspider-{}.7", page.topic));
        std::fs::write(path, guide::man(page)).doing(doing)?;
    }
    Ok(Exit::Done)
}
