use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::files::Folder;
use crate::fleet::campaign::Campaign;
use crate::fleet::campaign::tests::TEXT;
use crate::fleet::coordinator::{self, opened};
use crate::fleet::folder::{FolderAgent, FolderHub};
use crate::fleet::hub::{Agents, Registered};
use crate::fleet::key::Kind;
use crate::fleet::message::Offered;
use crate::fleet::policy::tests::policy;
use crate::fleet::transport::HubSide;
use crate::measurement::SHIPPED;

/// A time within the campaign.
const NOW: u64 = 1_796_083_200 + 3600;
/// Targets of the list.
const TARGETS: u64 = 80;
/// Its units.
const UNITS: usize = 2;

/// A hub of files with a campaign, and the state of an agent.
struct World {
    home: tempfile::TempDir,
    hub: FolderHub,
    owner: Key,
    key: Key,
    document: Document,
}

impl World {
    fn new(change: impl Fn(String) -> String) -> Self {
        let home = tempfile::tempdir().unwrap();
        let list = home.path().join("list.ndjson");
        let lines: String =
            (1..=TARGETS).map(|n| format!("{{\"dip\":\"192.0.2.{n}\",\"dp\":80}}\n")).collect();
        std::fs::write(&list, &lines).unwrap();
        let text = change(TEXT.to_owned());
        let campaign = Campaign::parse("c", &text).unwrap();
        let (_, ecn) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
        let agents = vec!["fra-1".to_owned()];
        let list = (list.as_path(), lines.as_bytes());
        let document = Document::new((&campaign, &text), ("ecn", ecn), list, agents).unwrap();
        let (owner, key) = (Key::new(Kind::User), Key::new(Kind::User));
        let hub = FolderHub::make(&home.path().join("hub")).unwrap();
        let (octets, _) = document.sign(&owner).unwrap();
        coordinator::publish(&hub, &document, octets, lines.clone().into_bytes()).unwrap();
        std::fs::create_dir(home.path().join("agent")).unwrap();
        Self { home, hub, owner, key, document }
    }

    fn usual() -> Self {
        Self::new(|text| text)
    }

    /// Runs the agent until it has nothing to do or fails.
    fn run(
        &self,
        policy: &Policy,
        fail: Option<(usize, bool)>,
        measure: &Fake,
        now: u64,
    ) -> Result<Vec<Turn>> {
        let hub = self.home.path().join("hub");
        let inner = FolderAgent::open(&hub, &hub, "fra-1").unwrap();
        let side = Shaky { inner, calls: AtomicUsize::new(0), fail };
        let folder = self.home.path().join("agent");
        let ledger = Ledger::open(&Folder::open(&folder).unwrap()).unwrap();
        let name = "fra-1".to_owned();
        let mut agent = Agent {
            name,
            key: &self.key,
            policy,
            folder: &folder,
            hub: &side,
            ledger,
            measure,
            optout: 0,
        };
        let mut turns = Vec::new();
        loop {
            match agent.turn(now)? {
                Turn::Idle => return Ok(turns),
                Turn::Stopped(why) => return Ok([turns, vec![Turn::Stopped(why)]].concat()),
                turn => turns.push(turn),
            }
        }
    }

    fn agents(&self) -> Agents {
        let row = Registered { key: self.key.public(), group: None, tags: BTreeMap::new() };
        BTreeMap::from([("fra-1".to_owned(), row)])
    }

    /// The commits at the hub, each signed by the agent.
    fn commits(&self) -> Vec<Commit> {
        let commits = self.hub.commits("ecn-2026-12").unwrap();
        commits.iter().map(|(unit, octets)| opened(unit, octets, &self.agents()).unwrap()).collect()
    }
}

/// A hub whose answer to one call is lost, before or after it has done what was asked.
struct Shaky {
    inner: FolderAgent,
    calls: AtomicUsize,
    fail: Option<(usize, bool)>,
}

impl Shaky {
    fn call<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.calls.fetch_add(1, Relaxed);
        match self.fail {
            Some((at, done)) if at == number => {
                if done {
                    call()?;
                }
                Err(Error::Failed("the hub went away".into()))
            }
            _ => call(),
        }
    }
}

impl AgentSide for Shaky {
    fn next(&self, wait: Duration) -> Result<Option<Lease>> {
        self.call(|| self.inner.next(wait))
    }

