//! `pathspider fleet init`: makes a hub, and runs a server of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::now;
use crate::cli::signals;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::fleet::hub::{Hub, SERVER};
use crate::fleet::server::check_version;
use crate::program;
use crate::report::page;

/// How long the server may take to start.
const START: Duration = Duration::from_secs(30);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Make a hub in a folder, and run a server of its own until Ctrl-C
///
/// Makes the keys, the tokens and the configuration of the server in DIR, prints the public key that agents need, and
/// runs `nats-server` on 127.0.0.1. In a folder that is a hub already, only starts the server. Needs nats-server 2.10.23
/// or later, which reads and writes nothing outside DIR.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the hub; it must not exist, or be a hub
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Run the server here, for agents on this machine
    #[arg(long, required = true)]
    local: bool,

    /// The port on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 4222, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// The server's program [default: nats-server, in PATH]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    signals::catch(false)?;
    let program = match &args.server {
        Some(path) => path.clone(),
        None => program::find("nats-server").ok_or_else(|| {
            Error::Usage(
                "start nats-server: it is not installed. Install the package of nats.io, 2.10.23 or later, or name the program with \
                 --server"
                    .into(),
            )
        })?,
    };
    let doing = || format!("start {}", program.display());
    let printed = Command::new(&program).arg("--version").output().doing(doing)?;
    let version = check_version(&String::from_utf8_lossy(&printed.stdout))?;
    let (hub, new) = match Hub::exists(&args.folder) {
        true => (Hub::open(&args.folder)?, false),
        false => {
            free(args.port)?;
            (Hub::create(&args.folder, args.port, now())?, true)
        }
    };
    let mut server = Server::start(&program, hub.folder())?;
    let nats = server.wait_for(&hub)?;
    if new {
        nats.make()?;
    }
    drop(nats);
    page::print(&format!(
        "hub: {} ({}, nats-server {version})\ncampaign key: {}\nCtrl-C ends the server\n",
        args.folder.display(),
        hub.url(),
        hub.campaign_key()?.public()
    ))?;
    server.run()
}

/// Fails if something listens on the port already.
fn free(port: u16) -> Result<()> {
    let doing = || format!("listen on 127.0.0.1:{port}");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).doing(doing)?;
    socket.set_reuse_address(true).doing(doing)?;
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket
        .bind(&address.into())
        .map_err(|why| Error::Usage(format!("{}: {why}; choose another port with --port", doing())))
}

/// The server as a child of this process.
struct Server(Child);

impl Server {
    fn start(program: &Path, folder: &Path) -> Result<Self> {
        let doing = || format!("start {}", program.display());
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(folder.join(SERVER))
            .arg("--log")
            .arg(folder.join("server.log"));
        // A pipe that is never read would block it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().doing(doing)?))
    }

    /// Connects as soon as the server answers.
    fn wait_for(&mut self, hub: &Hub) -> Result<crate::fleet::nats::Nats> {
        let began = Instant::now();
        loop {
            let refused = match hub.connect() {
                Ok(nats) => return Ok(nats),
                Err(why) => why,
            };
            signals::check(|| "start the hub".to_owned())?;
            let log = hub.folder().join("server.log");
            if let Some(status) = self.0.try_wait().doing(|| "wait for the server")? {
                return Err(Error::Failed(format!(
                    "the server ended ({status}): see {}",
                    log.display()
                )));
            }
            if began.elapsed() > START {
                return Err(Error::Failed(format!("{refused}; see {}", log.display())));
            }
            std::thread::sleep(TICK);
        }
    }

    /// Waits until a signal or the server's own end.
    fn run(mut self) -> Result<Exit> {
        loop {
            if signals::came().is_some() {
                return Ok(Exit::Done);
            }
            if let Some(status) = self.0.try_wait().doing(|| "wait for the server")? {
                return Err(Error::Failed(format!("the server ended: {status}")));
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Server {
    /// Ends the server in order: what it has is on disk.
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
