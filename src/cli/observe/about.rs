//! What a result of `observe` says of itself: the program and the host, the capture, the options.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::chain::Selection;
use crate::cli::observe::Args;
use crate::cli::options;
use crate::observer::capture::SNAP_LENGTH;
use crate::observer::ring::Ring;
use crate::observer::{self, link_name};
use crate::run::about::utc_exact;
use crate::run::site;
use crate::sink::Metadata;

/// Maximum number of link types named; a hostile file may have any number.
const NAMED: usize = 64;

/// The metadata that do not count anything.
#[derive(Debug)]
pub(super) struct About(Metadata);

fn pairs<const N: usize>(pairs: [(&str, Option<String>); N]) -> Metadata {
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

impl About {
    /// What is known at the start; of a live capture also its interface.
    pub(super) fn begin(args: &Args, selection: &Selection, live: Option<(&str, Ring)>) -> Self {
        let seconds = |time: Duration| Some(time.as_secs_f64().to_string());
        let groups: Vec<&str> = selection.groups().map(|group| group.name).collect();
        let notes = &args.noted.note;
        let mut all = site::host();
        if let Some((interface, ring)) = live {
            all.extend(site::interface(interface));
            all.extend(pairs([
                ("capture_snaplen", Some(SNAP_LENGTH.to_string())),
                ("capture_buffer", Some(ring.octets.to_string())),
            ]));
        }
        all.extend(pairs([
            ("started", Some(utc_exact(SystemTime::now()))),
            ("command_line", Some(options::command_line())),
            ("vantage", args.noted.vantage.clone()),
            ("notes", (!notes.is_empty()).then(|| json!(notes).to_string())),
            ("functions", Some(json!(groups).to_string())),
            ("capture_filter", args.filter.clone()),
            ("idle_timeout", seconds(args.idle_timeout)),
            ("expiry_timeout", seconds(args.expiry_timeout)),
            ("max_flows", Some(args.max_flows.to_string())),
        ]));
        Self(all)
    }

    /// With the size and the digest of the capture file; the digest only if its end was read.
    pub(super) fn of_file(mut self, bytes: u64, digest: Option<&String>) -> Self {
        self.0.extend(pairs([
            ("capture_bytes", Some(bytes.to_string())),
            ("capture_sha256", digest.cloned()),
        ]));
        self
    }

    /// All of it at the end.
    pub(super) fn end(&self, seen: &observer::Counts) -> Metadata {
        let links: Vec<Value> = seen.links.iter().take(NAMED).map(|(number, interfaces)| {
            json!({ "number": number, "name": link_name(*number), "interfaces": interfaces })
        }).collect();
        let links = (!links.is_empty()).then(|| Value::Array(links).to_string());
        let now = pairs([
            ("ended", Some(utc_exact(SystemTime::now()))),
            ("clock_ended", site::clock_state()),
            ("capture_links", links),
        ]);
        [self.0.clone(), now].concat()
    }
}
