//! A package of a result for publication: the records, the measurement, tables, figures, a notebook, and the descriptions
//! that archives and other programs read.
//!
//! | file | what |
//! | --- | --- |
//! | `request` | what no machine knows: authors, licence, title |
//! | `folder` | files as they are written, with their digests |
//! | `records` | the records, copied or redacted, and a flat table of verdicts |
//! | `redact` | what is removed from records and metadata |
//! | `notebook` `observations` | a notebook of the tables' SQL; observations for an observatory |
//! | `crates` `datapackage` `citation` | RO-Crate, Data Package; Zenodo's metadata and CITATION.cff |
//!
//! Everything but the records is made of the records in the package. So what was redacted is nowhere, and the SQL of the
//! tables is that of the package's own file. The same result gives the same package, unless it is redacted.

mod citation;
mod crates;
mod datapackage;
mod folder;
mod notebook;
mod observations;
mod records;
mod redact;
pub mod request;

use std::path::Path;

use crate::analysis::{Account, Source, registry};
use crate::error::{Error, Result};
use crate::webpage::{self, Block};

pub use self::folder::Entry;
use self::folder::{Folder, Kind};
pub use self::request::{Author, Licence, Request};

/// The repository of the program.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
/// The records in the package.
const RECORDS: &str = "records.parquet";
/// The digests of all files; written last, so a package without it is not complete.
const DIGESTS: &str = "SHA256SUMS";

/// What all descriptions say.
struct Description<'a> {
    request: &'a Request,
    account: &'a Account,
    title: String,
    /// A paragraph.
    text: String,
    keywords: Vec<String>,
    started: String,
    ended: String,
}

impl<'a> Description<'a> {
    fn of(request: &'a Request, account: &'a Account) -> Self {
        let value = |key: &str| account.value(key).unwrap_or_default().to_owned();
        let (started, ended) = (value("started"), value("ended"));
        let day = started.get(..10).unwrap_or_default();
        let title = request.title.clone().unwrap_or_else(|| {
            format!("{}: {} targets, {day}", account.about.title, account.records)
        });
        let mut text = format!(
            "{} {} targets were probed by pathspider {} between {started} and {ended}. ",
            account.about.description.trim(),
            account.records,
            value("version"),
        );
        text += match account.value("complete") {
            Some("true") => "The run is complete.",
            _ => "The run is not complete: targets of the list have no record.",
        };
        if let Some(dropped) = account.number("packets_dropped") {
            text += &format!(" The capture dropped {dropped} packets.");
        }
        if request.redact {
            text += " ";
            text += redact::STATEMENT;
        }
        let mut keywords = vec!["Internet measurement".to_owned(), "path transparency".to_owned()];
        keywords.push(account.about.title.clone());
        Self { request, account, title, text: text.trim().to_owned(), keywords, started, ended }
    }

    /// A value of the metadata.
    fn value(&self, key: &str) -> &str {
        self.account.value(key).unwrap_or_default()
    }

    /// The identifier of the run as a UUID (RFC 9562, version 8), also for runs that have none.
    fn uuid(&self) -> String {
        let digest = folder::digest(
            format!(
                "{}\n{}\n{}",
                self.value("run_id"),
                self.started,
                self.value("measurement_sha256")
            )
            .as_bytes(),
        );
        let part = |range: std::ops::Range<usize>| digest.get(range).unwrap_or_default();
        format!(
            "{}-{}-8{}-a{}-{}",
            part(0..8),
            part(8..12),
            part(13..16),
            part(17..20),
            part(20..32)
        )
    }
}

/// Writes a package of a result into a folder, which must be empty or new.
///
/// # Errors
/// [`Error::Usage`] if the folder has files, or if the result has no measurement; others if a file cannot be written.
pub fn write(result: &Path, folder: &Path, request: &Request) -> Result<Vec<Entry>> {
    let original = Source::open(result)?;
    if original.value("measurement").is_none() {
        return Err(Error::Usage(format!(
            "report --package: {} does not carry its measurement",
            result.display()
        )));
    }
    let mut folder = Folder::make(folder)?;
    records::write(&original, &mut folder, request.redact)?;
    let sources = [Source::open(&folder.path(RECORDS))?];
    let [source] = &sources;
    let account = Account::of(&sources, &[], None)?;
    let measurement = source.value("measurement").unwrap_or_default();
    folder.add("measurement.toml", Kind::Toml, "The measurement as it was run", measurement)?;
    let page = webpage::of_account(&account);
    folder.add(
        "report.html",
        Kind::Html,
        "The report: labels, methods, provenance",
        page.html()?,
    )?;
    let tables = registry::all(&account);
    for table in &tables {
        let name = match table.id.as_str() {
            "dictionary" => "dictionary.csv".to_owned(),
            id => format!("tables/{id}.csv"),
        };
        folder.add_table(&name, table)?;
    }
    records::verdicts(source, &account, &mut folder)?;
    let blocks = page.sections.iter().flat_map(|section| &section.blocks);
    let figures = blocks.filter_map(|block| match block {
        Block::Figure(svg, caption) => Some((svg, caption)),
        _ => None,
    });
    for (number, (svg, caption)) in (1..).zip(figures) {
        folder.add(&format!("figures/figure-{number:02}.svg"), Kind::Svg, caption, figure(svg))?;
    }
    let description = Description::of(request, &account);
    let notebook = notebook::of(&description, &tables);
    let about = "Every table's SQL for DuckDB over the records; it has no outputs";
    folder.add("notebook.ipynb", Kind::Notebook, about, notebook)?;
    if request.observations {
        observations::write(source, &description, &mut folder)?;
    }
    folder.add(
        "README.md",
        Kind::Markdown,
        "What is in this folder",
        readme(&description, &folder),
    )?;
    let cff = citation::cff(&description);
    folder.add("CITATION.cff", Kind::Yaml, "How to cite this data set", cff)?;
    folder.add_json(".zenodo.json", "The metadata for Zenodo", &citation::zenodo(&description))?;
    let package = datapackage::of(&description, &folder);
    folder.add_json("datapackage.json", "The Data Package descriptor", &package)?;
    let metadata = crates::of(&description, &folder);
    folder.add_json(crates::NAME, "The RO-Crate descriptor", &metadata)?;
    folder.end()
}

/// A figure as a file of its own. On a page, SVG needs no namespace.
fn figure(svg: &str) -> String {
    let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
    match svg.contains(namespace) {
        true => svg.to_owned(),
        false => svg.replacen("<svg", &format!("<svg {namespace}"), 1),
    }
}

fn readme(description: &Description<'_>, folder: &Folder) -> String {
    let mut text = format!("# {}\n\n{}\n\n", description.title, description.text);
    text += &format!(
        "Licence: [{}]({})\n\n",
        description.request.licence.id,
        description.request.licence.url()
    );
    text += "| file | what |\n| --- | --- |\n";
    for Entry { path, doc, .. } in folder.entries() {
        text += &format!("| `{path}` | {} |\n", doc.replace('|', "\\|"));
    }
    text += &format!(
        "| `{DIGESTS}` | the SHA-256 of every file: `sha256sum -c {DIGESTS}` |\n\n`{RECORDS}` can be verified with \
         `pathspider verify {RECORDS}`, and its labels computed again with `pathspider judge {RECORDS}`.\n"
    );
    text
}
