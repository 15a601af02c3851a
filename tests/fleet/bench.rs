//! A lab, a hub with a server, and agents, all in one namespace.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pathspider::fleet::jwt;
use pathspider::fleet::key::Key;
use pathspider::fleet::nats::{Login, Nats};
use pathspider::lab::{Lab, Spec, Tally};
use pathspider::report::lab_table;
use pathspider::sink::{Stored, parquet_files};
use serde_json::Value;

use crate::support::stderr;
use crate::support::wait::until_of;

/// The address of the hub in the namespace of a check.
pub const URL: &str = "nats://127.0.0.1:4222";

/// Half of the addresses are IPv6.
const HOSTS: &str = r#"
[truth]
ecn-scoped = [
    "ecn.connectivity.works", "ecn.negotiation.succeeded", "ecn.ipmark.ect0.seen", "ecn.ipmark.ect1.not_seen",
    "ecn.ipmark.ce.not_seen",
]

[[host]]
name = "plain"
title = "Works."
count = 24

[[host]]
name = "ecn-reset"
title = "Resets what asks for ECN."
count = 8
path = ["tcp flags & (syn|ack|ecn|cwr) == (syn|ecn|cwr) reject with tcp reset"]
truth.ecn-scoped = ["ecn.connectivity.broken"]
"#;

/// Everything that a check needs.
pub struct Bench {
    lab: Lab,
    folder: tempfile::TempDir,
    program: PathBuf,
    server: Option<Child>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.kill_server();
    }
}

