//! The summary of `observe`: the lines on standard error, the file's metadata and the exit code.

use indicatif::{HumanBytes, HumanCount};

use super::about::About;
use crate::cli::observe::{Args, Output};
use crate::error::{Error, Exit, Result};
use crate::observer::{self, link_name};
use crate::packet::Unread;
use crate::report::page;
use crate::words::counted;

/// Maximum number of unsupported link types named.
const NAMED: usize = 5;

/// What was read, and what was not.
pub(super) struct Account {
    pub(super) seen: observer::Counts,
    /// How dropped packets are described.
    pub(super) dropped: &'static str,
    /// What the result says of itself besides these counts.
    pub(super) about: About,
}

impl Account {
    /// Finishes the output and prints the summary; returns the exit code.
    pub(super) fn end(&self, output: Output, args: &Args, error: Option<Error>) -> Result<Exit> {
        let (flows, broken) = (output.flows, output.broken);
        let mut metadata = self.metadata(args, error.as_ref());
        metadata.push(("flows_internal_error".to_owned(), broken.to_string()));
        let written = output.sink.finish(&metadata)?;
        let mut words =
            format!("{}, {}", counted(self.seen.packets, "packet[s]"), counted(flows, "flow[s]"));
        for what in self.not_understood() {
            words.push_str(", ");
            words.push_str(&what);
        }
        if self.seen.unexpected > 0 {
            words += "; ";
            words += &counted(
                self.seen.unexpected,
                "packet[s] that [does|do] not fit [its flow|their flows] (pkt_unexpected_rev)",
            );
        }
        if self.seen.refused > 0 {
            words += "; ";
            words += &counted(self.seen.refused, "flow[s] rejected and ignored");
        }
        if args.output.as_os_str() != "-" {
            words.push_str(&format!(
                "; {} ({})",
                written.path.display(),
                HumanBytes(written.bytes)
            ));
        }
        page::tell(&words);
        self.seen.remarks.iter().for_each(|remark| log::warn!("{remark}"));
        if self.seen.clock_steps > 0 {
            log::warn!(
                "clock_step: the capture's clock jumped {}; flows that were live then have this flag",
                counted(self.seen.clock_steps, "time[s]")
            );
        }
        let broken = (
            broken,
            "flow[s] without facts because of an internal error (please report what -v logs)",
        );
        let broken = Some(broken).filter(|(count, _)| *count > 0);
        for (count, what) in self.lost().chain(broken) {
            log::warn!("lost: {}", counted(count, what));
        }
        // A live interface may have seen only ARP.
        let nothing = args.interface.is_none() && self.seen.nothing_understood();
        let lossy = self.lost().chain(broken).next().is_some() || nothing;
        if nothing {
            log::warn!("no packet of this capture could be read");
        }
        match error {
            Some(error) => {
                log::error!("{error}");
                Ok(Exit::Lossy)
            }
            None if lossy => Ok(Exit::Lossy),
            None => Ok(Exit::Done),
        }
    }

    /// Packets that could not be read, with numbers.
    fn not_understood(&self) -> Vec<String> {
        let Self { seen, .. } = self;
        let unread =
            Unread::ALL.iter().zip(seen.unread).map(|((.., words), count)| (count, *words));
        let mut all: Vec<String> = unread
            .chain([
                (seen.unfiltered, "of interfaces that the filter does not fit"),
                (seen.inexpressible, "of interfaces whose timestamps cannot be expressed"),
            ])
            .filter(|(count, _)| *count > 0)
            .map(|(count, words)| format!("{} {words}", HumanCount(count)))
            .collect();
        for (linktype, count) in seen.unknown_links.iter().take(NAMED) {
            let name = link_name(*linktype).unwrap_or("without a name".into());
            let count = HumanCount(*count);
            all.push(format!("{count} of link type {linktype} ({name}), which is not supported"));
        }
        let more: u64 = seen.unknown_links.values().skip(NAMED).sum();
        if more > 0 {
            all.push(format!("{} of other unsupported link types", HumanCount(more)));
        }
        all
    }

    /// Losses, with numbers.
    fn lost(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let Self { seen, dropped, .. } = self;
        [
            (seen.dropped, *dropped),
            (
                seen.unknown_blocks,
                "block[s] that [contains|contain] or may contain packets could not be read",
            ),
            (
                seen.inexpressible,
                "packet[s] left out: their timestamps cannot be expressed in nanoseconds",
            ),
            (seen.bad_times, "timestamp[s] that cannot be expressed in nanoseconds"),
            (seen.evicted, "flow[s] completed early: --max-flows was reached"),
            (
                seen.lost,
                "flow[s] without a record: more than --max-flows finished ones were pending",
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }

    fn metadata(&self, args: &Args, error: Option<&Error>) -> Vec<(String, String)> {
        let Self { seen, .. } = self;
        let source = match (&args.interface, &args.file) {
            (Some(interface), _) => interface.clone(),
            (_, path) => path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        };
        let unread = Unread::ALL.iter().zip(seen.unread);
        let unread = unread.map(|((_, key, _), count)| (*key, count.to_string()));
        let unknown_links: u64 = seen.unknown_links.values().sum();
        let metadata = [
            ("observed", source),
            ("complete", error.is_none().to_string()),
            ("packets_seen", seen.packets.to_string()),
            ("packets_dropped", seen.dropped.to_string()),
            ("packets_of_unknown_link", unknown_links.to_string()),
            ("packets_unfiltered", seen.unfiltered.to_string()),
            ("packets_inexpressible_times", (seen.inexpressible + seen.bad_times).to_string()),
            ("blocks_not_understood", seen.unknown_blocks.to_string()),
            ("clock_steps", seen.clock_steps.to_string()),
            ("flows_evicted", seen.evicted.to_string()),
            ("flows_lost", seen.lost.to_string()),
            ("packets_unexpected", seen.unexpected.to_string()),
            ("flows_refused", seen.refused.to_string()),
        ];
        let metadata = metadata.into_iter().chain(unread);
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        self.about.end(seen).into_iter().chain(metadata).collect()
    }
}