    fn settle(&self, lease: &Lease, how: Settle) -> Result<()> {
        self.call(|| self.inner.settle(lease, how))
    }

    fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        self.call(|| self.inner.input(sha256))
    }

    fn committed(&self, unit: &UnitId) -> Result<Option<Vec<u8>>> {
        self.call(|| self.inner.committed(unit))
    }

    fn offer(&self, name: &str, octets: Vec<u8>) -> Result<()> {
        self.call(|| self.inner.offer(name, octets))
    }

    fn commit(&self, unit: &UnitId, octets: Vec<u8>) -> Result<bool> {
        self.call(|| self.inner.commit(unit, octets))
    }

    fn control(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.call(|| self.inner.control(key))
    }

    fn heard(&self) -> bool {
        false
    }

    fn report(&self, octets: Vec<u8>) -> Result<()> {
        self.call(|| self.inner.report(octets))
    }
}

/// Writes a file for a unit and sends nothing.
#[derive(Default)]
struct Fake {
    /// How often each unit was probed.
    probed: Mutex<BTreeMap<String, u32>>,
    /// The settings of the last run.
    spec: Mutex<Option<Spec>>,
    /// Whether the host fails.
    fails: bool,
}

impl Fake {
    fn probed(&self) -> BTreeMap<String, u32> {
        self.probed.lock().unwrap().clone()
    }
}

impl Measure for Fake {
    fn measure(&self, job: &Job<'_>) -> Ended {
        *self.probed.lock().unwrap().entry(job.unit.to_string()).or_default() += 1;
        *self.spec.lock().unwrap() = Some(job.spec.clone());
        if self.fails {
            return Ended::Failed("no memory".into());
        }
        std::fs::write(&job.spec.output, format!("{} {}", job.unit, job.list.display())).unwrap();
        Ended::Done(self.facts(&job.spec.output).unwrap())
    }

    fn facts(&self, path: &Path) -> Result<Facts> {
        let octets = store::need(path)?;
        let text = String::from_utf8_lossy(&octets);
        let list = Path::new(text.split(' ').nth(1).unwrap()).file_stem().unwrap();
        let list = list.to_str().unwrap().to_owned();
        let sha256 = store::digest(&octets);
        let offered = Offered { sha256, records: 1, ..Offered::default() };
        Ok(Facts { offered, list, complete: true, ..Facts::default() })
    }
}

#[test]
fn a_campaign_is_measured_within_the_owners_limits() {
    let (world, fake) = (World::usual(), Fake::default());
    let turns = world.run(&policy(&world.owner, ""), None, &fake, NOW).unwrap();
    let done = turns.iter().filter(|turn| matches!(turn, Turn::Settled(_, State::Done))).count();
    assert_eq!((turns.len(), done, world.commits().len()), (UNITS, UNITS, UNITS), "{turns:?}");
    let spec = fake.spec.lock().unwrap().clone().unwrap();
    // The campaign asks for 100 a second, the owner allows 50; 50 to a prefix, the owner allows 10.
    assert_eq!(
        (spec.rate, spec.rate_per_prefix, spec.rate_per_address),
        (Some(50), Some(10), Some(2))
    );
    assert_eq!(spec.shard.map(|shard| shard.to_string()).as_deref(), Some("2/2"));
    assert!(!spec.allow_commands && !spec.allow_reserved && !spec.give_up_rights);
    // A second life of the agent has nothing to do.
    let turns = world.run(&policy(&world.owner, ""), None, &fake, NOW).unwrap();
    assert_eq!(turns, vec![Turn::Passed; UNITS]);
    assert!(fake.probed().values().all(|times| *times == 1));
}

/// The answer to every call in turn is lost, and the agent is started again: each unit is probed once and committed once.
#[test]
fn a_crash_at_any_call_probes_nothing_twice() {
    let (mut calls, mut idle) = (0, 0);
    for at in 0.. {
        let mut failed = 0;
        for done in [false, true] {
            let (world, fake) = (World::usual(), Fake::default());
            let policy = policy(&world.owner, "");
            failed += u32::from(world.run(&policy, Some((at, done)), &fake, NOW).is_err());
            world.run(&policy, None, &fake, NOW).unwrap();
            let probed = fake.probed();
            assert!(
                probed.len() == UNITS && probed.values().all(|times| *times == 1),
                "call {at}: {probed:?}"
            );
            let commits = world.commits();
            assert!(
                commits.iter().all(|commit| commit.state == State::Done),
                "call {at}: {commits:?}"
            );
            assert_eq!(commits.len(), UNITS, "call {at}");
        }
        calls = at;
        // The loss of a sign of life does no harm; after the last call there is none to lose.
        idle = if failed == 0 { idle + 1 } else { 0 };
        if idle > 2 {
            break;
        }
    }
    assert!(calls > 20, "only {calls} calls");
}

