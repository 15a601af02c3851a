//! The user that a command becomes.

/// The user that a command works as.
#[derive(Debug, Clone, clap::Args)]
pub struct Rights {
    /// Started as root: become this user before anything is opened, and keep of root's rights only what the run
    /// needs. Results, and the journal of changes, are then that user's
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub user: Option<String>,
}
