//! The step `sysctl`: kernel parameters through /proc/sys, where the names below `net.` are those of the network
//! namespace of the calling thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Doing as _, Error, Result, did_you_mean};
use crate::step::facts::{Facts, Fault, Parameter};
use crate::step::failure::Failure;
use crate::step::family::Family;
use crate::step::kind::{
    Change, Need, Privilege, Recovered, Revert, RevertDef, Scope, StepDef, StepKind, Together,
};
use crate::step::process::CommandOutput;

/// The row of the registry.
pub(super) static DEF: StepDef = StepDef {
    name: "sysctl",
    scope: Scope::Namespace,
    doc: "set kernel parameters of the network namespace, and read them back",
    undo: "the values from before are written back",
    example: r#"{ sysctl = { "net.ipv4.tcp_ecn" = 1 } }"#,
    privilege: Privilege::NetAdmin,
    group: None,
    revert: Some(&REVERT),
};

static REVERT: RevertDef = RevertDef {
    kind: "sysctl",
    tag: "Sysctl",
    read: |data| Ok(Arc::new(serde_json::from_value::<Setting>(data)?)),
};

/// A parameter that is set while the step is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Dotted name, `net.ipv4.tcp_ecn`.
    pub name: String,
    /// The value as text.
    pub value: String,
}

/// What the kernel has below net.ipv4 for both versions of IP.
const BOTH: [&str; 6] = [
    "tcp_",
    "udp_",
    "ip_local_port_range",
    "ip_local_reserved_ports",
    "ip_unprivileged_port_start",
    "ping_group_range",
];

/// Parameters that the kernel reads when a connection of this host sends its first packet, and never again for that
/// connection. The kernel repeats a SYN as it was, so this holds for retransmissions too. (Others, such as
/// `net.ipv4.tcp_timestamps`, are read again for each SYN and for the SYN-ACK.) `tests/steps.rs` checks each row.
pub const LATCHED: [&str; 1] = ["net.ipv4.tcp_ecn"];

impl StepKind for Sysctl {
    fn def(&self) -> &'static StepDef {
        &DEF
    }

    fn describe(&self) -> String {
        format!("set the kernel parameter {} to {}", self.name, self.value)
    }

    fn describe_undo(&self) -> String {
        format!("restore the value that {} had before", self.name)
    }

    fn written(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::net_admin("")]
    }

    fn only(&self) -> Option<Family> {
        let name = self.name.replace('/', ".");
        match name.strip_prefix("net.")?.split_once('.')? {
            ("ipv4", rest) if !BOTH.iter().any(|both| rest.starts_with(both)) => Some(Family::V4),
            ("ipv6", _) => Some(Family::V6),
            _ => None,
        }
    }

    fn is_latched(&self) -> bool {
        LATCHED.contains(&self.name.replace('/', ".").as_str())
    }

    fn inspect(&self, facts: &dyn Facts) -> Option<Fault> {
        let Self { name, value } = self;
        match facts.parameter(name) {
            Parameter::Missing(near) => {
                let message = format!("this kernel has no parameter `{name}`");
                let help = did_you_mean(name, near.iter().map(String::as_str));
                let list = || format!("there is {}", near.join(", "));
                let help = help.or_else(|| (1..=8).contains(&near.len()).then(list));
                let help = help.unwrap_or_else(|| "`sysctl -aN` lists them all".to_owned());
                Some(Fault::new("E0501", message, help))
            }
            Parameter::ReadOnly => {
                let message = format!("the kernel parameter `{name}` can only be read");
                let help = "it only reports; set the parameter that it reports on";
                Some(Fault::new("E0502", message, help))
            }
            Parameter::Is(_) if is_congestion(name) => Fault::of_congestion(value, facts),
            Parameter::Is(now) if is_numeric(&now) => {
                let word = value.split_whitespace().find(|word| is_word(word))?;
                let message = format!("the kernel parameter `{name}` takes numbers, not `{word}`");
                let help = match word.to_ascii_lowercase().as_str() {
                    "on" | "yes" | "true" | "enable" | "enabled" => "write 1".to_owned(),
                    "off" | "no" | "false" | "disable" | "disabled" | "none" => {
                        "write 0".to_owned()
                    }
                    _ => format!("it is {now} now"),
                };
                Some(Fault::new("E0502", message, help))
            }
            Parameter::Is(_) | Parameter::Unknown => None,
        }
    }

    fn refused(&self, why: &str) -> (&'static str, &'static str) {
        let help = match why.contains("Read-only file system") {
            true => {
                "/proc/sys is mounted read-only, as in most containers: mount it writable (docker run \
                 --privileged), or use steps that need no sysctl, such as route"
            }
            false => "write a value that this kernel takes",
        };
        ("E0502", help)
    }

    fn change(&self, _: &Together<'_>) -> Option<Box<dyn Change>> {
        Some(Box::new(Pending { step: self.clone(), setting: None }))
    }
}

