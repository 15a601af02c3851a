//! Options for watching a run from outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::server::Server;
use crate::report::status::Status;

/// Where a run publishes its progress.
#[derive(Debug, clap::Args)]
pub struct Watched {
    /// Append a JSON line about the run to FILE every second: `-` is standard output (the summary then goes to
    /// standard error), /dev/fd/3 an open descriptor. The last line says how the run ended
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,

    /// Serve Prometheus metrics on http://ADDR/metrics during the run; ADDR is an address and a port of the loopback
    /// interface, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Allow --metrics on an address that other hosts can reach: there is no password and no encryption
    #[arg(long, requires = "metrics")]
    metrics_exposed: bool,
}

impl Watched {
    /// Whether the status goes to standard output.
    pub fn on_stdout(&self) -> bool {
        self.status.as_deref() == Some(Path::new("-"))
    }

    /// Opens both. Call it when privileges have been dropped, and before the lab is built: in the lab's namespace the
    /// address does not exist.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file or the address cannot be opened, if other hosts could reach the address without consent,
    /// or if records go to standard output too.
    pub fn open(&self, records_on_stdout: bool) -> Result<(Option<Status>, Option<Server>)> {
        if self.on_stdout() && records_on_stdout {
            return Err(Error::Usage(
                "--status -: the records go to standard output; name a file for one of them".into(),
            ));
        }
        let status = self.status.as_deref().map(Status::open).transpose()?;
        let server = self.metrics.map(|at| Server::bind(at, self.metrics_exposed)).transpose()?;
        Ok((status, server))
    }
}
