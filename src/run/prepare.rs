//! Preparation of targets before any configuration: look-ups of names, and a probe that finds out whether a target is
//! up.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::spec::Spec;
use super::wave::{Fate, Wave, Why};
use crate::connect::{Attempt, Ended, Prepared, Stage, State};
use crate::engine::driver::{self, Address, Engine};
use crate::error::Result;
use crate::measurement::{self, Plan};
use crate::resolve::question::{Family, Question, Reason};
use crate::resolve::resolver::{Answer, Resolver, Settings};
use crate::resolve::servers;

/// Queries in flight at the same time.
const CONCURRENCY: usize = 200;
/// Timeout of a query, and how often a query without an answer is sent again.
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRIES: u32 = 2;

/// Carries out a measurement's `[connect.prepare]`.
pub struct Preparation {
    plan: measurement::Prepare,
    resolver: Option<Resolver>,
    families: [Family; 2],
    /// Number of configurations of the measurement.
    configurations: usize,
}

impl Preparation {
    /// For a plan. `own` is the resolver of the run's own network, if it has one.
    ///
    /// # Errors
    /// If names must be looked up and there is no resolver.
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

    /// Prepares a wave: gives addresses to targets that have none, and probes them.
    ///
    /// # Errors
    /// When sockets fail.
    pub fn prepare(
        &mut self,
        wave: &mut Wave,
        engine: &mut Engine<'_>,
        keep_going: &dyn Fn() -> bool,
        withdrawn: &dyn Fn(&Address) -> bool,
    ) -> Result<()> {
        let mut found = Found::new(wave, self.configurations);
        if let Some(resolver) = &mut self.resolver {
            look_up(resolver, self.families, &mut found, keep_going)?;
        }
        found.wave.withdraw(withdrawn);
        if self.plan.probe.is_some() {
            let (rows, addresses) = found.wave.to_probe();
            // A probe wants no port.
            let addresses = addresses.into_iter().map(|a| Address { wanted: Vec::new(), ..a });
            let addresses: Vec<Address> = addresses.collect();
            let probed = engine.probe(&addresses, keep_going, withdrawn)?;
            for (row, probe) in rows.into_iter().zip(probed) {
                found.probed(row, probe);
            }
            found.wave.withdraw(withdrawn);
        }
        for fate in &wave.fates {
            if let Fate::Ended(attempts) = fate {
                attempts.iter().for_each(|ended| engine.handle_unasked(ended.attempt.state));
            }
        }
        if !self.plan.is_something() {
            wave.prepared.clear();
        }
        Ok(())
    }
}

/// What is found out about the targets of a wave.
struct Found<'a> {
    wave: &'a mut Wave,
    /// Number of configurations.
    configurations: usize,
}

impl<'a> Found<'a> {
    fn new(wave: &'a mut Wave, configurations: usize) -> Self {
        wave.prepared = wave.targets.iter().map(|_| Prepared::default()).collect();
        Self { wave, configurations }
    }

    /// Ends a target with the same attempt under every configuration.
    fn end(&mut self, row: usize, attempt: &Attempt) {
        let ended = || Ended { attempt: attempt.clone(), ..Ended::default() };
        self.wave.fates[row] = Fate::Ended((0..self.configurations).map(|_| ended()).collect());
    }

    /// Takes the result of looking up a name.
    fn looked_up(&mut self, row: usize, found: Result<Vec<IpAddr>, Reason>) {
        let prepared = &mut self.wave.prepared[row];
        match found {
            Ok(addresses) => {
                self.wave.targets[row].addr = addresses.first().copied();
                let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                prepared.addresses = Some(texts.join(","));
            }
            Err(reason) => {
                let (word, meaning) = reason.words();
                prepared.resolve_error = Some(word.into());
                // An answer of the name's owner is about the target; that no resolver answered is not.
                let state = if reason.is_answer() { State::Failed } else { State::LocalError };
                let now = driver::now();
                self.end(
                    row,
                    &Attempt {
                        ok: state.is_conclusive().then_some(false),
                        state,
                        stage: Stage::Resolve,
                        error: Some(meaning.into()),
                        started: now,
                        ended: now,
                        duration: None,
                        ip_version: None,
                        answer: None,
                        source_port: None,
                    },
                );
            }
        }
    }