/// Whether a value consists of whole numbers.
fn is_numeric(value: &str) -> bool {
    let number = |word: &str| word.parse::<i128>().is_ok();
    !value.is_empty() && value.split_whitespace().all(number)
}

/// Whether no kernel takes this for a number: masks have hexadecimal digits, and lists have digits.
fn is_word(word: &str) -> bool {
    !word.bytes().any(|b| b.is_ascii_digit()) && !word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A change that is about to be made; its setting is known once it is prepared.
struct Pending {
    step: Sysctl,
    setting: Option<Setting>,
}

impl Change for Pending {
    fn prepare(&mut self) -> Result<Option<Arc<dyn Revert>>> {
        let setting = Setting::read(&self.step.name, &self.step.value)?;
        self.setting = Some(setting.clone());
        Ok(Some(Arc::new(setting)))
    }

    fn make(&mut self) -> Result<Option<CommandOutput>, Failure> {
        self.setting.as_ref().map_or(Ok(()), Setting::change)?;
        Ok(None)
    }
}

/// Where the kernel shows its parameters.
const ROOT: &str = "/proc/sys";

/// A parameter, the value that it had, and the value that a run sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    name: String,
    before: String,
    value: String,
}

impl Setting {
    /// Reads the present value of a parameter that is to be set.
    pub fn read(name: &str, value: &str) -> Result<Self> {
        let before = read(&path(name)).doing(|| format!("read sysctl {name}"))?;
        Ok(Self { name: name.to_owned(), before, value: value.to_owned() })
    }

    /// Sets it, and reads it back.
    ///
    /// # Errors
    /// If the kernel rejects the value or replaces it with another one. It is not an error if another program writes a
    /// value in between: the write is repeated.
    fn change(&self) -> Result<(), Failure> {
        let Self { name, before, value } = self;
        let mut file = OpenParameter::open(name).map_err(Failure::Unchanged)?;
        let doing = || format!("set sysctl {name} to {value}");
        let Some(now) = set(&mut file, value).doing(doing).map_err(Failure::Unchanged)? else {
            log::info!("sysctl {name} = {value}");
            return Ok(());
        };
        // Later this value would look like one that another program set.
        set(&mut file, before).doing(|| format!("restore sysctl {name} to {before}"))?;
        let why = format!("set sysctl {name} to {value}: the kernel took {now}");
        Err(Failure::Unchanged(Error::Failed(why)))
    }

    /// Writes the old value; returns what the parameter reads as, if that is never the old value.
    fn restore(&self) -> Result<Option<String>> {
        let Self { name, before, .. } = self;
        let instead = set(&mut OpenParameter::open(name)?, before)
            .doing(|| format!("restore sysctl {name} to {before}"))?;
        if instead.is_none() {
            log::info!("sysctl {name} = {before}");
        }
        Ok(instead)
    }
}