impl Bench {
    pub fn new(program: &Path) -> Self {
        let lab = Lab::build(&Spec::parse("a lab for a fleet", HOSTS).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut list = String::new();
        for target in lab.targets() {
            let name = &lab.hosts()[target.host].name;
            let (addr, port) = (target.addr, target.port);
            writeln!(list, r#"{{"dip": "{addr}", "dp": {port}, "domain": "{name}"}}"#).unwrap();
        }
        fs::write(folder.path().join("list.ndjson"), list).unwrap();
        let mut bench = Self { lab, folder, program: program.to_owned(), server: None };
        bench.serve();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn targets(&self) -> u64 {
        self.lab.targets().len() as u64
    }

    /// The program in the folder of the check. What it prints goes to a file: a pipe that is not read would block it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.current_dir(self.folder.path()).args(words).stdin(Stdio::null());
        command.env("PATHSPIDER_STATE", self.path("state"));
        command
    }

    /// What a command that ends well prints.
    pub fn done(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The JSON that a command prints, which ends with this code.
    pub fn json(&self, words: &[&str], code: i32) -> Value {
        let output = self.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts the server of the hub, and makes the hub if there is none.
    pub fn serve(&mut self) {
        let program = self.program.display().to_string();
        let said = File::create(self.path("init.txt")).unwrap();
        let mut server = self
            .command(&["fleet", "init", "hub", "--local", "--server", &program])
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let path = self.path("init.txt");
        let ready = || fs::read_to_string(&path).unwrap().contains("Ctrl-C ends");
        until_of(&mut server, "the hub is ready", ready);
        self.server = Some(server);
    }

    /// Kills the server itself (-9); the command that started it ends then.
    pub fn kill_server(&mut self) {
        let Some(mut parent) = self.server.take() else { return };
        let children = format!("/proc/{0}/task/{0}/children", parent.id());
        for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-9", child]).status();
        }
        parent.wait().unwrap();
    }

    pub fn campaign_key(&self) -> String {
        let said = fs::read_to_string(self.path("init.txt")).unwrap();
        said.lines().find_map(|line| line.strip_prefix("campaign key: ")).unwrap().to_owned()
    }

    /// Makes an agent, which may probe the special-purpose networks of a lab at any rate.
    pub fn enroll(&self, name: &str) {
        let owner = self.campaign_key();
        let key = self.done(&["agent", "enroll", name, "--url", URL, "--campaign-key", &owner]);
        let token = self.done(&["fleet", "agent", "add", name, "--key", &key, "--group", "lab"]);
        fs::copy(self.path(&token), self.path(name).join("agent.jwt")).unwrap();
        let config = self.path(name).join("agent.toml");
        let text = fs::read_to_string(&config).unwrap();
        let interface = format!("interface = {:?} #", self.lab.interface());
        let text = text.replace("# interface = \"eth0\"", &interface);
        let text = text.replace("reserved = true", "reserved = false");
        let unlimited = |line: &&str| !line.starts_with("rate") && !line.starts_with("max_packets");
        let lines: Vec<&str> = text.lines().filter(unlimited).collect();
        fs::write(config, lines.join("\n")).unwrap();
    }

    /// Starts a campaign of this many units.
    pub fn start(&self, name: &str, units: u64, caps: &str) {
        let per_unit = self.targets().div_ceil(units);
        let text = format!(
            "name = \"{name}\"\nmeasurement = \"ecn-scoped\"\ntargets = \"list.ndjson\"\ncontact = \"mailto:x@example.org\"\n\
             [[assign]]\nagents = [\"group:lab\"]\n[unit]\ntargets = {per_unit}\nconfirm = 0\n[schedule]\n\
             not_after = \"2090-01-01T00:00:00Z\"\n{caps}"
        );
        fs::write(self.path("campaign.toml"), text).unwrap();
        self.done(&["fleet", "start", "campaign.toml"]);
    }

    /// Starts an agent.
    pub fn agent(&self, name: &str) -> Child {
        let config = format!("{name}/agent.toml");
        let said =
            File::options().create(true).append(true).open(self.path(name).join("said")).unwrap();
        self.command(&["agent", "run", "--config", &config, "--state", "state"])
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap()
    }

    fn count(&self, name: &str, step: &str) -> usize {
        let ledger = fs::read_to_string(self.path(name).join("ledger.ndjson")).unwrap_or_default();
        ledger.matches(&format!("\"step\":\"{step}\"")).count()
    }

    /// Waits until the ledger of an agent has another line of this step; at the end there is none.
    pub fn until_ledger(&self, agent: &mut Child, name: &str, step: &str) {
        let before = self.count(name, step);
        let over = || self.count(name, "committed") == 8;
        until_of(agent, step, || self.count(name, step) > before || over());
    }

    /// Lets an agent do all that is left.
    pub fn finish(&self, name: &str, units: usize) {
        let mut agent = self.agent(name);
        until_of(&mut agent, "everything is committed", || self.count(name, "committed") >= units);
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Waits until the status of a campaign is as wanted.
    pub fn until_status(&self, agent: &mut Child, campaign: &str, wanted: fn(&Value) -> bool) {
        let words = ["fleet", "status", campaign, "--format", "json"];
        until_of(agent, "the status is as wanted", || wanted(&self.json(&words, 0)));
    }

    /// Connects with the key and the token of an agent.
    pub fn connect(&self, name: &str) -> Nats {
        let (key, token) = self.login(name);
        Nats::connect_agent(Login { url: URL, ca: None, token: &token, key: &key, name }).unwrap()
    }

    /// The key and the token of an agent.
    pub fn login(&self, name: &str) -> (Key, String) {
        let token = fs::read_to_string(self.path(name).join("agent.jwt")).unwrap();
        assert_eq!(jwt::claim(&token, "name").as_deref(), Some(name));
        (Key::read(&self.path(name).join("agent.nk")).unwrap(), token)
    }

    /// Every label of every vantage is the one that is true of the host.
    pub fn labels_are_true(&self, dataset: &Path) {
        let rounds = self.path(dataset.to_str().unwrap()).join("campaign=ecn-1/round=0");
        for vantage in fs::read_dir(rounds).unwrap() {
            let vantage = vantage.unwrap().path();
            let mut tally = Tally::new(self.lab.hosts(), "ecn-scoped");
            for file in parquet_files(&vantage).unwrap() {
                let stored = Stored::open(&file).unwrap();
                stored
                    .read(&[], |records| {
                        lab_table::count(&mut tally, &records);
                        Ok(())
                    })
                    .unwrap();
            }
            assert!(tally.agrees(), "{}", vantage.display());
            let records: usize = tally.rows().iter().map(|row| row.records()).sum();
            assert_eq!(records as u64, self.targets(), "{}", vantage.display());
        }
    }
}