#[test]
fn a_result_whose_run_ended_before_the_crash_is_found() {
    let (world, fake) = (World::usual(), Fake::default());
    let policy = policy(&world.owner, "");
    world.run(&policy, None, &fake, NOW).unwrap();
    // As if the agent had been killed between the last file and the line of the ledger.
    let ledger = world.home.path().join("agent").join(crate::fleet::ledger::NAME);
    let text = std::fs::read_to_string(&ledger).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| line.contains("begun")).collect();
    std::fs::write(&ledger, kept.join("\n") + "\n").unwrap();
    std::fs::remove_dir_all(world.home.path().join("hub/commits")).unwrap();
    world.run(&policy, None, &fake, NOW).unwrap();
    assert_eq!(world.commits().len(), UNITS);
    assert!(fake.probed().values().all(|times| *times == 1), "{:?}", fake.probed());
}

#[test]
fn units_end_as_refused_or_expired_with_the_reason() {
    let ended = |world: &World, policy: &Policy, now: u64| {
        let fake = Fake::default();
        world.run(policy, None, &fake, now).unwrap();
        assert!(fake.probed().is_empty(), "nothing may be probed");
        let commits = world.commits();
        let reasons: Vec<String> =
            commits.iter().filter_map(|commit| commit.reason.clone()).collect();
        (commits.first().map(|commit| commit.state), reasons.join("\n"))
    };
    let world = World::usual();
    let (state, why) = ended(&world, &policy(&world.owner, "measurements = [\"dscp\"]"), NOW);
    assert!(
        state == Some(State::Refused) && why.contains("measurement ecn is not allowed"),
        "{why}"
    );
    let world = World::usual();
    let (state, why) = ended(&world, &policy(&world.owner, "ports = [443]"), NOW);
    assert!(state == Some(State::Refused) && why.contains("port 80"), "{why}");
    let world = World::usual();
    let (state, why) = ended(&world, &policy(&world.owner, ""), NOW + 30 * 24 * 3600);
    assert!(state == Some(State::Expired) && why.contains("ended"), "{why}");
    // A hub cannot start a campaign: another key has signed this one.
    let world = World::usual();
    let (state, why) = ended(&world, &policy(&Key::new(Kind::User), ""), NOW);
    assert!(state == Some(State::Refused) && why.contains("not trusted"), "{why}");
}

#[test]
fn a_hub_cannot_send_other_shards_than_those_of_the_document() {
    let world = World::usual();
    let work = world.home.path().join("hub/work/0-2.json");
    let text = std::fs::read_to_string(&work).unwrap();
    assert!(text.contains("\"2/2\""));
    std::fs::write(&work, text.replace("\"2/2\"", "\"1/1\"")).unwrap();
    let fake = Fake::default();
    world.run(&policy(&world.owner, ""), None, &fake, NOW).unwrap();
    assert_eq!(fake.probed().len(), 1);
    let refused =
        world.commits().into_iter().find(|commit| commit.state == State::Refused).unwrap();
    assert!(refused.reason.unwrap().contains("not one of the document"));
}

#[test]
fn a_hub_cannot_change_the_list() {
    let world = World::usual();
    let list = world.home.path().join("hub/inputs").join(&world.document.list.sha256);
    std::fs::write(&list, "{\"dip\":\"203.0.113.1\",\"dp\":25}\n").unwrap();
    let fake = Fake::default();
    let why = world.run(&policy(&world.owner, ""), None, &fake, NOW).unwrap_err().to_string();
    assert!(why.contains("other octets"), "{why}");
    assert!(fake.probed().is_empty());
}