impl Revert for Setting {
    fn def(&self) -> &'static RevertDef {
        &REVERT
    }

    fn data(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    /// Restores the old value.
    ///
    /// # Errors
    /// If that fails, or if the value is not the one that was set: another program changed it, so it was not in force all
    /// the time. That program's value is kept.
    fn run(&self) -> Result<()> {
        let Self { name, before, value } = self;
        let now = now(name)?;
        if !same(&now, value) {
            return Err(Error::Failed(format!(
                "restore sysctl {name}: it is {now}, not {value}, which should have been in force; another \
                 program changed it, so it is kept (it was {before} before)"
            )));
        }
        match self.restore()? {
            None => Ok(()),
            Some(now) => Err(Error::Failed(format!(
                "restore sysctl {name} to {before}: it is {now} afterwards; another program sets it"
            ))),
        }
    }

    fn altered(&self, _: Option<&str>) -> Result<Option<String>> {
        let Self { name, value, .. } = self;
        let now = now(name)?;
        Ok((!same(&now, value)).then(|| {
            format!(
                "sysctl {name}: another program set it to {now} while {value} was in force; its value is kept"
            )
        }))
    }

    fn recover(&self, force: bool) -> Result<Recovered> {
        let Self { name, before, value } = self;
        if !path(name).exists() {
            return Ok(Recovered::Nothing(format!("sysctl {name} is gone, and its value with it")));
        }
        let now = now(name)?;
        if same(&now, before) {
            return Ok(Recovered::Nothing(format!("sysctl {name} is {before}, as before the run")));
        }
        if !same(&now, value) && !force {
            return Ok(Recovered::Kept(format!(
                "sysctl {name} is {now}: another program changed it after the run set it to {value}; it was \
                 {before} before"
            )));
        }
        match self.restore()? {
            None => Ok(Recovered::Done(format!("sysctl {name} is {before} again, it was {now}"))),
            Some(now) => Ok(Recovered::Kept(format!(
                "sysctl {name} is {now}: another program sets it; it was {before} before"
            ))),
        }
    }

    fn describe(&self) -> String {
        let Self { name, before, value } = self;
        format!("restore sysctl {name} to {before}, the run set it to {value}")
    }
}

/// How often a value is written before the kernel is taken to be the reason that another one is read. Another program
/// would have to write between each write and the read that follows it.
const TRIES: usize = 100;

/// A value that can be written and read.
trait Knob {
    fn write(&mut self, value: &str) -> io::Result<()>;
    fn read(&mut self) -> io::Result<String>;
}

/// Writes a value until it is read back; returns what is read instead if that never happens.
fn set(knob: &mut impl Knob, value: &str) -> io::Result<Option<String>> {
    let mut now = String::new();
    for _ in 0..TRIES {
        knob.write(value)?;
        now = knob.read()?;
        if same(&now, value) {
            return Ok(None);
        }
    }
    Ok(Some(now))
}

/// The file of a parameter, open for reading and writing: so a read follows a write as soon as possible.
struct OpenParameter(File);

impl OpenParameter {
    fn open(name: &str) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path(name));
        let doing = || format!("open sysctl {name} for writing (needs CAP_NET_ADMIN)");
        file.map(Self).doing(doing)
    }
}

impl Knob for OpenParameter {
    fn write(&mut self, value: &str) -> io::Result<()> {
        // With a newline, so that an empty value is written too.
        self.0.write_all_at(format!("{value}\n").as_bytes(), 0)
    }

    fn read(&mut self) -> io::Result<String> {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read_at(&mut buffer, text.len() as u64)? {
                0 => return Ok(String::from_utf8_lossy(&text).trim().to_owned()),
                more => text.extend_from_slice(&buffer[..more]),
            }
        }
    }
}

fn now(name: &str) -> Result<String> {
    read(&path(name)).doing(|| format!("read back sysctl {name}"))
}

