//! What keeps a run from harming those whom it measures: caps, order, who is left alone, and who asks.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use clap::ValueEnum;
use signal_hook::consts::SIGHUP;

use super::explain;
use crate::engine::driver::Address;
use crate::engine::scheduler::{Caps, Limits};
use crate::error::{Doing as _, Error, Result};
use crate::measurement::Plan;
use crate::targets::{OptOuts, Options, Reader, Reason, Target, special};
use crate::words::counted;

/// Connections to an address in any one second, unless asked otherwise.
const PER_ADDRESS: u32 = 10;
/// Connections to a prefix in any one second, unless asked otherwise.
const PER_PREFIX: u32 = 50;
/// What a User-Agent may have beside the program's name, so that a request fits a segment.
const LONGEST_CONTACT: usize = 120;

/// Options of a run that keep it from harming anybody.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Harm none")]
pub struct Courtesy {
    /// Connections started in any one second to one address, at most; 0 for no limit
    /// [default: 10, with --lab none]
    #[arg(long, value_name = "N")]
    rate_per_address: Option<u32>,

    /// Connections started in any one second to all addresses of a prefix together, at most; 0 for no limit
    /// [default: 50, with --lab none]
    #[arg(long, value_name = "N")]
    rate_per_prefix: Option<u32>,

    /// How long a prefix is, of IPv4 and of IPv6
    #[arg(long, value_name = "V4,V6", default_value = "24,56", value_parser = lengths)]
    prefix_lengths: (u8, u8),

    /// Packets that a target may be sent, at most: a measurement that could send more (`explain` says how many) is
    /// refused before anything is sent
    #[arg(long, value_name = "N", default_value_t = 2000)]
    max_packets_per_target: u64,

    /// In which order targets are asked
    #[arg(long, value_enum, default_value = "random")]
    order: Order,

    /// Another seed draws another order
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Ask also addresses of special-purpose networks (private, documentation, benchmarking ...), which are refused
    /// otherwise except with --lab
    #[arg(long)]
    allow_reserved: bool,

    /// Leave these alone: prefixes, addresses, names, or names with all below them (.example.org), one a line, # for
    /// comments; repeatable. Read once more on SIGHUP, which then does not end the run
    #[arg(long, value_name = "FILE")]
    exclude: Vec<PathBuf>,

    /// Where you can be asked to stop: an https, mailto or tel URI, which goes into HTTP's User-Agent and the metadata
    #[arg(long, value_name = "URI", value_parser = contact)]
    contact: Option<String>,

    /// Say how many targets, packets, octets and seconds it would be, and do nothing
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
}

/// In which order targets are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// As they are listed; standard input is asked as it comes.
    List,
    /// Drawn by --seed, so that neighbours are not asked in a row; the list must have come to its end first.
    Random,
}

fn lengths(text: &str) -> Result<(u8, u8), String> {
    let parsed = text
        .split_once(',')
        .and_then(|(v4, v6)| Some((v4.trim().parse().ok()?, v6.trim().parse().ok()?)));
    let fits = |(v4, v6): &(u8, u8)| *v4 <= 32 && *v6 <= 128;
    parsed.filter(fits).ok_or_else(|| "write two lengths, up to 32 and up to 128, as 24,56".into())
}

/// A URI of RFC 9511's kinds that can stand in a comment of a User-Agent (RFC 9110, 5.6.5).
pub fn contact(text: &str) -> Result<String, String> {
    let known = ["https://", "mailto:", "tel:"];
    let Some(scheme) = known.into_iter().find(|scheme| text.starts_with(scheme)) else {
        return Err("must be a URI that begins with https://, mailto: or tel: (RFC 9511)".into());
    };
    let fits =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'"' | b'\\' | b'<' | b'>');
    match text.len() {
        length if length == scheme.len() => Err(format!("there is nothing after {scheme}")),
        length if length > LONGEST_CONTACT => {
            Err(format!("is longer than {LONGEST_CONTACT} octets"))
        }
        _ if !text.bytes().all(fits) => {
            Err("must be visible ASCII without spaces, parentheses, quotes and backslashes".into())
        }
        _ => Ok(text.to_owned()),
    }
}