#[test]
fn a_unit_waits_for_its_campaign_and_for_a_stop_to_be_lifted() {
    let world = World::usual();
    let (policy, fake) = (policy(&world.owner, ""), Fake::default());
    let turns = world.run(&policy, None, &fake, NOW - 7200).unwrap();
    assert!(
        turns.iter().all(|turn| matches!(turn, Turn::Left(_, why) if why.contains("not begun")))
    );
    let stop =
        |stopped, reason: &str| Stop { v: 1, stopped, now: false, reason: reason.into(), at: 7 };
    coordinator::stop(&world.hub, None, &stop(true, "complaint")).unwrap();
    let turns = world.run(&policy, None, &fake, NOW).unwrap();
    assert_eq!(turns, [Turn::Stopped("complaint".into())]);
    coordinator::stop(&world.hub, None, &stop(false, "")).unwrap();
    coordinator::stop(&world.hub, Some("ecn-2026-12"), &stop(true, "one")).unwrap();
    let turns = world.run(&policy, None, &fake, NOW).unwrap();
    assert!(turns.iter().all(|turn| matches!(turn, Turn::Left(_, why) if why == "stopped: one")));
    // What cannot be read is a stop.
    world.hub.set_control(keys::STOP, b"?".to_vec()).unwrap();
    assert!(matches!(world.run(&policy, None, &fake, NOW).unwrap()[..], [Turn::Stopped(_)]));
    assert!(fake.probed().is_empty() && world.commits().is_empty());
}

#[test]
fn a_unit_that_crashes_the_agent_is_given_up_and_one_that_fails_is_not() {
    let world = World::usual();
    let policy = policy(&world.owner, "");
    let fake = Fake { fails: true, ..Fake::default() };
    for _ in 0..7 {
        let turns = world.run(&policy, None, &fake, NOW).unwrap();
        assert!(turns.iter().all(|turn| matches!(turn, Turn::Left(_, why) if why == "no memory")));
    }
    assert!(world.commits().is_empty());
    let folder = Folder::open(&world.home.path().join("agent")).unwrap();
    let unit = UnitId::parse("ecn-2026-12/fra-1/0-1").unwrap();
    let mut ledger = Ledger::open(&folder).unwrap();
    let work = ledger.entry(&unit).work.unwrap();
    for attempt in 8..13 {
        ledger.note(&unit, Step::Begun { attempt, work: work.clone() }).unwrap();
    }
    drop(ledger);
    world.run(&policy, None, &Fake::default(), NOW).unwrap();
    let given_up =
        world.commits().into_iter().find(|commit| commit.unit == unit.to_string()).unwrap();
    assert_eq!((given_up.state, given_up.attempt), (State::Refused, 12));
}

#[test]
fn results_are_removed_only_after_they_were_stored_and_kept() {
    let world = World::usual();
    let (policy, fake) = (policy(&world.owner, ""), Fake::default());
    world.run(&policy, None, &fake, NOW).unwrap();
    let units = world.home.path().join("agent/units/ecn-2026-12");
    let left = || store::names(&units).unwrap().len();
    let keep = policy.keeps();
    world.run(&policy, None, &fake, NOW + 10 * keep).unwrap();
    assert_eq!(left(), UNITS, "the hub has not said that it has them");
    let shards = BTreeMap::from([("ecn-2026-12/0".to_owned(), "1".to_owned())]);
    let stored = to_text(&Stored { v: 1, shards }).unwrap();
    world.hub.set_control(&keys::stored("fra-1"), stored.into_bytes()).unwrap();
    world.run(&policy, None, &fake, NOW).unwrap();
    world.run(&policy, None, &fake, NOW + keep - 1).unwrap();
    assert_eq!(left(), UNITS, "they are kept for days");
    world.run(&policy, None, &fake, NOW + keep).unwrap();
    assert_eq!(store::names(&units).unwrap(), ["0-2.parquet"]);
    assert_eq!(world.run(&policy, None, &fake, NOW + keep).unwrap(), vec![Turn::Passed; UNITS]);
}

#[test]
fn a_commit_counts_only_with_the_signature_of_its_agent() {
    let (world, fake) = (World::usual(), Fake::default());
    world.run(&policy(&world.owner, ""), None, &fake, NOW).unwrap();
    let commits = world.hub.commits("ecn-2026-12").unwrap();
    let (unit, octets) = &commits[0];
    assert!(opened(unit, octets, &world.agents()).is_ok());
    assert!(opened(&commits[1].0, octets, &world.agents()).is_err(), "of another unit");
    let mut others = world.agents();
    others.get_mut("fra-1").unwrap().key = Key::new(Kind::User).public();
    assert!(opened(unit, octets, &others).is_err(), "of another agent");
    assert!(opened(unit, octets, &Agents::new()).is_err(), "of no agent");
}
