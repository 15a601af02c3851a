//! The guide: pages in Markdown, compiled into the program, and man pages (section 7) made of them.
//!
//! A page is a file in this folder and a row of [`PAGES`]. Pages can be read on a code host, so links
//! between them are relative paths, and tables that are made from a registry stand between two
//! comments, which `tests/guide.rs` fills. Imports nothing from this crate.

mod roff;

pub use self::roff::{man, tidy};

/// A page of the guide.
#[derive(Debug)]
pub struct Page {
    /// The topic: the argument of `guide`, and the file's name without `.md`.
    pub topic: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Its Markdown as in the file. The first line is its title.
    pub text: &'static str,
}

impl Page {
    /// Its Markdown for a terminal: without comments, and without the attributes of code blocks,
    /// which are for the tests.
    pub fn plain(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.starts_with("<!-- "));
        let mut text = String::new();
        for line in lines {
            text += match line.starts_with("```") {
                true => line.split(' ').next().unwrap_or(line),
                false => line,
            };
            text.push('\n');
        }
        text
    }
}

macro_rules! pages {
    ($($topic:literal: $about:literal;)*) => {
        &[$(Page { topic: $topic, about: $about, text: include_str!(concat!($topic, ".md")) }),*]
    };
}

/// All pages, in the order in which they are listed.
pub static PAGES: &[Page] = pages! {
    "run": "run a measurement: options, stopping, resuming, sharing a list among machines";
    "measurements": "the measurements that come with the program";
    "format": "write a measurement: params, sweeps, conditions, mistakes";
    "steps": "what a configuration can change: sysctl, nftables, routes, socket options, programs";
    "connections": "how targets are connected to, names and probes, what a target answers";
    "labels": "what labels mean, confirmation rounds, false alarms";
    "results": "read, query, export, judge again and verify a result";
    "metadata": "what a result says of itself: its columns, and how it came about";
    "report": "a page about a result, two runs, or several vantage points";
    "hops": "who did it: between which hops, and whose they are";
    "targets": "target lists: formats, names, filters, lists of other tools";
    "etiquette": "rates, order, exclusion, contact: not to harm anyone";
    "monitoring": "watch a run: progress, status lines, metrics for Prometheus";
    "lab": "virtual hosts with known truth, and faults of your own host";
    "observe": "observe a capture or an interface without a measurement";
    "install": "install, update and remove the program; its files and variables";
    "privileges": "root, capabilities, shared folders, restoring after a killed run";
    "troubleshooting": "what a run does when something breaks";
    "exit-codes": "exit codes and signals";
    "commands": "every command";
    "fleet": "measure from many vantage points: hub, agents, campaigns, one dataset";
    "upstream": "coming from PATHspider 2";
    "small-machines": "memory, SD cards and uplinks of small machines: what a run takes and what to set";
    "benches": "speed and memory, measured";
    "development": "tests, goldens, fuzzing";
    "threat-model": "what targets, hosts, local users and authors of files can do to a run, and what they cannot";
};

/// The page about a topic.
pub fn find(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.topic == topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_neither_comments_nor_attributes() {
        let text = "# Title\n\n<!-- table: x -->\n| a |\n<!-- end of table -->\n\n```sh lab exit=3\nls\n```\n";
        let page = Page { topic: "x", about: "", text };
        assert_eq!(page.plain(), "# Title\n\n| a |\n\n```sh\nls\n```\n");
    }
}
