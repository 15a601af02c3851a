//! The keys of a result's metadata, by name: what each says, and which command writes it.
//!
//! A Parquet file has them with the prefix `pathspider.`, as text; so have `run.json` and the metadata file of NDJSON.
//! A key that was not known, or that does not apply, is absent. Numbers are decimal, without unit; their unit is in the
//! documentation here.

/// The version of the records' format: which columns there are and of which types. It grows when a reader of older
/// records would misread newer ones. Results without the key are of version 1.
pub const FORMAT: u32 = 2;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A decimal number.
    Number,
    /// A decimal number, or `none` for no limit.
    Limit,
    /// `true` or `false`.
    Truth,
    /// A time in UTC, ISO 8601.
    Time,
    /// 64 hexadecimal digits.
    Sha256,
    /// Positions of a list as ranges: `1-3,7`.
    Positions,
    /// JSON.
    Json,
}

impl Kind {
    /// The word in the reference.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Limit => "number or `none`",
            Self::Truth => "`true` or `false`",
            Self::Time => "time, UTC",
            Self::Sha256 => "SHA-256",
            Self::Positions => "positions",
            Self::Json => "JSON",
        }
    }

    /// Whether a value is written so.
    pub fn fits(self, value: &str) -> bool {
        let is_number = |value: &str| value.parse::<f64>().is_ok_and(f64::is_finite);
        match self {
            Self::Text => true,
            Self::Number => is_number(value),
            Self::Limit => value == NONE || is_number(value),
            Self::Truth => matches!(value, "true" | "false"),
            Self::Time => crate::field::time::parse(value).is_some(),
            Self::Sha256 => value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()),
            Self::Positions => {
                use crate::targets::Positions;
                !value.is_empty() && Positions::parse(value, Positions::MOST).is_some()
            }
            Self::Json => serde_json::from_str::<serde_json::Value>(value).is_ok(),
        }
    }
}

/// The value of a limit that does not exist.
pub const NONE: &str = "none";

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// How its value is written.
    pub kind: Kind,
    /// The commands that write it first; `merge`, `judge` and `export` keep what holds for their output.
    pub by: &'static str,
    /// Its meaning.
    pub doc: &'static str,
}

const RUN: &str = "run";
const OBSERVE: &str = "observe";
const BOTH: &str = "run, observe";
const MERGE: &str = "merge";
const JUDGE: &str = "judge";
const EXPORT: &str = "export";

/// Rows of the table, one a line.
macro_rules! keys {
    ($($by:ident $kind:ident $name:ident: $doc:literal;)*) => {
        /// Every key, by subject.
        pub static KEYS: &[Key] =
            &[$(Key { name: stringify!($name), kind: Kind::$kind, by: $by, doc: $doc }),*];
    };
}

