//! The search for the places of labels: copies of packets with a limited TTL, with no step in force.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Address, Asked, Engine, IDLE_POLL};
use crate::connect::Transport;
use crate::engine::raw::Raw;
use crate::engine::socket::{Opening, from_some_port};
use crate::engine::tracer::{Heard, Tracer};
use crate::error::Result;
use crate::locate::{
    Answer, Copies, Goal, Limits, Located, Next, Pace, Pair, Phase, Sending, Side, Subject,
};
use crate::packet::owner::PortSet;
use crate::packet::protocol;

/// The most searches at the same time. Each sends a copy and waits.
const MOST: usize = 256;
/// Copies that are sent before answers are read.
const FEW: usize = 16;

/// A target to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The target.
    pub at: SocketAddr,
    /// Its name, if the list has one.
    pub name: Option<String>,
    /// The packets to copy.
    pub pair: Arc<Pair>,
    /// What the label says.
    pub goal: Goal,
    /// Stands for the experiment.
    pub feature: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Traced {
    /// For each target.
    pub located: Vec<Located>,
    /// For each target: whether the run ended before its search did.
    pub stopped: Vec<bool>,
    /// Every source port that was used.
    pub ports: PortSet,
}

/// What a search may do, asked before each copy.
struct Allow<'a> {
    keep_going: &'a dyn Fn() -> bool,
    withdrawn: &'a dyn Fn(&Address) -> bool,
    excluded: &'a dyn Fn(IpAddr) -> bool,
}

