//! `pathspider agent`: a vantage point of a fleet.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::fleet::now;
use super::options::rights::Rights;
use super::signals;
use crate::error::{Error, Exit, Result};
use crate::files::{self, Folder};
use crate::fleet::agent::{Agent, Turn};
use crate::fleet::folder::FolderAgent;
use crate::fleet::jwt;
use crate::fleet::key::{Key, Kind};
use crate::fleet::ledger::Ledger;
use crate::fleet::measure::Here;
use crate::fleet::message::State;
use crate::fleet::nats::{Login, Nats};
use crate::fleet::policy::{self, Policy};
use crate::fleet::transport::AgentSide;
use crate::privilege;
use crate::report::page;
use crate::words::counted;

/// The key of the agent, in its folder.
const KEY: &str = "agent.nk";
/// Its token, as the hub made it.
const TOKEN: &str = "agent.jwt";
/// The usual place of the owner's file.
const CONFIG: &str = "/etc/pathspider/agent.toml";
/// How long an agent waits while it is stopped, has no work, or cannot reach the hub.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a signal is looked for meanwhile.
const TICK: Duration = Duration::from_millis(100);

/// Be a vantage point of a fleet: measure units of campaigns, within what the owner of this host allows
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Enroll(Enroll),
    Run(Run),
    Once(Once),
}

/// Make the key and the configuration of an agent in a folder, and print its public key
///
/// The key never leaves the folder. The owner of the hub adds the printed key with `fleet agent add`, which makes a
/// token: copy it into the folder as agent.jwt. What the agent may do is in agent.toml: read it before `agent run`.
#[derive(Debug, clap::Args)]
struct Enroll {
    /// The folder; it must not exist, or be empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The address of the hub, such as nats://127.0.0.1:4222; none if units come as files only
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The public key of those who may start campaigns, as `fleet init` printed it; repeatable
    #[arg(long, value_name = "KEY", required = true)]
    campaign_key: Vec<String>,
}

/// Take units of work from the hub and measure them, until Ctrl-C
///
/// Needs the rights of `run`. After a crash, the same command goes on where it ended.
#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    of: Configured,

    /// End when no unit has come for ten seconds, instead of waiting for one
    #[arg(long)]
    until_idle: bool,
}

/// Measure the units of an exported campaign, without a hub
///
/// Reads what `fleet export` wrote, and writes commits and results to a folder for `fleet ingest --from`. After an
/// interruption, the same command goes on where it ended.
#[derive(Debug, clap::Args)]
struct Once {
    #[command(flatten)]
    of: Configured,

    /// The exported campaign
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// Where commits and results go; may be the same folder
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Configured {
    /// The owner's file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,

    /// Folder of the journal of changes to this host [default: that of `run`]
    #[arg(long = "state", value_name = "DIR")]
    journals: Option<PathBuf>,

    #[command(flatten)]
    rights: Rights,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::Enroll(args) => enroll(args),
        Command::Run(args) => take(args),
        Command::Once(args) => once(args),
    }
}

fn enroll(args: &Enroll) -> Result<Exit> {
    for key in &args.campaign_key {
        Key::of_user(key)?;
    }
    let (folder, _) = Folder::make_with(&args.folder, 0o700)?;
    if let Some(name) = folder.names()?.first() {
        let (folder, name) = (args.folder.display(), name.display());
        return Err(Error::Usage(format!(
            "enroll in {folder}: it has {name} already; name a new folder"
        )));
    }
    let key = Key::new(Kind::User);
    let text = policy::template(args.url.as_deref(), &args.campaign_key);
    let path = args.folder.join("agent.toml");
    let failed = |why: std::io::Error| Error::failed(format!("write {}", path.display()), why);
    let mut file = files::create_new(&path)?.map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    key.write(&folder, KEY)?;
    page::print(&format!("{}\n", key.public()))?;
    Ok(Exit::Done)
}

/// What an agent is: its owner's file, its key, its token and its name.
struct Identity {
    policy: Policy,
    key: Key,
    token: String,
    name: String,
}