    /// Takes the result of a probe.
    fn probed(&mut self, row: usize, probe: Option<Ended>) {
        let Some(Ended { attempt, .. }) = probe else {
            self.wave.fates[row] = Fate::Unprobed(Why::Stopped);
            return;
        };
        self.wave.probe_ports.extend(attempt.source_port);
        let prepared = &mut self.wave.prepared[row];
        prepared.probe_ok = attempt.ok;
        prepared.probe_state = Some(attempt.state.as_str().into());
        prepared.probe_error = attempt.error.clone();
        prepared.probe_answer = attempt.answer;
        let state = match attempt.state {
            State::Ok => return,
            // A host that answers in any way is up.
            State::Failed | State::Timeout if attempt.answer.is_some() => return,
            State::LocalError => State::LocalError,
            _ => State::Skipped,
        };
        let error = match &attempt.error {
            Some(error) => format!("the probe before: {error}"),
            None => format!("the probe before: {}", attempt.state.as_str()),
        };
        let error = Some(error.into());
        self.end(row, &Attempt { ok: None, state, error, source_port: None, ..attempt });
    }
}

/// A name that is being looked up.
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
    found: &mut Found<'_>,
    keep_going: &dyn Fn() -> bool,
) -> Result<()> {
    let targets = &found.wave.targets;
    let mut left: VecDeque<usize> =
        (0..targets.len()).filter(|row| targets[*row].addr.is_none()).collect();
    let mut under_way: std::collections::HashMap<u64, Asking> = std::collections::HashMap::new();
    while (!left.is_empty() || !under_way.is_empty()) && keep_going() {
        while resolver.room() >= families.len()
            && let Some(row) = left.pop_front()
        {
            let name = found.wave.targets[row].name.as_deref().unwrap_or_default();
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
                0 => found.looked_up(row, asking.result(families)),
                _ => drop(under_way.insert(row as u64, asking)),
            }
        }
        for Answer { ticket, family, found: answer } in resolver.turn()? {
            let Some(asking) = under_way.get_mut(&ticket) else { continue };
            asking.open -= 1;
            match answer {
                Ok(addresses) => asking.found.push((family, addresses)),
                Err(reason) => asking.failed.push(reason),
            }
            if asking.open == 0
                && let Some(asking) = under_way.remove(&ticket)
            {
                let row = asking.row;
                found.looked_up(row, asking.result(families));
            }
        }
    }
    for row in left.into_iter().chain(under_way.into_values().map(|asking| asking.row)) {
        found.wave.fates[row] = Fate::Unprobed(Why::Stopped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::ANSWERS;
    use crate::targets::Target;

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

    fn wave(targets: usize) -> Wave {
        let mut target = Target::new([192, 0, 2, 1].into(), 80, Some("x".into()));
        target.addr = None;
        Wave::new(Vec::new(), vec![target; targets], Vec::new())
    }

    #[test]
    fn a_target_is_up_if_it_answers_a_probe_in_any_way() {
        let alert = Some(ANSWERS[0].answer);
        let silent = (State::Failed, None);
        let cases = [(State::Ok, None), (State::Failed, alert), (State::Timeout, alert), silent];
        let mut wave = wave(cases.len());
        let mut found = Found::new(&mut wave, 2);
        for (row, (state, answer)) in cases.into_iter().enumerate() {
            let attempt = Attempt { state, answer, ..Attempt::default() };
            found.probed(row, Some(Ended { attempt, ..Ended::default() }));
            assert_eq!(found.wave.prepared[row].probe_answer, answer);
        }
        assert_eq!(wave.waiting(), [0, 1, 2]);
    }

    #[test]
    fn only_an_answer_of_the_names_owner_is_about_the_target() {
        let mut wave = wave(3);
        let mut found = Found::new(&mut wave, 1);
        for (row, reason) in [Reason::Nxdomain, Reason::Servfail].into_iter().enumerate() {
            found.looked_up(row, Err(reason));
        }
        let attempt = Attempt { state: State::Timeout, ..Attempt::default() };
        found.probed(2, Some(Ended { attempt, ..Ended::default() }));
        assert!(wave.waiting().is_empty());
        let records = wave.take_records(1);
        let attempts = records.attempts[0].iter().map(|ended| &ended.attempt);
        let seen: Vec<_> = attempts.map(|a| (a.ok, a.state, a.stage)).collect();
        assert_eq!(
            seen,
            [
                (Some(false), State::Failed, Stage::Resolve),
                (None, State::LocalError, Stage::Resolve),
                (None, State::Skipped, Stage::Connect),
            ]
        );
        assert_eq!(records.prepared[0].resolve_error.as_deref(), Some("nxdomain"));
        assert_eq!(records.prepared[2].probe_state.as_deref(), Some("timeout"));
    }
}
