//! Options of a run that protect targets and networks: caps, order, exclusion, contact.

use std::path::PathBuf;

use clap::ValueEnum;

pub use crate::run::contact::contact;
use crate::run::spec::{self, Spec};

/// Options of a run that limit its load on targets and networks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rate limiting and opt-out")]
pub struct Courtesy {
    /// Connections started in any one second to one address, at most; 0 for no limit
    /// [default: 10, with --lab none]
    #[arg(long, value_name = "N")]
    rate_per_address: Option<u32>,

    /// Connections started in any one second to all addresses of a prefix together, at most; 0 for no limit
    /// [default: 50, with --lab none]
    #[arg(long, value_name = "N")]
    rate_per_prefix: Option<u32>,

    /// Prefix lengths for IPv4 and IPv6
    #[arg(long, value_name = "V4,V6", default_value = "24,56", value_parser = lengths)]
    prefix_lengths: (u8, u8),

    /// Maximum packets per target: a measurement that could send more (see `explain`) is rejected before anything is sent
    #[arg(long, value_name = "N", default_value_t = 2000)]
    max_packets_per_target: u64,

    /// Order in which targets are probed
    #[arg(long, value_enum, default_value = "random")]
    order: Order,

    /// Seed of the random order
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Also probe addresses of special-purpose networks (private, documentation, benchmarking ...), which are skipped
    /// otherwise, except with --lab
    #[arg(long)]
    allow_reserved: bool,

    /// Do not probe these: prefixes, addresses, names, or names with all subdomains (.example.org), one per line, # for
    /// comments; repeatable. Read again on SIGHUP, which then does not end the run
    #[arg(long, value_name = "FILE")]
    exclude: Vec<PathBuf>,

    /// Contact for opt-out requests: an https, mailto or tel URI for HTTP's User-Agent and the metadata
    #[arg(long, value_name = "URI", value_parser = contact)]
    contact: Option<String>,

    /// Print the number of targets, packets, octets and seconds of the run, and send nothing
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
}

fn lengths(text: &str) -> Result<(u8, u8), String> {
    let parsed = text
        .split_once(',')
        .and_then(|(v4, v6)| Some((v4.trim().parse().ok()?, v6.trim().parse().ok()?)));
    let fits = |(v4, v6): &(u8, u8)| *v4 <= 32 && *v6 <= 128;
    parsed
        .filter(fits)
        .ok_or_else(|| "must be two lengths, up to 32 and up to 128, such as 24,56".into())
}

/// The order in which targets are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// As listed. Standard input is probed as it arrives.
    List,
    /// Drawn by --seed, so that neighbours are not probed in a row. The list must end first.
    Random,
}

impl Courtesy {
    /// Copies the options into a run's spec.
    pub fn fill(&self, spec: &mut Spec) {
        spec.rate_per_address = self.rate_per_address;
        spec.rate_per_prefix = self.rate_per_prefix;
        spec.prefix_lengths = self.prefix_lengths;
        spec.max_packets_per_target = self.max_packets_per_target;
        spec.order = match self.order {
            Order::List => spec::Order::List,
            Order::Random => spec::Order::Random,
        };
        spec.seed = self.seed;
        spec.allow_reserved = self.allow_reserved;
        spec.exclude.clone_from(&self.exclude);
        spec.contact.clone_from(&self.contact);
    }

    /// Whether SIGHUP makes the run read the lists again instead of ending it.
    pub fn takes_hangup(&self) -> bool {
        !self.exclude.is_empty()
    }
}