impl Configured {
    /// Reads everything, with the rights of a run only.
    fn open(&self) -> Result<Identity> {
        signals::catch(false)?;
        privilege::hold(self.rights.user.as_deref(), self.journals.is_none())?;
        let policy = Policy::read(&self.config)?;
        let key = Key::read(&policy.state.join(KEY))?;
        let path = policy.state.join(TOKEN);
        let token = files::regular(&path).and_then(std::io::read_to_string).map_err(|why| {
            Error::Usage(format!(
                "read {}: {why}; `pathspider fleet agent add` makes it at the hub, for the key {}",
                path.display(),
                key.public()
            ))
        })?;
        let name = jwt::claim(&token, "name").filter(|name| {
            jwt::claim(&token, "sub") == Some(key.public())
                && crate::fleet::campaign::name_of(name).is_ok()
        });
        let name = name.ok_or_else(|| {
            let (path, key) = (path.display(), key.public());
            Error::Usage(format!("read {path}: it is not a token for the key {key}"))
        })?;
        Ok(Identity { policy, key, token, name })
    }

    /// What measures.
    fn here<'a>(
        &'a self,
        of: &'a Identity,
        hub: &'a dyn AgentSide,
        leash: Option<Duration>,
    ) -> Here<'a> {
        let interface = of.policy.interface.as_deref();
        let (folder, state) = (of.policy.state.as_path(), self.journals.as_deref());
        Here { hub, folder, interface, state, leash, came: signals::came }
    }
}

impl Identity {
    fn agent<'a>(&'a self, hub: &'a dyn AgentSide, measure: &'a Here<'a>) -> Result<Agent<'a>> {
        let folder = &self.policy.state;
        let ledger = Ledger::open(&Folder::open(folder)?)?;
        Ok(Agent {
            name: self.name.clone(),
            key: &self.key,
            policy: &self.policy,
            folder,
            hub,
            ledger,
            measure,
            optout: 0,
        })
    }
}

/// Waits, unless a signal comes.
fn pause(length: Duration) {
    let ticks = length.as_millis() / TICK.as_millis();
    for _ in 0..ticks {
        if signals::came().is_some() {
            return;
        }
        std::thread::sleep(TICK);
    }
}

fn take(args: &Run) -> Result<Exit> {
    let of = args.of.open()?;
    let url = of.policy.hub.url.as_deref().ok_or_else(|| {
        Error::Usage(format!(
            "run {}: its [hub] has no url; `agent once` needs none",
            args.of.config.display()
        ))
    })?;
    let login = Login {
        url,
        ca: of.policy.hub.ca.as_deref(),
        token: &of.token,
        key: &of.key,
        name: &of.name,
    };
    let nats = Nats::connect_agent(login)?;
    let here = args.of.here(&of, &nats, Some(of.policy.leash()));
    let mut agent = of.agent(&nats, &here)?;
    page::tell(&format!("{}: connected to {url}", of.name));
    while signals::came().is_none() {
        match agent.turn(now()) {
            Ok(Turn::Idle) if args.until_idle => return Ok(Exit::Done),
            Ok(turn) => {
                report(&turn);
                if matches!(turn, Turn::Stopped(_)) {
                    pause(PAUSE);
                }
            }
            // The hub is away, or this host is full: what was measured is on disk.
            Err(why) => {
                page::tell(&format!("{}: {why}", of.name));
                pause(PAUSE);
            }
        }
    }
    Ok(Exit::Interrupted)
}

fn once(args: &Once) -> Result<Exit> {
    let of = args.of.open()?;
    let files = FolderAgent::open(&args.from, &args.to, &of.name)?;
    let here = args.of.here(&of, &files, None);
    let mut agent = of.agent(&files, &here)?;
    let mut left = 0;
    while signals::came().is_none() {
        let turn = agent.turn(now())?;
        report(&turn);
        match turn {
            Turn::Idle | Turn::Stopped(_) => break,
            Turn::Left(..) => left += 1,
            Turn::Settled(..) | Turn::Passed => {}
        }
    }
    if signals::came().is_some() {
        return Ok(Exit::Interrupted);
    }
    if left > 0 {
        page::tell(&format!("{} left: start the same command again", counted(left, "unit[s]")));
        return Ok(Exit::Lossy);
    }
    Ok(Exit::Done)
}

/// Says what a turn did, for the log of a service.
fn report(turn: &Turn) {
    match turn {
        Turn::Settled(unit, State::Done) => page::tell(&format!("{unit}: done")),
        Turn::Settled(unit, state) => page::tell(&format!("{unit}: {}", state.word())),
        Turn::Left(unit, why) => page::tell(&format!("{unit}: later: {why}")),
        Turn::Stopped(why) => page::tell(&format!("stopped: {why}")),
        Turn::Idle | Turn::Passed => {}
    }
}