keys! {
    // The program.
    BOTH Number format: "Version of the records' format; absent in version 1.";
    BOTH Text version: "Version of the program.";
    BOTH Text commit: "Commit that the program was built from.";
    BOTH Text build: "Profile, compiler and target of the build.";
    BOTH Text libpcap: "Version of libpcap.";
    // The run.
    RUN Text run_id: "Identifier of the run: a random UUID (RFC 9562, version 4), the same in all parts and sessions.";
    BOTH Text command_line: "Command line as it was given.";
    BOTH Time started: "Start; of a resumed run, that of its first session.";
    BOTH Time ended: "End.";
    BOTH Truth complete: "Whether every target was probed, or the capture read to its end. Parts of a folder do not have it; see `whole_run`.";
    RUN Text whole_run: "In a part of a folder: the file there that says, once the run has ended, whether it is complete, with the counts of the whole run.";
    RUN Number sessions: "Sessions of the run: 1 plus the number of times it was resumed.";
    BOTH Json notes: "Notes of the user (--note), an array of text.";
    // The measurement.
    RUN Text measurement: "Text of the measurement, TOML; one that extends others is written as one file.";
    RUN Sha256 measurement_sha256: "Digest of that text.";
    RUN Json params: "Params of the measurement and their values, an object of text.";
    RUN Text connect: "Connection kind in place of the measurement's own (--connect).";
    RUN Json configurations: "Per configuration: title, kind of connection, timeout in seconds, and the steps in words.";
    RUN Json conditions_sql: "Per condition: its label as an SQL expression over the records.";
    RUN Json metrics_sql: "Per metric: its number as an SQL expression over the records.";
    RUN Number confirm_rounds: "Confirmation rounds of a target that looked broken or transient.";
    RUN Number confirm_spread: "Least seconds between two rounds of a target.";
    RUN Text locate: "Labels whose place on the path was searched for besides those of the measurement (--locate=LABEL), joined by commas; absent without --locate.";
    RUN Number control_share: "Share of targets that are controls (--control), 0 to 1.";
    // The host that measured.
    BOTH Text vantage: "Name of the vantage point (--vantage).";
    BOTH Text host: "Name of the host (`uname -n`).";
    BOTH Text kernel: "Name and release of the kernel.";
    BOTH Text interface: "Interface that was watched.";
    BOTH Json source_addresses: "Addresses of that interface at the start, an array of text.";
    BOTH Number interface_mtu: "MTU of that interface in octets.";
    BOTH Json interface_offloads: "Offloads of that interface: `tso`, `gso`, `gro`, `lro`, `ufo`, `rx_checksum`, `tx_checksum`; true, false, or absent where the driver does not say.";
    RUN Json sysctls: "Kernel parameters that affect connections, as they were before the run; per parameter its text.";
    RUN Json sysctls_set: "Kernel parameters that the steps set, per configuration.";
    BOTH Json clock_started: "The host's clock at the start: `synchronised` (whether the kernel counts it as such), `offset_ns`, `estimated_error_us`, `maximum_error_us`, `frequency_ppm` (adjtimex(2)).";
    BOTH Json clock_ended: "The same at the end.";
    RUN Text lab_prober: "Situation of the prober in the lab (--lab-prober).";
    // Limits.
    RUN Number concurrency: "Connections in flight at the same time, at most.";
    RUN Limit rate: "Connections started in any one second, at most.";
    RUN Limit rate_per_address: "The same to one address.";
    RUN Limit rate_per_prefix: "The same to all addresses of a prefix together.";
    RUN Text prefix_lengths: "Lengths of such a prefix in bits, of IPv4 and of IPv6: `24,56`.";
    RUN Number wave: "Targets probed together under one configuration, at most.";
    RUN Number max_packets_per_target: "Packets to a target, at most (--max-packets-per-target).";
    RUN Text source_ports: "Source ports: first and last.";
    RUN Number memory_bound: "Octets of memory, at most.";
    RUN Truth allow_reserved: "Whether special-purpose networks were probed.";
    RUN Text contact: "Contact for opt-out requests.";
    RUN Json exclude: "Exclusion lists as they were at the end, an array with `path`, `bytes`, `sha256`, `entries` of each; empty without any.";
    RUN Number exclude_rereads: "How often they were read again during the run (SIGHUP).";
    // The capture.
    BOTH Text capture_filter: "Filter of the capture, in pcap's language.";
    BOTH Number capture_snaplen: "Octets of a packet that were captured, at most; from a file, see `capture_links`.";
    BOTH Number capture_buffer: "Octets of the capture's ring.";
    OBSERVE Text observed: "Capture file or interface.";
    OBSERVE Number capture_bytes: "Octets of the capture file as stored.";
    OBSERVE Sha256 capture_sha256: "Digest of the capture file as stored; absent if it was not read to its end.";
    OBSERVE Json capture_links: "Interfaces of the capture by link type: `number`, `name`, and how many have it.";
    OBSERVE Json functions: "Groups of functions that read the packets.";
    OBSERVE Number idle_timeout: "Seconds of packet time without a packet after which a flow is complete.";
    OBSERVE Number expiry_timeout: "Seconds of packet time from the end of a flow to its completion.";
    OBSERVE Number max_flows: "Concurrent flows, at most.";
    // The target list.
    RUN Sha256 targets_sha256: "Digest of the target list.";
    RUN Text order: "Order of probing: `random` or `list`.";
    RUN Number seed: "Seed of a random order.";
    RUN Text shard: "Shard of the list (--shard): `2/8`.";
    RUN Number port: "Default port (--port).";
    RUN Text prefer: "IP version of a name with addresses of both: `4` or `6`.";
    RUN Text as_table_format: "Format of the table of origin ASes (--as-table).";
    RUN Number as_table_networks: "Networks in that table.";
    RUN Number as_table_bytes: "Octets of that table.";
    RUN Sha256 as_table_sha256: "Digest of that table.";
    // The account.
    RUN Number targets_read: "Targets read. Of a resumed run, in its last session; of merged results, see `targets_refused`.";
    RUN Number targets_asked: "Targets that were probed, in the last session.";
    RUN Json targets_refused: "Rejected lines by reason, in the last session. Of merged shards the sums, without `other_shard` and `resumed`, and `targets_read` counts no line twice.";
    RUN Number targets_unfinished: "Targets that the end of the run left unfinished.";
    RUN Number targets_last_position: "Last line of the list.";
    RUN Positions targets_no_target: "Lines without a target; absent if there are none.";
    RUN Positions targets_withheld: "Lines whose target was excluded or reserved; absent if there are none.";
    RUN Number lines_without_target: "Number of lines without a target.";
    RUN Number targets_left_out: "Number of targets that were excluded or reserved.";
    MERGE Positions targets_missing: "Lines without a record; absent if there are none.";
    MERGE Positions targets_doubled: "Lines with several records, of which the first was kept.";
    RUN Number records: "Records; in a part, those of the run so far.";
    RUN Json controls: "Controls: their number, times, labels, and rates of false alarms with intervals.";
    RUN Json records_flagged: "Records by flag.";
    RUN Number waves_repeated: "Waves that something on this host disturbed and that were repeated.";
    RUN Number waves_disturbed: "Waves that were disturbed again; their records are flagged.";
    RUN Json port_outcomes: "Outcomes by half of the source ports.";
    RUN Json command_outputs: "Output of the programs of `command` steps.";
    // Evidence.
    RUN Text evidence: "Folder of the packets that were kept (--evidence).";
    RUN Text evidence_labels: "Labels whose packets were kept.";
    RUN Number evidence_limit: "Octets of kept packets, at most.";
    RUN Number evidence_targets: "Targets whose packets were kept.";
    RUN Number evidence_packets: "Packets that were kept.";
    RUN Number evidence_targets_omitted: "Targets whose packets were not kept because of the limit.";
    RUN Number evidence_packets_omitted: "Packets that were not kept because of the limit.";
    // What was seen.
    RUN Number attempts_ok: "Attempts that succeeded.";
    RUN Number attempts_failed: "Attempts that failed.";
    RUN Number attempts_timeout: "Attempts that timed out.";
    RUN Number attempts_local_error: "Attempts that failed on this host, of which nothing is concluded.";
    RUN Number attempts_skipped: "Attempts that were not made.";
    RUN Number attempts_skipped_by_probe: "Of these, attempts whose target was down by a probe.";
    RUN Number attempts_not_observed: "Attempts whose flow was not observed.";
    RUN Number attempts_not_delivered: "Attempts whose answer crossed the interface and did not reach the socket.";
    RUN Number attempts_starved: "Attempts that this host was too busy to time.";
    RUN Number attempts_port_dependent: "Attempts that failed from the half of the source ports with far more failures.";
    RUN Number attempts_unfounded_error: "Attempts with an error that no packet explains.";
    RUN Number attempts_internal_error: "Attempts that a defect of the program ended.";
    BOTH Number packets_seen: "Packets that passed the filter.";
    BOTH Number packets_dropped: "Packets that the kernel dropped because the ring was full, or that the capture says were dropped.";
    RUN Number packets_dropped_by_interface: "Packets that the interface or its driver dropped.";
    RUN Number packets_not_understood: "Packets that could not be read.";
    RUN Number packets_of_others: "Packets of the run's ports that belong to no attempt.";
    BOTH Number packets_unexpected: "Packets with the addresses and ports of a flow that do not fit it.";
    BOTH Number flows_evicted: "Flows that were completed early because the table was full.";
    RUN Number flows_of_others: "Flows that belong to no attempt.";
    BOTH Number flows_internal_error: "Flows without facts because of a defect of the program.";
    OBSERVE Number flows_lost: "Flows without a record because too many were pending.";
    OBSERVE Number flows_refused: "Flows that a function rejected.";
    OBSERVE Number packets_not_ip: "Frames that are not IP.";
    OBSERVE Number packets_bad_link: "Frames with a broken link header.";
    OBSERVE Number packets_bad_ip: "Packets with a broken IP header.";
    OBSERVE Number packets_cut_transport: "Packets with a transport header that the capture cut short.";
    OBSERVE Number packets_bad_transport: "Packets with a broken transport header.";
    OBSERVE Number packets_bad_quote: "ICMP errors whose quote is cut short or broken.";
    OBSERVE Number packets_of_unknown_link: "Packets of link types that are not supported.";
    OBSERVE Number packets_unfiltered: "Packets of interfaces that the filter does not fit.";
    OBSERVE Number packets_inexpressible_times: "Packets whose times cannot be expressed in nanoseconds.";
    OBSERVE Number blocks_not_understood: "Blocks that may contain packets and could not be read.";
    OBSERVE Number clock_steps: "Jumps of the capture's clock.";
    // What was done with it later.
    MERGE Json merged_from: "Per result: its path, and what it said of itself where the results differ.";
    JUDGE Time judged: "When its labels were computed again.";
    JUDGE Text judged_by: "Version of the program that did so.";
    EXPORT Json exported_from: "Results that the rows are from, an array with `path`, `run_id`, `records`.";
    EXPORT Text exported_where: "Condition of the rows (--where).";
    // The file.
    BOTH Sha256 sha256: "Digest of this file, computed with these 64 digits as zeros.";
    BOTH Text sha256_of: "How that digest is computed.";
    BOTH Number records_bytes: "Octets of the NDJSON next to this file.";
    BOTH Sha256 records_sha256: "Digest of the NDJSON next to this file.";
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_counts_are_keys() {
        let mut names = HashSet::new();
        for key in KEYS {
            assert!(names.insert(key.name), "{} twice", key.name);
            assert!(key.doc.ends_with('.'), "{}", key.name);
        }
        for name in super::super::counts::KEYS {
            assert_eq!(find(name).map(|key| key.kind), Some(Kind::Number), "{name}");
        }
    }

    #[test]
    fn values_have_their_kind() {
        for (kind, right, wrong) in [
            (Kind::Number, "12.5", ""),
            (Kind::Limit, "none", "no"),
            (Kind::Truth, "true", "yes"),
            (Kind::Time, "2026-11-22T18:30:00.125Z", "today"),
            (Kind::Json, "[]", "["),
            (Kind::Positions, "1-3,7", ""),
        ] {
            assert!(kind.fits(right) && !kind.fits(wrong), "{kind:?}");
        }
    }
}
