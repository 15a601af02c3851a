//! Options of a package for publication.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::package::{self, Author, request::Said};
use crate::report::page;
use crate::words::counted;

/// The file with what packages say, below the folder for configuration.
const FILE: &str = "pathspider/publish.toml";

/// What a package is made of, and what it says.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Package for publication")]
pub struct Package {
    /// Write a package for publication into a new folder: the records, the measurement, the report, tables, figures, a
    /// notebook, descriptions as RO-Crate, Data Package, for Zenodo and as CITATION.cff, and digests of all files
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "compare", "vantage", "label"])]
    package: Option<PathBuf>,

    /// An author, `Family, Given`; repeatable
    #[arg(long, value_name = "NAME", requires = "package")]
    author: Vec<String>,

    /// The ORCID iD of the first author
    #[arg(long, value_name = "ID", requires = "author")]
    orcid: Option<String>,

    /// The institution of the first author
    #[arg(long, value_name = "NAME", requires = "author")]
    affiliation: Option<String>,

    /// The institution's identifier in the Research Organization Registry
    #[arg(long, value_name = "ID", requires = "affiliation")]
    ror: Option<String>,

    /// The licence of the data, by its SPDX identifier, such as CC-BY-4.0
    #[arg(long, value_name = "ID", requires = "package")]
    license: Option<String>,

    /// The title of the data set [default: the measurement's, with the number of targets and the day]
    #[arg(long, value_name = "TEXT", requires = "package")]
    title: Option<String>,

    /// Read author, licence and title from this file, as far as no option says them [default: pathspider/publish.toml in
    /// $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE", requires = "package")]
    publish: Option<PathBuf>,

    /// Remove what identifies targets, this host and its operator: cuts addresses to /24 and /48, and removes names, columns
    /// of the list, replies' texts, source addresses, the command line and the contact
    #[arg(long, requires = "package")]
    redact: bool,

    /// Add the observations for a path transparency observatory, which `upload` uploads
    #[arg(long, requires = "package")]
    osf: bool,
}

impl Package {
    /// Writes the package, if there is to be one; returns whether it did.
    ///
    /// # Errors
    /// [`Error::Usage`] if something is missing, or if there are several results.
    pub fn write(&self, results: &[PathBuf]) -> Result<bool> {
        let Some(folder) = &self.package else { return Ok(false) };
        let [result] = results else {
            return Err(Error::Usage(
                "report --package: name one result; `pathspider merge` makes one of several".into(),
            ));
        };
        let (said, file) = self.said()?;
        let request = said.request((self.redact, self.osf), &file)?;
        let entries = package::write(result, folder, &request)?;
        let octets: u64 = entries.iter().map(|entry| entry.bytes).sum();
        page::tell(&format!(
            "Package: {} ({}, {})",
            folder.display(),
            counted(entries.len() as u64, "file[s]"),
            indicatif::HumanBytes(octets)
        ));
        Ok(true)
    }

    /// What the options and the file say, and where the file is or would be.
    fn said(&self) -> Result<(Said, PathBuf)> {
        let authors = self.author.iter().enumerate().map(|(number, name)| {
            let of_first = |value: &Option<String>| value.clone().filter(|_| number == 0);
            Author {
                name: name.clone(),
                orcid: of_first(&self.orcid),
                affiliation: of_first(&self.affiliation),
                ror: of_first(&self.ror),
            }
        });
        let of_options = Said {
            authors: authors.collect(),
            license: self.license.clone(),
            title: self.title.clone(),
        };
        if let Some(file) = &self.publish {
            return Ok((of_options.or(Said::read(file)?), file.clone()));
        }
        let folder = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
        let file =
            config.map_or_else(|| Path::new("~/.config").join(FILE), |config| config.join(FILE));
        let of_file = if file.is_file() { Said::read(&file)? } else { Said::default() };
        Ok((of_options.or(of_file), file))
    }
}
