//! The guide: pages in Markdown, which are part of the program, and man pages (section 7) made of them.
//!
//! A page is a file here and a row of [`PAGES`]. Imports nothing from this crate.

mod roff;

pub use self::roff::man;

/// A page of the guide.
#[derive(Debug)]
pub struct Page {
    /// The word by which it is asked for.
    pub topic: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Its text, in Markdown. The first line is its title.
    pub text: &'static str,
}

/// All pages, in the order in which they are listed.
pub static PAGES: [Page; 1] = [Page {
    topic: "threat-model",
    about: "what targets, hosts, local users and authors of files can do to a run, and what they cannot",
    text: include_str!("threat-model.md"),
}];

/// The page about a topic.
pub fn find(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.topic == topic)
}