impl Courtesy {
    /// How much is sent at most; in the lab there are no neighbours to be spared unless that is asked for.
    pub fn limits(&self, concurrency: usize, rate: Option<u32>, lab: bool) -> Limits {
        let cap = |asked: Option<u32>, usual: u32| match asked {
            None => Some(usual).filter(|_| !lab),
            asked => asked.filter(|cap| *cap > 0),
        };
        let caps = Caps {
            per_address: cap(self.rate_per_address, PER_ADDRESS),
            per_prefix: cap(self.rate_per_prefix, PER_PREFIX),
            lengths: self.prefix_lengths,
        };
        Limits { concurrency, rate, caps }
    }

    /// Refuses a measurement that could send a target too much.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        let (_, most) = explain::in_all(plan);
        if most.packets <= self.max_packets_per_target {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "run {}: a target could be sent {} packets, more than --max-packets-per-target {}; \
             `pathspider explain` says which",
            plan.name, most.packets, self.max_packets_per_target
        )))
    }

    /// Draws the order of targets that are known already.
    pub fn scatter(&self, reader: &mut Reader) {
        if self.order == Order::Random {
            reader.scatter(self.seed);
        }
    }

    /// Opens a list in the order asked for; of a dry run the order does not matter.
    pub fn open(&self, path: &std::path::Path, options: Options) -> Result<Reader> {
        match self.order {
            Order::Random if !self.dry_run => Reader::open_scattered(path, options, self.seed),
            _ => Reader::open(path, options),
        }
    }

    /// What a run is known by, of these options.
    pub fn identity(&self) -> [(&'static str, String); 2] {
        let (order, seed) = match self.order {
            Order::List => ("list", String::new()),
            Order::Random => ("random", self.seed.to_string()),
        };
        [("--order", order.to_owned()), ("--seed", seed)]
    }

    /// What the metadata say of them.
    pub fn about(&self, limits: &Limits) -> Vec<(&'static str, Option<String>)> {
        let [(_, order), (_, seed)] = self.identity();
        let cap = |cap: Option<u32>| cap.map(|cap| cap.to_string());
        vec![
            ("order", Some(order)),
            ("seed", Some(seed).filter(|seed| !seed.is_empty())),
            ("rate", cap(limits.rate)),
            ("rate_per_address", cap(limits.caps.per_address)),
            ("rate_per_prefix", cap(limits.caps.per_prefix)),
            ("contact", self.contact.clone()),
        ]
    }

    /// What goes into a User-Agent.
    pub fn agent(&self) -> Option<String> {
        self.contact.clone()
    }

    /// Whether SIGHUP has the lists read once more, and does not end the run.
    pub fn takes_hangup(&self) -> bool {
        !self.exclude.is_empty()
    }

    /// Has the reader refuse those who must not be asked; gives back who they are, which may change.
    pub fn withhold(&self, reader: &mut Reader, plan: &Plan, lab: bool) -> Result<Rc<Excluded>> {
        let allow_reserved = self.allow_reserved || lab;
        let excluded = Excluded::read(&self.exclude, allow_reserved, plan.prepare.resolve)?;
        let excluded = Rc::new(excluded);
        let policy = excluded.clone();
        reader.withhold(Box::new(move |target| policy.why(target.addr, target.name.as_deref())));
        Ok(excluded)
    }
}

/// Those who must not be asked: those who asked for that, and special-purpose networks.
#[derive(Debug)]
pub struct Excluded {
    paths: Vec<PathBuf>,
    list: RefCell<OptOuts>,
    allow_reserved: bool,
    /// Set by SIGHUP.
    again: Arc<AtomicBool>,
    /// Whether targets in hand have to be looked at once more: the list may be another one than that by which they were
    /// let through, or their addresses were not known then.
    look_again: Cell<bool>,
}

