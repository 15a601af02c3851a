//! `pathspider guide`: prints pages of the guide.

use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::error::{Exit, Result};
use crate::guide;
use crate::report::page::{self, Page};

/// Print a page of the guide; without a topic, list the pages
///
/// Pages are Markdown. `man DIR` also writes them as manual pages of section 7.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topic of the page
    #[arg(value_parser = topics())]
    topic: Option<String>,
}

/// The topics, with what each page is about.
fn topics() -> PossibleValuesParser {
    let pages = guide::PAGES.iter();
    PossibleValuesParser::new(pages.map(|page| PossibleValue::new(page.topic).help(page.about)))
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let page = args.topic.as_deref().and_then(guide::find);
    match page {
        Some(page) => page::print_own(&page.plain())?,
        None => {
            let rows: Vec<[String; 2]> = guide::PAGES
                .iter()
                .map(|page| [page.topic, page.about].map(str::to_owned))
                .collect();
            page::print_page(&Page::of_stdout().table(0, &rows))?;
        }
    }
    Ok(Exit::Done)
}
