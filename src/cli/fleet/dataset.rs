//! `pathspider fleet ingest`, `verify` and `export`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::OfHub;
use crate::error::{Exit, Result};
use crate::fleet::coordinator;
use crate::fleet::dataset::{self, Proof, Taken};
use crate::fleet::document::Document;
use crate::fleet::folder::FolderHub;
use crate::fleet::hub::Hub;
use crate::fleet::transport::HubSide;
use crate::report::format::Format;
use crate::report::page;
use crate::words::counted;

/// Take the results of a campaign into a dataset
///
/// Each file is checked before it is in the dataset. Only when it is on disk, its agent hears so, and only then it is removed
/// from the hub; the agent keeps its own copy for days. May be repeated at any time.
#[derive(Debug, clap::Args)]
pub struct Ingest {
    /// The campaign
    #[arg(value_name = "CAMPAIGN")]
    campaign_name: String,

    /// The folder of the dataset: campaign=C/round=R/vantage=V/K-N.parquet
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,

    /// Take results of `agent once` from this folder, not from the hub
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    #[command(flatten)]
    hub: OfHub,
}

/// Prove that a dataset is whole, by the commits of its agents and its files alone
///
/// Checks that every agent has committed every unit, that each file is the one of its commit, and that each agent has
/// one record for every target of the list. Writes coverage.json, and the same signed. Exits with 0 if the dataset is whole, with 3
/// if not.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The campaign
    #[arg(value_name = "CAMPAIGN")]
    campaign_name: String,

    /// The folder of the dataset
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,

    /// Read commits of `agent once` from this folder, not from the hub
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[command(flatten)]
    hub: OfHub,
}

/// Write a campaign as files, for hosts that cannot reach the hub
///
/// `pathspider agent once` measures from such a folder, and `fleet ingest --from` takes its results. The campaign must be
/// started.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The campaign
    #[arg(value_name = "CAMPAIGN")]
    campaign_name: String,

    /// The folder to write to
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    hub: OfHub,
}

/// The hub of a command: the server, or a folder.
fn side(hub: &Hub, from: Option<&Path>) -> Result<Box<dyn HubSide>> {
    Ok(match from {
        Some(folder) => Box::new(FolderHub::make(folder)?),
        None => Box::new(hub.connect()?),
    })
}

/// Runs `fleet ingest`.
pub fn ingest(args: &Ingest) -> Result<Exit> {
    let hub = args.hub.open()?;
    let (document, _) = hub.document(&args.campaign_name)?;
    let side = side(&hub, args.from.as_deref())?;
    let taken = dataset::ingest(side.as_ref(), &document, &hub.agents()?, &args.dataset)?;
    let Taken { new, known, wrong } = &taken;
    page::print(&format!("{}: {new} new, {known} known\n", counted(new + known, "result[s]")))?;
    for why in wrong {
        page::tell(&format!("does not count: {why}"));
    }
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Lossy })
}

/// Runs `fleet verify`.
pub fn verify(args: &Verify) -> Result<Exit> {
    let hub = args.hub.open()?;
    let (document, _) = hub.document(&args.campaign_name)?;
    let side = side(&hub, args.from.as_deref())?;
    let proof = dataset::verify(side.as_ref(), &document, &hub.agents()?, &args.dataset)?;
    let written = dataset::write(&proof, &args.campaign_name, &args.dataset, &hub.campaign_key()?)?;
    match args.format {
        Format::Json => page::print_json(&json!({
            "campaign": args.campaign_name, "whole": proof.whole, "records": proof.records, "files": proof.files,
            "faults": proof.faults, "coverage": written.display().to_string(),
        }))?,
        Format::Text => page::print(&as_text(&document, &args.campaign_name, &proof))?,
    }
    Ok(if proof.whole { Exit::Done } else { Exit::Lossy })
}

fn as_text(document: &Document, campaign: &str, proof: &Proof) -> String {
    let mut text = proof.faults.iter().map(|fault| format!("{fault}\n")).collect::<String>();
    let state = if proof.whole { "whole" } else { "not whole" };
    text += &format!(
        "{campaign}: {state}: {} by {}: {}, {}\n",
        counted(document.list.targets, "target[s]"),
        counted(document.agents.len() as u64, "agent[s]"),
        counted(proof.files, "file[s]"),
        counted(proof.records, "record[s]")
    );
    text
}

/// Runs `fleet export`.
pub fn export(args: &Export) -> Result<Exit> {
    let hub = args.hub.open()?;
    let (document, octets) = hub.document(&args.campaign_name)?;
    let list = hub.list(&args.campaign_name)?;
    let folder = FolderHub::make(&args.folder)?;
    coordinator::publish(&folder, &document, octets, list)?;
    page::print(&format!(
        "{}: {} in {}\n",
        args.campaign_name,
        counted(document.units, "unit[s]"),
        args.folder.display()
    ))?;
    Ok(Exit::Done)
}
