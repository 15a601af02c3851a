//! Preparation of targets before any configuration: look-ups of names, and a probe that finds out whether a target is
//! up.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::record;
use super::spec::Spec;
use crate::connect::{Attempt, Ended, Prepared, Stage, State};
use crate::engine::driver::{self, Address, Asked, Engine};
use crate::error::Result;
use crate::measurement::{self, Plan};
use crate::resolve::question::{Family, Question, Reason};
use crate::resolve::resolver::{Answer, Resolver, Settings};
use crate::resolve::servers;
use crate::targets::Target;

/// Queries in flight at the same time.
const CONCURRENCY: usize = 200;
/// Timeout of a query, and the number of retries.
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRIES: u32 = 2;

/// Carries out a measurement's `[connect.prepare]`.
pub struct Preparation {
    plan: measurement::Prepare,
    resolver: Option<Resolver>,
    families: [Family; 2],
    /// Number of configurations.
    configurations: usize,
}

impl Preparation {
    /// For a plan. `own` is the resolver of the run's own network, if it has one.
    ///
    /// # Errors
    /// When names must be looked up and no resolver is known.
    pub fn new(plan: &Plan, spec: &Spec, own: Option<SocketAddr>) -> Result<Self> {
        let settings = || -> Result<Settings> {
            let servers = match (spec.resolvers.as_slice(), own) {
                ([], Some(own)) => vec![own],
                ([], None) => servers::of_system(Path::new("/etc/resolv.conf"))?,
                (given, _) => given.to_vec(),
            };
            let (concurrency, timeout, retries) = (CONCURRENCY, TIMEOUT, RETRIES);
            Ok(Settings { servers, concurrency, timeout, retries, rate: None })
        };
        let resolver = match plan.prepare.resolve {
            true => Some(Resolver::new(settings()?)?),
            false => None,
        };
        let families = match spec.prefer {
            Family::V4 => [Family::V4, Family::V6],
            Family::V6 => [Family::V6, Family::V4],
        };
        let configurations = plan.configs.len();
        Ok(Self { plan: plan.prepare.clone(), resolver, families, configurations })
    }

    /// Prepares a wave: looks up missing addresses, and probes the targets.
    pub fn prepare(
        &mut self,
        targets: &mut [Target],
        engine: &mut Engine<'_>,
        keep_going: &dyn Fn() -> bool,
        withdrawn: &dyn Fn(&Address) -> bool,
    ) -> Result<Ready> {
        let mut ready = Ready::new(targets.len());
        if let Some(resolver) = &mut self.resolver {
            look_up(resolver, self.families, targets, &mut ready, keep_going)?;
        }
        ready.withdraw(targets, withdrawn);
        if self.plan.probe.is_some() {
            let rows = ready.rows();
            let probed = engine.probe(&ready.addresses(targets, &[]), keep_going, withdrawn)?;
            for (row, probe) in rows.into_iter().zip(probed) {
                ready.probed(row, probe);
            }
            ready.withdraw(targets, withdrawn);
        }
        for fate in &ready.fates {
            if let Fate::Over(attempt) = fate {
                (0..self.configurations).for_each(|_| engine.handle_unasked(attempt.state));
            }
        }
        if !self.plan.is_something() {
            ready.found.clear();
        }
        Ok(ready)
    }
}

/// What to do with a target.
#[derive(Debug, Clone)]
enum Fate {
    /// Probe it.
    Ask,
    /// Skip it: the result of its attempt under every configuration.
    Over(Box<Attempt>),
    /// A stop left it unfinished.
    Stopped,
    /// It was excluded.
    Withdrawn,
}

/// A prepared wave.
#[derive(Debug)]
pub struct Ready {
    fates: Vec<Fate>,
    found: Vec<Prepared>,
    /// Source ports of probes.
    ports: Vec<u16>,
}

impl Ready {
    fn new(targets: usize) -> Self {
        let found = (0..targets).map(|_| Prepared::default()).collect();
        Self { fates: vec![Fate::Ask; targets], found, ports: Vec::new() }
    }

    /// The rows to probe.
    fn rows(&self) -> Vec<usize> {
        let asked = |fate: &Fate| matches!(fate, Fate::Ask);
        (0..self.fates.len()).filter(|row| asked(&self.fates[*row])).collect()
    }

    /// Drops targets that were excluded since.
    fn withdraw(&mut self, targets: &[Target], withdrawn: &dyn Fn(&Address) -> bool) {
        for (fate, target) in self.fates.iter_mut().zip(targets) {
            let begun = matches!(fate, Fate::Over(_));
            if !begun && address(target).is_some_and(|address| withdrawn(&address)) {
                *fate = Fate::Withdrawn;
            }
        }
    }

    /// The targets to probe; `wanted` are the source ports wanted by the first of the wave's targets.
    pub fn addresses(&self, targets: &[Target], wanted: &[Vec<Option<u16>>]) -> Vec<Address> {
        let rows = self.rows().into_iter().filter_map(|row| {
            let wanted = wanted.get(row).cloned().unwrap_or_default();
            Some(Address { wanted, ..address(&targets[row])? })
        });
        rows.collect()
    }

