//! `pathspider targets resolve`: resolves names to targets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::HumanCount;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::signals;
use crate::cli::targets::failures::Failures;
use crate::cli::targets::input;
use crate::cli::targets::output::{Destination, Output};
use crate::error::{Doing as _, Error, Exit, Result};
use crate::measurement::duration;
use crate::report::meter::Meter;
use crate::report::page;
use crate::resolve::question::{Family, Question, Reason};
use crate::resolve::resolver::{self, Answer, Resolver, Settings};
use crate::resolve::servers;
use crate::targets::{Entries, Entry, Want, check_name};
use crate::words::counted;

/// Resolve names to addresses, thousands at a time: one line per address
///
/// The list has one name per line, or is CSV (`rank,name`, or with a header that has a
/// column domain or name), or NDJSON with `domain` or `name`. A port (`dp` or `port`) and all other
/// columns are passed on to each line of the output, which `pathspider run` and `targets filter` read.
/// The order is kept. Addresses in the list are replaced.
///
/// Names are host names in ASCII; names in other scripts must be in their xn-- form (IDNA is not
/// applied). Queries use UDP, each from a random port with a random identifier, and TCP if the answer
/// is truncated. Aliases (CNAME) are followed within the resolver's answer.
///
/// Every failure is counted by reason and the first ones are shown; --failures writes all. Exits with 3
/// if some names got no answer at all (timeout, servfail, refused, unreachable and the like): a retry
/// may help. Names that do not exist or have no address are answers, and not a loss.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of names, - for standard input (the default unless that is a terminal)
    #[arg(value_name = "NAMES")]
    names: Option<PathBuf>,

    #[command(flatten)]
    destination: Destination,

    /// Resolver; if repeated, resolvers take turns [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = servers::server)]
    resolver: Vec<SocketAddr>,

    /// Addresses to query: A, AAAA or both
    #[arg(long, value_enum, default_value = "both")]
    family: Families,

    /// Keep only the first address of each name and family, in the resolver's order
    #[arg(long)]
    first: bool,

    /// Port of targets without one
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Queries in flight at the same time, up to 20000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = concurrency)]
    concurrency: usize,

    /// Maximum queries in any one second, retries included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Timeout of a query
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = timeout)]
    timeout: Duration,

    /// Number of retries, each with the next resolver if there are several
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=20))]
    retries: u32,

    /// Output file for all failures: NDJSON with line, domain, family (null: all that were queried) and reason
    #[arg(long, value_name = "FILE")]
    failures: Option<PathBuf>,
}

/// The families to query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Families {
    /// IPv4.
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
    /// Both.
    Both,
}

impl Families {
    fn list(self) -> &'static [Family] {
        match self {
            Families::V4 => &[Family::V4],
            Families::V6 => &[Family::V6],
            Families::Both => &[Family::V4, Family::V6],
        }
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=resolver::MOST) => Ok(number),
        _ => Err(format!("must be a whole number, 1 to {}", resolver::MOST)),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&time) {
        true => Ok(time),
        false => Err("must be 1ms to 60s".into()),
    }
}

/// Maximum names held per query, so that output stays in order although one name takes long.
const WINDOW_PER_QUESTION: usize = 64;

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    let servers = match args.resolver.as_slice() {
        [] => servers::of_system(Path::new("/etc/resolv.conf"))?,
        given => given.to_vec(),
    };
    allow_descriptors(args.concurrency)?;
    let entries = Entries::open(&input(args.names.as_deref(), "names")?, Want::Names);
    let unwritten = || "targets resolve: nothing was written".to_owned();
    // A signal ended a blocking read.
    signals::check(unwritten)?;
    let mut entries = entries?;
    let output = args.destination.open(&mut entries);
    signals::check(unwritten)?;
    let mut run = Run {
        args,
        resolver: Resolver::new(Settings {
            servers,
            concurrency: args.concurrency,
            timeout: args.timeout,
            retries: args.retries,
            rate: args.rate,
        })?,
        output: output?,
        failures: Failures::open(args.failures.as_deref())?,
        jobs: VecDeque::new(),
        done: 0,
        resolved: 0,
    };
    let start = Instant::now();
    let mut meter = Meter::new("names", quiet);
    let mut more = true;
    let stopped = || signals::came().is_some();
    while (more || !run.jobs.is_empty()) && !stopped() {
        while more && run.has_room() && !stopped() {
            match entries.next() {
                Ok(Some(entry)) => run.ask(entry)?,
                Ok(None) => more = false,
                // Names resolved so far are written.
                Err(_) if stopped() => more = false,
                Err(why) => return Err(why),
            }
        }
        run.turn()?;
        let message = counted(run.failures.count(), "failure[s]");
        meter.show(run.done, entries.progress(), &message);
    }
    meter.end();
    let unfinished = run.stop()?;
    let refused = entries.refusals().count;
    let Run { output, failures, resolver, done, resolved, .. } = run;
    let (lines, dropped) = output.finish()?;
    if done == 0 && !stopped() {
        return Err(Error::Usage(entries.refusals().of_nothing("names")));
    }
    let summary = failures.summary();
    if !summary.is_empty() {
        page::tell(summary.trim_end());
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut text = format!(
        "{}, {} resolved, {}; {} in {seconds:.1} s\n",
        counted(done, "name[s]"),
        HumanCount(resolved),
        counted(lines, "address[es]"),
        counted(resolver.sent, "question[s]")
    );
    for (count, what) in [
        (refused, "line[s] [was|were] refused"),
        (unfinished, "name[s] [was|were] started and not finished"),
        (resolver.strangers, "message[s] [was|were] ignored: not [an answer|answers] to a query"),
        (
            dropped,
            "value[s] [does|do] not fit the CSV and [is|are] lost: write NDJSON to keep [it|them]",
        ),
    ] {
        if count > 0 {
            text += &format!("{}\n", counted(count, what));
        }
    }
    text += &signals::ended_early();
    page::tell(text.trim_end());
    let lost = failures.unanswered() > 0 || dropped > 0;
    failures.finish()?;
    Ok(match (stopped(), lost) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Lossy,
        (false, false) => Exit::Done,
    })
}

