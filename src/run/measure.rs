//! Starts, watches and joins the threads of a run. If one of them ends early, the run stops gracefully.

use std::sync::{Arc, mpsc};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::account::Account;
use super::again::Again;
use super::evidence::{self, Evidence};
use super::feed::{Fed, Feed, List};
use super::live::Live;
use super::networks::Networks;
use super::outcome::Outcome;
use super::output::{Earlier, Output};
use super::prepare::Preparation;
use super::telemetry::{self, Telemetry};
use super::wave::Sent;
use super::writer::{self, Known, Writer};
use super::{Run, about, preflight, source};
use crate::barrier;
use crate::engine::driver;
use crate::engine::ports::Bank;
use crate::error::{Doing as _, Error, ErrorKind, Result};
use crate::observer::capture::Counters;
use crate::observer::{Budget, Limits, capture};
use crate::packet::owner::Owners;
use crate::privilege;
use crate::sink::{Metadata, Sink};
use crate::targets::{Reader, Target};

/// The results of the threads of a run.
struct Left {
    fed: Fed,
    /// How the engine and the observer of events ended.
    end: Result<()>,
    written: writer::Written,
    written_end: Result<()>,
}

/// State shared by the threads of a run.
struct Shared<'a> {
    live: Live,
    progress: &'a driver::Progress,
    capture: &'a capture::Capture,
    counters: &'a Counters,
    about: &'a Metadata,
    began: Instant,
    /// Maximum number of targets in a wave.
    size: usize,
}

