//! Options of a command whose run can be watched from outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::server::Server;
use crate::report::status::Status;

/// Where a run can be watched.
#[derive(Debug, clap::Args)]
pub struct Watched {
    /// Append a JSON line about the run each second to FILE: `-` is standard output (the summary then goes to
    /// standard error), /dev/fd/3 an open descriptor. The last line says how the run ended
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,

    /// Serve metrics for Prometheus on http://ADDR/metrics while the run goes on, ADDR being an address and a
    /// port of this machine's loopback interface: 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Let --metrics serve on an address that others can reach: there is no password and no encryption
    #[arg(long, requires = "metrics")]
    metrics_exposed: bool,
}

impl Watched {
    /// Whether the status goes to standard output.
    pub fn on_stdout(&self) -> bool {
        self.status.as_deref() == Some(Path::new("-"))
    }

    /// Opens what is asked for. Call it when rights have been given up, and before anything else is opened: in a lab of its
    /// own namespace the address could not be found.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file or the address cannot be had, if others could reach the address without that having been
    /// said, or if records go to standard output, too.
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