/// Raises the limit of open files to allow one socket per query.
fn allow_descriptors(concurrency: usize) -> Result<()> {
    const OTHERS: u64 = 64;
    let needed = concurrency as u64 + OTHERS;
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).doing(|| "read the limit of open files")?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Error::Usage(format!(
            "--concurrency {concurrency} needs {needed} open files, the limit is {hard}: lower it"
        )));
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).doing(|| "raise the limit of open files")
}

/// A name with queries in flight, or that waits to be written in order.
struct Job {
    entry: Entry,
    /// Queries without an answer.
    open: usize,
    found: Vec<(Family, Vec<IpAddr>)>,
    failed: Vec<(Family, Reason)>,
}

struct Run<'a> {
    args: &'a Args,
    resolver: Resolver,
    output: Output,
    failures: Failures,
    /// Jobs in the order of the list; the first has the ticket `done`.
    jobs: VecDeque<Job>,
    done: u64,
    resolved: u64,
}

impl Run<'_> {
    fn has_room(&self) -> bool {
        let window = self.args.concurrency.saturating_mul(WINDOW_PER_QUESTION);
        self.resolver.room() >= self.args.family.list().len() && self.jobs.len() < window
            || self.resolver.under_way() == 0 && self.jobs.is_empty()
    }

    fn ask(&mut self, mut entry: Entry) -> Result<()> {
        let text = entry.name.take().unwrap_or_default();
        let ticket = self.done + self.jobs.len() as u64;
        let mut job = Job { entry, open: 0, found: Vec::new(), failed: Vec::new() };
        match check_name(&text) {
            Ok(name) => {
                for family in self.args.family.list() {
                    match Question::new(name, *family) {
                        Some(question) => {
                            self.resolver.ask(ticket, *family, question);
                            job.open += 1;
                        }
                        None => job.failed.push((*family, Reason::BadName)),
                    }
                }
                job.entry.name = Some(name.to_owned());
                job.entry.port = job.entry.port.or(Some(self.args.port));
            }
            Err(why) => {
                self.failures.bad_name(job.entry.line, &text, &why)?;
            }
        }
        self.jobs.push_back(job);
        Ok(())
    }

    /// Sends and receives, and writes finished names.
    fn turn(&mut self) -> Result<()> {
        for Answer { ticket, family, found } in self.resolver.turn()? {
            let index = ticket.checked_sub(self.done).and_then(|index| usize::try_from(index).ok());
            let Some(job) = index.and_then(|index| self.jobs.get_mut(index)) else { continue };
            job.open -= 1;
            match found {
                Ok(addresses) => job.found.push((family, addresses)),
                Err(reason) => job.failed.push((family, reason)),
            }
        }
        while let Some(job) = self.jobs.pop_front_if(|job| job.open == 0) {
            self.write(job)?;
        }
        Ok(())
    }

    /// Writes finished names, in any order; returns the number of unfinished ones.
    fn stop(&mut self) -> Result<u64> {
        let mut unfinished = 0;
        for job in std::mem::take(&mut self.jobs) {
            if job.open == 0 {
                self.write(job)?;
            } else {
                unfinished += 1;
            }
        }
        Ok(unfinished)
    }

    fn write(&mut self, mut job: Job) -> Result<()> {
        self.done += 1;
        job.found.sort_by_key(|(family, _)| *family);
        for (_, addresses) in &job.found {
            let most = if self.args.first { 1 } else { usize::MAX };
            for address in addresses.iter().take(most) {
                self.output.write(&job.entry, *address)?;
            }
        }
        if !job.found.is_empty() {
            self.resolved += 1;
            // Many names have addresses of one family only.
            job.failed.retain(|(_, reason)| !reason.is_answer());
        }
        job.failed.sort();
        let name = job.entry.name.as_deref().unwrap_or_default();
        let asked = self.args.family.list().len();
        self.failures.add(job.entry.line, name, &job.failed, asked)
    }
}