impl Run<'_> {
    /// Runs the measurement.
    ///
    /// # Errors
    /// Errors before the first packet; later errors are in the outcome.
    pub(super) fn measure(&self, reader: &mut Reader, output: &Output) -> Result<Outcome> {
        let progress = driver::Progress::default();
        let preparation = Preparation::new(self.plan, self.spec, self.network.resolver)?;
        let owners = Arc::new(Owners::default());
        let mut engine = driver::Engine::new(self.settings(), &progress, owners.clone())?;
        // The capture fills its ring from here, before the first SYN.
        let capture = capture::open(&self.network.interface, &self.capture_filter(), self.ring)?;
        preflight::rehearse(&engine, self.plan, self.origin)?;
        self.check_ended()?;
        // A start that fails after this point must remove the output.
        let (mut sink, mut earlier, digest) = self.open(reader, output)?;
        let size = self.spec.wave.unwrap_or(usize::MAX).min(engine.largest_wave());
        let evidence = self.spec.evidence.as_ref().map(|settings| {
            Evidence::open(settings, self.plan, &earlier.run_id, capture.interface().clone())
        });
        let evidence = evidence.transpose()?;
        let capture = match evidence {
            Some(_) => capture.keep(Budget::new(evidence::MEMORY)),
            None => capture,
        };
        let first = self.first(reader, size)?;
        self.check_ended()?;
        if self.spec.give_up_rights {
            privilege::keep(&self.needs)?;
        }
        let first_packets = self.plan.locate.is_some();
        let limits = Limits { first_packets, ..Limits::of_run(self.pool.len()) };
        let capture = capture.start(&self.plan.selection, limits, Some(owners))?;
        let counters = capture.counters.clone();
        let began = Instant::now();
        let started = earlier.started.take().unwrap_or_else(|| about::utc_exact(SystemTime::now()));
        let about = self.about(&started, digest.as_deref(), &earlier, size);
        let before = earlier.totals.records;
        let shared = Shared {
            live: Live::default(),
            progress: &progress,
            capture: &capture,
            counters: &counters,
            about: &about,
            began,
            size,
        };
        let list = List::new(reader, self.spec.control, first);
        let feed = (&mut engine, preparation, list);
        let left = self.threads(&shared, feed, sink.as_mut(), evidence, &mut earlier)?;
        let capture_end = capture.stop();
        let elapsed = began.elapsed();
        let Left { fed, end, written, written_end } = left;
        // Other errors may be consequences of a panic.
        let error = barrier::crashed().map(|crash| Error::Failed(crash.to_string()));
        let error = error.or(end.err()).or(capture_end.err()).or(written_end.err());
        let counts = written.counts(&progress, &counters, &earlier.counts);
        let meanwhile = || about::metadata_meanwhile(&about, &counts, written.totals.records);
        // Records are on disk before they are counted.
        let error = error.or(sink.checkpoint(Duration::MAX, &meanwhile).err());
        let mut account = Account::of(reader);
        account.records = sink.rows() - before;
        account.withdraw(&fed.withdrawn);
        account.unfinished = fed.unasked + written.unfinished;
        let changed = digest.is_some() && account.digest.is_some() && digest != account.digest;
        let changed = changed.then(|| {
            Error::stopped(ErrorKind::ListChanged, "the target list was changed during the run")
        });
        let mut outcome = Outcome {
            probed: fed.probed,
            reprobed: fed.reprobed,
            account,
            totals: written.totals,
            counts,
            elapsed,
            disturbed: fed.disturbed,
            interface: self.network.interface.clone(),
            evidence: self.spec.evidence.as_ref().map(|of| of.folder.clone()),
            elsewhere: self.elsewhere(written.unobserved_to),
            started,
            ended: about::utc_exact(SystemTime::now()),
            closing: self.closing(),
            interrupted: self.handle.is_ended(),
            signal: self.handle.signal(),
            error: error.or(changed),
            outputs: engine.outputs().to_vec(),
            records: sink.rows(),
            written: None,
            resume: None,
        };
        outcome.close(sink, &about, output, digest.is_some());
        Ok(outcome)
    }

    /// The first targets, whose routes are checked.
    fn first(&self, reader: &mut Reader, size: usize) -> Result<Vec<Target>> {
        let first = reader.next_batch(preflight::SAMPLE.min(size));
        self.check_ended()?;
        let first = first?;
        if first.is_empty() && !reader.has_targets() {
            return Err(match reader.refusals().in_words() {
                None => source::none(),
                Some(refused) => {
                    Error::refused(ErrorKind::NothingToSend, format!("no targets: {refused}"))
                }
            });
        }
        if !self.network.own {
            preflight::routes(&self.network.interface, self.network.bound.is_some(), &first)?;
        }
        Ok(first)
    }

    /// Runs the threads until the list or the run ends. This thread feeds the engine.
    fn threads(
        &self,
        shared: &Shared<'_>,
        (engine, preparation, list): (&mut driver::Engine<'_>, Preparation, List<'_>),
        sink: &mut dyn Sink,
        evidence: Option<Evidence>,
        earlier: &mut Earlier,
    ) -> Result<Left> {
        let fields = list.fields();
        let columns = Networks::fields(self.spec, &fields)?;
        let totals = std::mem::take(&mut earlier.totals);
        let Shared { live, progress, capture, counters, about, began, size } = shared;
        let telemetry = Telemetry {
            plan: self.plan,
            limits: self.limits(),
            began: *began,
            engine: progress,
            capture: counters,
            live,
            handle: self.handle,
        };
        let known =
            Known { about, progress, counters, earlier: &earlier.counts, began: *began, live };
        let events = self.events;
        thread::scope(|scope| {
            // No buffer: a wave is taken when the previous one has its flows. So at most two waves are in flight, which
            // is what the two banks of source ports can distinguish.
            let (waves, inbox) = mpsc::sync_channel::<Sent>(0);
            let (answers, again) = mpsc::channel();
            let (running, ended) = mpsc::channel::<()>();
            let watcher = spawn(scope, "live", || {
                let ended = ended;
                events.watch(&telemetry, &ended)
            })?;
            let writer = Writer::new(
                (self.plan, &self.networks),
                (fields, columns),
                sink,
                events,
                known,
                totals,
                answers,
            );
            let writer = writer.keep(evidence);
            let writer = spawn(scope, "writer", move || writer.run(&inbox))?;
            let alive = || {
                let threads = !writer.is_finished() && !watcher.is_finished();
                capture.is_alive() && threads && barrier::crashed().is_none()
            };
            let may_begin = || {
                self.look_at_lists();
                !self.handle.is_ended() && alive()
            };
            let keep_going = || {
                self.look_at_lists();
                self.handle.may_go_on() && alive()
            };
            let mut feed = Feed {
                engine,
                list,
                excluded: &self.excluded,
                preparation,
                limits: self.plan.locate.as_ref().map(|locate| locate.limits).unwrap_or_default(),
                capture,
                waves,
                answers: again,
                again: Again::new(self.spread()),
                size: *size,
                live,
                progress,
                per_target: telemetry::per_target(self.plan),
                bank: Bank::default(),
                fed: Fed::default(),
            };
            let end = contained(|| feed.run(&may_begin, &keep_going));
            // Restore the host first, whatever ended the run.
            let end = end.and(contained(|| feed.engine.finish()));
            let fed = std::mem::take(&mut feed.fed);
            // Closes the channel, so that the writer ends.
            drop(feed);
            // Merged records are written and readable, whatever ended the run.
            let (written, written_end) = writer.join().unwrap_or_else(|_| {
                (writer::Written::default(), Err(Error::Failed("the writer panicked".into())))
            });
            drop(running);
            // Its panic is recorded already, and must not propagate to this thread.
            let watched = watcher.join().unwrap_or(Ok(()));
            Ok(Left { fed, end: end.and(watched), written, written_end })
        })
    }
}

/// Starts a thread of the run.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let thread = thread::Builder::new().name(name.into()).spawn_scoped(scope, work);
    thread.doing(|| format!("start the thread {name}"))
}

/// Calls a function and turns a panic into an error.
fn contained(call: impl FnOnce() -> Result<()>) -> Result<()> {
    barrier::contain(call).unwrap_or_else(|crash| Err(Error::Failed(crash)))
}
