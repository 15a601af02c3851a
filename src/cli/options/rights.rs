//! The user that a command runs as.

/// The user that a command runs as.
#[derive(Debug, Clone, clap::Args)]
pub struct Rights {
    /// If started as root: become this user before anything is opened, and keep only the privileges that the run needs.
    /// Results and the journal of changes then belong to that user
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub user: Option<String>,
}