    /// The source ports of preparatory probes, whose flows belong to no record.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Adds the targets that were not probed to the wave's results, and returns the results of the preparation.
    pub fn complete(self, mut asked: Asked) -> (Vec<Prepared>, Asked) {
        asked.repeated.extend(self.ports.iter());
        let rows = self.rows();
        asked.withdrawn = asked.withdrawn.iter().filter_map(|at| rows.get(*at).copied()).collect();
        let before = self.fates.iter().enumerate();
        let before = before.filter(|(_, fate)| matches!(fate, Fate::Withdrawn));
        asked.withdrawn.extend(before.map(|(row, _)| row));
        for attempts in &mut asked.attempts {
            let mut given = std::mem::take(attempts).into_iter();
            let whole = self.fates.iter().map(|fate| match fate {
                Fate::Ask => given.next().flatten(),
                Fate::Over(attempt) => {
                    Some(Ended { attempt: attempt.as_ref().clone(), ..Ended::default() })
                }
                Fate::Stopped | Fate::Withdrawn => None,
            });
            *attempts = whole.collect();
        }
        (self.found, asked)
    }

    fn over(
        &mut self,
        row: usize,
        state: State,
        stage: Stage,
        error: Cow<'static, str>,
        ip: Option<IpAddr>,
    ) {
        let now = driver::now();
        let attempt = Attempt {
            ok: state.is_conclusive().then_some(false),
            state,
            stage,
            error: Some(error),
            started: now,
            ended: now,
            ip_version: ip.map(|ip| if ip.is_ipv4() { 4 } else { 6 }),
            answer: None,
            source_port: None,
        };
        self.fates[row] = Fate::Over(Box::new(attempt));
    }

    /// Handles the result of a look-up.
    fn looked_up(&mut self, row: usize, target: &mut Target, found: Result<Vec<IpAddr>, Reason>) {
        match found {
            Ok(addresses) => {
                target.addr = addresses.first().copied();
                let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                self.found[row].addresses = Some(texts.join(","));
            }
            Err(reason) => {
                let (word, meaning) = reason.words();
                self.found[row].resolve_error = Some(word.into());
                // An answer of the name's owner is about the target; an unreachable resolver is not.
                let state = if reason.is_answer() { State::Failed } else { State::LocalError };
                self.over(row, state, Stage::Resolve, meaning.into(), None);
            }
        }
    }

    /// Handles the result of a probe.
    fn probed(&mut self, row: usize, probe: Option<Ended>) {
        let Some(Ended { attempt, .. }) = probe else {
            self.fates[row] = Fate::Stopped;
            return;
        };
        self.ports.extend(attempt.source_port);
        let found = &mut self.found[row];
        found.probe_ok = attempt.ok;
        found.probe_state = Some(attempt.state.as_str().into());
        found.probe_error = attempt.error.clone();
        found.probe_answer = attempt.answer;
        let state = match attempt.state {
            State::Ok => return,
            // A host that answers in any way is up.
            State::Failed | State::Timeout if attempt.answer.is_some() => return,
            State::LocalError => State::LocalError,
            _ => State::Skipped,
        };
        let error = match attempt.error {
            Some(error) => format!("the probe before: {error}"),
            None => format!("the probe before: {}", attempt.state.as_str()),
        };
        self.fates[row] = Fate::Over(Box::new(Attempt {
            ok: None,
            state,
            error: Some(error.into()),
            source_port: None,
            ..attempt
        }));
    }
}

/// The address of a target, once known.
fn address(target: &Target) -> Option<Address> {
    let (at, name) = (record::address(target)?, target.name.clone());
    Some(Address { at, name, wanted: Vec::new() })
}

/// A name whose look-up is in flight.
#[derive(Debug, Default)]
struct Asking {
    row: usize,
    /// Queries without an answer.
    open: usize,
    found: Vec<(Family, Vec<IpAddr>)>,
    failed: Vec<Reason>,
}

impl Asking {
    /// The result of all answers together.
    fn result(mut self, families: [Family; 2]) -> Result<Vec<IpAddr>, Reason> {
        self.found.sort_by_key(|(family, _)| *family != families[0]);
        let addresses: Vec<IpAddr> =
            self.found.into_iter().flat_map(|(_, addresses)| addresses).collect();
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        // Without all answers, the result is unknown.
        self.failed.sort_by_key(|reason| (reason.is_answer(), *reason));
        Err(self.failed.first().copied().unwrap_or(Reason::NoAddress))
    }
}

