//! Options of a run that keep packets.

use std::path::PathBuf;

use crate::run::evidence::{self, Settings};
use crate::run::spec::Spec;

/// Which packets a run keeps, and where.
#[derive(Debug, clap::Args)]
pub struct Evidence {
    /// Keep the packets of targets that are labelled broken or transient, as pcapng files in DIR; the column `evidence`
    /// of a record names the file. Packets of all configurations, rounds included, as far as the capture has them (256
    /// octets of each)
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,

    /// Also keep those of targets with this label: its last word, such as `offline`, or all of it, such as
    /// `ecn.connectivity.works`; repeatable
    #[arg(long, value_name = "LABEL", requires = "evidence")]
    evidence_label: Vec<String>,

    /// Octets of all these files at most, or with K, M or G. Targets above it have no packets there, and are counted
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = super::octets, requires = "evidence")]
    evidence_limit: u64,

    /// Targets in a file at most; 1 is a file for each
    #[arg(long, value_name = "N", default_value_t = evidence::PER_FILE, value_parser = super::at_least_one, requires = "evidence")]
    evidence_targets: usize,
}

impl Evidence {
    /// Writes the options into a run's spec.
    pub fn fill(&self, spec: &mut Spec) {
        spec.evidence = self.evidence.as_ref().map(|folder| Settings {
            folder: folder.clone(),
            labels: self.evidence_label.clone(),
            limit: self.evidence_limit,
            per_file: self.evidence_targets,
        });
    }
}