/// The file of a parameter, as sysctl(8) finds it: the first separator in the name decides whether dots or slashes
/// separate. If dots do, slashes stand for the dots in names of interfaces: `net.ipv4.conf.eth0/100.forwarding`.
pub(crate) fn path(name: &str) -> PathBuf {
    let dots = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('.'));
    let relative = if dots { exchanged(name) } else { name.to_owned() };
    Path::new(ROOT).join(relative.trim_start_matches('/'))
}

/// The value of a parameter in this thread's network namespace, if it can be read.
pub fn value(name: &str) -> Option<String> {
    read(&path(name)).ok()
}

/// The dotted name of the parameter in this file.
pub(crate) fn name(path: &Path) -> Option<String> {
    path.strip_prefix(ROOT).ok()?.to_str().map(exchanged)
}

/// Dots become slashes and slashes dots.
fn exchanged(name: &str) -> String {
    let exchange = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(exchange).collect()
}

/// Whether two names mean the same parameter.
pub fn is_same(a: &str, b: &str) -> bool {
    path(a) == path(b)
}

/// Whether a parameter is the congestion control of new connections.
fn is_congestion(name: &str) -> bool {
    is_same(name, "net.ipv4.tcp_congestion_control")
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// Values with several fields come back with tabs between them.
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        assert_eq!(path("net.ipv4.tcp_ecn"), PathBuf::from("/proc/sys/net/ipv4/tcp_ecn"));
        let vlan = PathBuf::from("/proc/sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), vlan);
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), vlan);
        assert_eq!(name(&vlan).as_deref(), Some("net.ipv4.conf.eth0/1.forwarding"));
        assert!(is_same("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"));
        assert!(!is_same("net.ipv4.conf.eth0.1.forwarding", "net/ipv4/conf/eth0.1/forwarding"));
    }

    /// A parameter that another program overwrites after some writes, or whose kernel limits the value.
    struct Fake {
        value: String,
        overwritten: usize,
        most: u32,
        writes: usize,
    }

    impl Knob for Fake {
        fn write(&mut self, value: &str) -> io::Result<()> {
            self.writes += 1;
            let number: u32 = value.parse().map_err(io::Error::other)?;
            self.value = number.min(self.most).to_string();
            Ok(())
        }

        fn read(&mut self) -> io::Result<String> {
            if self.writes <= self.overwritten {
                self.value = "0".into();
            }
            Ok(self.value.clone())
        }
    }

    #[test]
    fn a_write_by_another_program_is_not_a_rejection_by_the_kernel() {
        for (overwritten, most, expected) in [
            (0, 9, (None, 1)),
            (1, 9, (None, 2)),
            (TRIES - 1, 9, (None, TRIES)),
            (0, 3, (Some("3"), TRIES)),
            (5, 3, (Some("3"), TRIES)),
        ] {
            let mut fake = Fake { value: String::new(), overwritten, most, writes: 0 };
            let instead = set(&mut fake, "7").unwrap();
            assert_eq!((instead.as_deref(), fake.writes), expected, "{overwritten} {most}");
        }
    }

    #[test]
    fn words_differ_from_masks_and_lists() {
        for word in ["off", "on", "yes", "cubic"] {
            assert!(is_word(word), "{word}");
        }
        for value in ["0", "-1", "ff", "8080-8090", "1,2", "0x10"] {
            assert!(!is_word(value), "{value}");
        }
        assert!(is_numeric("4096\t131072") && !is_numeric("") && !is_numeric("cubic"));
    }

    #[test]
    fn values_are_compared_by_fields() {
        assert!(same("4096\t131072\t6291456", "4096 131072 6291456"));
        assert!(!same("1", "2"));
    }

    #[test]
    fn an_error_names_the_missing_parameter() {
        let error = Setting::read("net.ipv4.tcp_no_such", "1").unwrap_err().to_string();
        assert!(error.starts_with("read sysctl net.ipv4.tcp_no_such: "), "{error}");
    }
}