impl Excluded {
    fn read(paths: &[PathBuf], allow_reserved: bool, names: bool) -> Result<Self> {
        let list = OptOuts::read(paths)?.into();
        let again = Arc::new(AtomicBool::new(false));
        if !paths.is_empty() {
            signal_hook::flag::register(SIGHUP, again.clone()).doing(|| "watch for SIGHUP")?;
        }
        let look_again = Cell::new(names);
        Ok(Self { paths: paths.to_vec(), list, allow_reserved, again, look_again })
    }

    /// Why a target must not be asked, if it must not.
    fn why(&self, address: Option<IpAddr>, name: Option<&str>) -> Option<Reason> {
        if !self.allow_reserved
            && let Some((address, special)) = address.and_then(|a| Some((a, special(a)?)))
        {
            log::debug!("{address} is refused: {}, {}", special.name, special.source);
            return Some(Reason::Reserved);
        }
        self.list.borrow().has(address, name).then_some(Reason::Excluded)
    }

    /// Why a target was withdrawn; if the list has changed once more since, because it was excluded.
    pub fn reason(&self, target: &Target) -> Reason {
        self.why(target.addr, target.name.as_deref()).unwrap_or(Reason::Excluded)
    }

    /// Reads the lists once more if SIGHUP asked for it; keeps what it has if they cannot be read.
    pub fn look(&self) {
        if !self.again.swap(false, Relaxed) {
            return;
        }
        match self.read_again() {
            Ok(list) => {
                let (prefixes, names) = list.len();
                log::warn!(
                    "--exclude was read once more: {}, {}",
                    counted(prefixes as u64, "prefix[es]"),
                    counted(names as u64, "name[s]")
                );
                self.list.replace(list);
                self.look_again.set(true);
            }
            Err(error) => log::error!(
                "--exclude could NOT be read once more, and the run goes on with the list from before: {error}"
            ),
        }
    }

    /// What can be read only once, a pipe, would now be empty, or would be waited for.
    fn read_again(&self) -> Result<OptOuts> {
        match self.paths.iter().find(|path| !path.is_file()) {
            Some(path) => Err(Error::Usage(format!(
                "read {}: it is not a regular file, and can be read only once",
                path.display()
            ))),
            None => OptOuts::read(&self.paths),
        }
    }

    /// Whether a target that was let through must not be asked by now.
    pub fn withdrawn(&self, target: &Address) -> bool {
        self.look_again.get() && self.why(Some(target.at.ip()), target.name.as_deref()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_that_fit_a_user_agent() {
        for (text, good) in [
            ("https://example.org/probing.txt", true),
            ("mailto:lab@example.org", true),
            ("tel:+1-201-555-0123", true),
            ("http://example.org", false),
            ("example.org", false),
            ("mailto:", false),
            ("mailto:a b", false),
            ("mailto:a)\r\nX: y", false),
            ("https://example.org/(x)", false),
        ] {
            assert_eq!(contact(text).is_ok(), good, "{text:?}");
        }
        assert!(contact(&format!("mailto:{}", "a".repeat(LONGEST_CONTACT))).is_err());
    }

    #[test]
    fn a_broken_list_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exclude");
        std::fs::write(&path, "192.0.2.0/24\n").unwrap();
        let excluded = Excluded::read(std::slice::from_ref(&path), true, false).unwrap();
        let has = |text: &str| excluded.why(text.parse().ok(), None).is_some();
        std::fs::write(&path, "198.51.100.0/24\n192.0.2.1/24\n").unwrap();
        excluded.look();
        assert!(has("192.0.2.1"), "nobody asked");
        excluded.again.store(true, Relaxed);
        excluded.look();
        assert!(has("192.0.2.1") && !has("198.51.100.1"));
        // A pipe cannot be read again from its beginning.
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        excluded.again.store(true, Relaxed);
        excluded.look();
        assert!(has("192.0.2.1"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "198.51.100.0/24\n").unwrap();
        excluded.again.store(true, Relaxed);
        excluded.look();
        assert!(!has("192.0.2.1") && has("198.51.100.1"));
    }
}