/// Looks up every name without an address.
fn look_up(
    resolver: &mut Resolver,
    families: [Family; 2],
    targets: &mut [Target],
    ready: &mut Ready,
    keep_going: &dyn Fn() -> bool,
) -> Result<()> {
    let mut left: VecDeque<usize> =
        (0..targets.len()).filter(|row| targets[*row].addr.is_none()).collect();
    let mut under_way: std::collections::HashMap<u64, Asking> = std::collections::HashMap::new();
    while (!left.is_empty() || !under_way.is_empty()) && keep_going() {
        while resolver.room() >= families.len()
            && let Some(row) = left.pop_front()
        {
            let name = targets[row].name.as_deref().unwrap_or_default();
            let mut asking = Asking { row, ..Asking::default() };
            for family in families {
                match Question::new(name, family) {
                    Some(question) => {
                        resolver.ask(row as u64, family, question);
                        asking.open += 1;
                    }
                    None => asking.failed.push(Reason::BadName),
                }
            }
            match asking.open {
                0 => ready.looked_up(row, &mut targets[row], asking.result(families)),
                _ => drop(under_way.insert(row as u64, asking)),
            }
        }
        for Answer { ticket, family, found } in resolver.turn()? {
            let Some(asking) = under_way.get_mut(&ticket) else { continue };
            asking.open -= 1;
            match found {
                Ok(addresses) => asking.found.push((family, addresses)),
                Err(reason) => asking.failed.push(reason),
            }
            if asking.open == 0
                && let Some(asking) = under_way.remove(&ticket)
            {
                let row = asking.row;
                ready.looked_up(row, &mut targets[row], asking.result(families));
            }
        }
    }
    for row in left.into_iter().chain(under_way.into_values().map(|asking| asking.row)) {
        ready.fates[row] = Fate::Stopped;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::ANSWERS;

    fn result(
        prefer: Family,
        found: &[(Family, &str)],
        failed: &[Reason],
    ) -> Result<String, Reason> {
        let families =
            if prefer == Family::V4 { [Family::V4, Family::V6] } else { [Family::V6, Family::V4] };
        let found = found.iter().map(|(family, text)| (*family, vec![text.parse().unwrap()]));
        let asking =
            Asking { found: found.collect(), failed: failed.to_vec(), ..Asking::default() };
        let addresses = asking.result(families)?;
        Ok(addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_preferred_ip_version_is_used_if_there_is_one() {
        let both = [(Family::V6, "2001:db8::1"), (Family::V4, "192.0.2.1")];
        assert_eq!(result(Family::V4, &both, &[]), Ok("192.0.2.1,2001:db8::1".into()));
        assert_eq!(result(Family::V6, &both, &[]), Ok("2001:db8::1,192.0.2.1".into()));
        assert_eq!(result(Family::V4, &both[..1], &[Reason::Timeout]), Ok("2001:db8::1".into()));
    }

    #[test]
    fn a_query_without_an_answer_leaves_the_result_unknown() {
        let failed = [Reason::Nxdomain, Reason::Timeout];
        assert_eq!(result(Family::V4, &[], &failed), Err(Reason::Timeout));
        assert_eq!(result(Family::V4, &[], &[Reason::Nxdomain; 2]), Err(Reason::Nxdomain));
    }

    #[test]
    fn a_target_is_up_if_it_answers_a_probe_in_any_way() {
        let alert = Some(ANSWERS[0].answer);
        let silent = (State::Failed, None);
        let cases = [(State::Ok, None), (State::Failed, alert), (State::Timeout, alert), silent];
        let mut ready = Ready::new(cases.len());
        for (row, (state, answer)) in cases.into_iter().enumerate() {
            let attempt = Attempt { state, answer, ..Attempt::default() };
            ready.probed(row, Some(Ended { attempt, ..Ended::default() }));
            assert_eq!(ready.found[row].probe_answer, answer);
        }
        assert_eq!(ready.rows(), [0, 1, 2]);
    }

    #[test]
    fn only_answers_of_the_names_owner_are_about_the_target() {
        let mut ready = Ready::new(3);
        let mut target = Target::new([192, 0, 2, 1].into(), 80, Some("x".into()));
        target.addr = None;
        for (row, reason) in [Reason::Nxdomain, Reason::Servfail].into_iter().enumerate() {
            ready.looked_up(row, &mut target, Err(reason));
        }
        ready.probed(
            2,
            Some(Ended {
                attempt: Attempt { state: State::Timeout, ..Attempt::default() },
                ..Ended::default()
            }),
        );
        assert!(ready.rows().is_empty());
        let asked = Asked { attempts: vec![Vec::new()], ..Asked::default() };
        let (found, asked) = ready.complete(asked);
        let attempts: Vec<_> =
            asked.attempts[0].iter().flatten().map(|ended| &ended.attempt).collect();
        let seen: Vec<_> = attempts.iter().map(|a| (a.ok, a.state, a.stage)).collect();
        assert_eq!(
            seen,
            [
                (Some(false), State::Failed, Stage::Resolve),
                (None, State::LocalError, Stage::Resolve),
                (None, State::Skipped, Stage::Connect),
            ]
        );
        assert_eq!(found[0].resolve_error.as_deref(), Some("nxdomain"));
        assert_eq!(found[2].probe_state.as_deref(), Some("timeout"));
    }
}
