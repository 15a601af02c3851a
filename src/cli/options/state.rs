//! Where journals are.

use std::path::PathBuf;

/// Where journals are.
#[derive(Debug, clap::Args)]
pub struct State {
    /// Folder of the journal of changes to this host [default: /run/pathspider for root, else
    /// $XDG_RUNTIME_DIR/pathspider or ~/.local/state/pathspider]
    #[arg(long = "state", value_name = "DIR", env = "PATHSPIDER_STATE", hide_env_values = true)]
    pub folder: Option<PathBuf>,
}