impl Engine<'_> {
    /// Searches for every target, until done or until `keep_going` returns false. The search of a target that is `withdrawn`
    /// ends; a hop that is `excluded` gets no further copies after its first answer.
    ///
    /// # Errors
    /// If steps that are in force cannot be undone, or no socket can be opened.
    pub fn locate(
        &mut self,
        targets: &[Trace],
        limits: Limits,
        keep_going: impl Fn() -> bool,
        withdrawn: impl Fn(&Address) -> bool,
        excluded: impl Fn(IpAddr) -> bool,
    ) -> Result<Traced> {
        // The copies have what the steps did, and the kernel's own resets must pass.
        self.finish()?;
        self.scheduler.handle_undone();
        self.rest()?;
        let pace = self.pace();
        let mut phase = self.phase.take().unwrap_or_else(|| Phase::new(limits, pace));
        let subject = |of: &Trace| Subject {
            target: of.at.ip(),
            feature: of.feature,
            goal: of.goal,
            answer_ttl: of.pair.of(Side::Zero).answer_ttl(),
        };
        phase.handle_wave(targets.iter().map(subject));
        let (ports, bank, wave) = (&self.ports, self.bank, self.wave);
        self.deal.get_or_insert_with(|| ports.deal(bank, wave));
        let mut tracer = Tracer::new(Raw::new(self.settings.pool.bounds()))?;
        let allow = Allow { keep_going: &keep_going, withdrawn: &withdrawn, excluded: &excluded };
        let stopped = self.search(&mut phase, &mut tracer, targets, &allow)?;
        let located = (0..targets.len()).map(|number| phase.located(number)).collect();
        self.phase = Some(phase);
        let ports = self.deal.take().map(|deal| deal.taken().clone()).unwrap_or_default();
        self.wave += 1;
        let mut asked = Asked::default();
        self.barrier(&mut asked, true)?;
        let located = if asked.disturbed.is_empty() { located } else { disturbed(located) };
        asked.disturbed.iter().for_each(|disturbance| log::warn!("{}", disturbance.why));
        Ok(Traced { located, stopped, ports })
    }

    /// Runs the searches; returns which of them the end of the run stopped.
    fn search(
        &mut self,
        phase: &mut Phase,
        tracer: &mut Tracer,
        targets: &[Trace],
        Allow { keep_going, withdrawn, excluded }: &Allow<'_>,
    ) -> Result<Vec<bool>> {
        let [begun, over] = &self.progress.searches;
        begun.fetch_add(targets.len() as u64, Relaxed);
        let before = over.load(Relaxed);
        let mut sent = 0;
        loop {
            let done = (0..targets.len()).filter(|number| phase.is_over(*number)).count();
            over.store(before + done as u64, Relaxed);
            if !keep_going() {
                let stopped = (0..targets.len()).map(|number| !phase.is_over(number)).collect();
                phase.handle_stop();
                return Ok(stopped);
            }
            let now = self.epoch.elapsed();
            let wait = match phase.poll(now) {
                Next::Done => return Ok(vec![false; targets.len()]),
                Next::Send(copy) => {
                    let target = &targets[copy.subject];
                    let (at, name, wanted) = (target.at, target.name.clone(), Vec::new());
                    if withdrawn(&Address { at, name, wanted }) {
                        phase.handle_ended(copy.subject);
                    } else if let Err(why) = self.send_copy(tracer, target, copy) {
                        log::debug!("copy to {}: {why}", target.at);
                        phase.handle_ended(copy.subject);
                    }
                    sent += 1;
                    if sent % FEW != 0 {
                        continue;
                    }
                    Duration::ZERO
                }
                Next::Wait(until) => until.saturating_sub(self.epoch.elapsed()).min(IDLE_POLL),
            };
            // What has come counts before what is overdue, however late this turn is.
            for (subject, copy, answer, from) in tracer.hear(wait)? as Vec<Heard> {
                let is_reset = matches!(answer, Answer::Reply { .. }) && tracer.is_reset(subject);
                phase.handle_answer(subject, copy, answer, excluded(from), self.epoch.elapsed());
                if is_reset {
                    phase.handle_reset(subject);
                }
            }
            for subject in tracer.subjects() {
                if phase.is_over(subject) {
                    tracer.close(subject);
                }
            }
        }
    }

    fn pace(&self) -> Pace {
        let limits = self.settings.limits;
        let gap = limits.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        let [per_address, per_prefix] = limits.caps.gaps().map(Option::unwrap_or_default);
        let concurrency = (limits.concurrency / 2).clamp(1, MOST);
        Pace { concurrency, gap, per_address, per_prefix, lengths: limits.caps.lengths }
    }

    fn send_copy(
        &mut self,
        tracer: &mut Tracer,
        target: &Trace,
        copy: Sending,
    ) -> std::io::Result<()> {
        let Sending { subject, side, ttl, number } = copy;
        if !tracer.has(subject, side) {
            self.open_copies(tracer, target, (subject, side))?;
        }
        tracer.send((subject, side), number, ttl)
    }

    /// Opens the channel of one configuration to a target.
    fn open_copies(
        &mut self,
        tracer: &mut Tracer,
        target: &Trace,
        (subject, side): (usize, Side),
    ) -> std::io::Result<()> {
        let is_tcp = target.pair.of(side).is_tcp();
        let number = if is_tcp { protocol::TCP } else { protocol::UDP };
        let device = self.settings.bind_device.clone();
        let opening = Opening {
            transport: Transport::Raw,
            address: target.at,
            device: device.as_deref(),
            mark: None,
            options: &[],
            early: None,
        };
        let mut deal = self.deal.take();
        let configuration = usize::from(side == Side::One);
        let opened = from_some_port(
            |tried| deal.as_mut()?.draw((subject, configuration), None, tried),
            |port| {
                self.owners.claim(number, port, target.at);
                let way = tracer.reserve(&opening, port, is_tcp)?;
                self.owners.bind(port, way.source.ip());
                Ok(way)
            },
        );
        self.deal = deal;
        let (way, _) = opened.map_err(|(why, _)| why)?;
        let ends = (way.source, target.at);
        let copies = Copies::new(target.pair.clone(), side, ends, rand::random());
        tracer.open((subject, side), way, copies, target.at, is_tcp)
    }
}

/// Something happened to this host meanwhile: silence says nothing.
fn disturbed(mut located: Vec<Located>) -> Vec<Located> {
    for one in &mut located {
        let (label, packets, resets) = (None, one.packets, one.resets);
        *one = Located { label, packets, resets, outcome: Some("unlocated"), ..Located::default() };
    }
    located
}
