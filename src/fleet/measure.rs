//! Measures a unit: the run of [`crate::run`] with the settings of the campaign, within those of the owner.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::agent::{Ended, Job, Measure, beat, stop_of};
use super::facts::Facts;
use super::optout;
use super::transport::{AgentSide, Settle};
use crate::error::{Error, ErrorKind, Result};
use crate::run::telemetry::Telemetry;
use crate::run::{self, Events, Handle, Network, Run, interface};
use crate::targets::Options;

/// How often the stop flags are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often the lease is renewed and the control values are read.
const RENEW: Duration = Duration::from_secs(30);

/// Measures with this process.
pub struct Here<'a> {
    /// The hub.
    pub hub: &'a dyn AgentSide,
    /// The folder of the agent.
    pub folder: &'a Path,
    /// The interface; that of the default route if `None`.
    pub interface: Option<&'a str>,
    /// The folder of journals; that of the system if `None`.
    pub state: Option<&'a Path>,
    /// How long it goes on without a word of the hub; `None` if there is none to hear from.
    pub leash: Option<Duration>,
    /// The signal that was received, if any.
    pub came: fn() -> Option<i32>,
}

impl Here<'_> {
    fn whole(&self, job: &Job<'_>, handle: &Handle) -> Result<Ended> {
        let mut spec = job.spec.clone();
        spec.vantage = Some(job.unit.agent.clone());
        spec.state = self.state.map(Path::to_owned);
        spec.invoked_by = format!("pathspider agent: unit {}", job.unit);
        spec.vantage = Some(job.unit.agent.clone());
        let mut reader = run::source::open(job.list, &spec, Options::from(spec.port), true)?;
        let watched = interface::watched(self.interface)?;
        let bound = self.interface.map(str::to_owned);
        let network = Network { interface: watched, bound, ..Network::default() };
        let keeper = Keeper { here: self, job, handle, began: Instant::now() };
        let outcome =
            Run::start(&spec, (job.plan, job.origin), &network, &mut reader, handle, &keeper)?;
        if let Some(why) = outcome.error {
            return Err(why);
        }
        if outcome.interrupted {
            return Ok(Ended::Interrupted);
        }
        let facts = Facts::read(&spec.output)?;
        match facts.complete {
            true => Ok(Ended::Done(facts)),
            false => {
                Ok(Ended::Failed("the run ended before all of its targets were probed".into()))
            }
        }
    }
}

impl Measure for Here<'_> {
    fn measure(&self, job: &Job<'_>) -> Ended {
        let handle = Handle::with(self.came);
        match self.whole(job, &handle) {
            Ok(ended) => ended,
            Err(_) if handle.is_ended() => Ended::Interrupted,
            Err(why) => match why.kind() {
                // A later attempt would end the same.
                ErrorKind::BadInput | ErrorKind::MissingProgram | ErrorKind::NothingToSend => {
                    Ended::Refused(words(&why))
                }
                _ => Ended::Failed(words(&why)),
            },
        }
    }
}

fn words(why: &Error) -> String {
    match why {
        Error::File(report) => report.blame("the campaign"),
        other => other.to_string(),
    }
}

/// Renews the lease of a run, takes in who opted out, and ends the run on a stop, on a signal, and at the end of the
/// leash.
struct Keeper<'a> {
    here: &'a Here<'a>,
    job: &'a Job<'a>,
    handle: &'a Handle,
    began: Instant,
}

impl Keeper<'_> {
    /// Reads the control values, renews the lease and reports; whether the hub answered.
    fn ask(&self) -> bool {
        let (hub, unit) = (self.here.hub, self.job.unit);
        let listed = optout::take(hub, self.here.folder);
        match &listed {
            Ok((true, _)) => self.handle.reread().store(true, Relaxed),
            Ok((false, _)) => {}
            Err(why) => log::warn!("read the opt-out list: {why}"),
        }
        let stop = stop_of(hub, Some(&unit.campaign));
        let stopped = stop.as_ref().ok().and_then(Option::as_ref);
        if let Some(stop) = stopped {
            self.handle.end(None, stop.now);
        }
        let renewed = hub.settle(self.job.lease, Settle::Progress);
        let version = listed.as_ref().map_or(0, |(_, version)| *version);
        let now = self.job.now + self.began.elapsed().as_secs();
        beat(hub, now, Some(unit), (stopped.map(|stop| stop.at), version));
        stop.is_ok() && renewed.is_ok() && listed.is_ok()
    }
}

impl Events for Keeper<'_> {
    fn watch(&self, _: &Telemetry<'_>, ended: &Receiver<()>) -> Result<()> {
        let (mut asked, mut answered) = (Instant::now(), Instant::now());
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if self.handle.is_ended() && self.handle.may_begin() {
                self.handle.end(self.handle.signal(), false);
            }
            if self.here.hub.heard() || asked.elapsed() >= RENEW {
                asked = Instant::now();
                if self.ask() {
                    answered = Instant::now();
                }
            }
            let over = self.here.leash.is_some_and(|leash| answered.elapsed() >= leash);
            if over && self.handle.may_begin() {
                log::warn!("no word of the hub for {} s: stopping", answered.elapsed().as_secs());
                self.handle.end(None, false);
            }
        }
        Ok(())
    }
}
