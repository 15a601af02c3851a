//! What can be known of steps before any is applied: parameters and programs that are not there, rules that nft cannot
//! read, congestion controls that the kernel lacks.
//!
//! [`inspect`] changes nothing and sends nothing. What it needs to know of a host is behind [`Facts`], so that tests can
//! make one up. Whether the kernel takes a value can be told only by writing it, which is left to
//! [`rehearse`](super::rehearse).
//!
//! Behind a `command` step of a configuration nothing is known: the program may make what is missing.

use super::applied::Flows;
use super::lock::Run;
use super::netfilter::{Script, Table};
use super::slot::{Slot, mark};
use super::{Command, Route, Sockopt, Step, sockopt, sysctl};
use crate::error::did_you_mean;

/// A step that cannot work on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The number of its configuration.
    pub configuration: usize,
    /// Its number among the steps of that configuration.
    pub step: usize,
    /// The code of a diagnostic.
    pub code: &'static str,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// A step that the kernel, or the program that makes it, refused when it was tried.
    pub fn refused((configuration, number): (usize, usize), step: &Step, why: &str) -> Self {
        let (code, help) = match step {
            Step::Sysctl { .. } if why.contains("Read-only file system") => (
                "E0502",
                "/proc/sys is mounted read-only, as most containers have it: mount it writable (docker run \
                 --privileged), or use steps that need no sysctl, such as route",
            ),
            Step::Sysctl { .. } => ("E0502", "write a value that this kernel takes"),
            Step::Netfilter(_) => {
                ("E0505", "write one rule as nft(8) reads it, such as ip dscp set 46")
            }
            Step::Command(_) => ("E0503", "see what the program says"),
            Step::Route(_) | Step::Sockopt(_) | Step::HoldReset => {
                ("E0506", "change the step, or run it on a host whose kernel takes it")
            }
        };
        let message = format!("this host cannot do this step: {why}");
        Problem { configuration, step: number, code, message, help: Some(help.into()) }
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What cannot work, in order.
    pub problems: Vec<Problem>,
    /// What could not be looked at, in words.
    pub unchecked: Vec<String>,
}

/// What is known of a kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// It is this now.
    Is(String),
    /// It can be read only.
    ReadOnly,
    /// There is none; what there is beside it, as names that a measurement may have.
    Missing(Vec<String>),
    /// It cannot be looked at.
    Unknown,
}

/// What `nft` says of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// What it complains of: lines of the script, counted from 0, each with a complaint. None if all is well.
    Complaints(Vec<(usize, String)>),
    /// It could not be asked; the reason.
    Unchecked(String),
}

/// What inspection asks of a host.
pub trait Facts {
    /// A kernel parameter, by the name that a measurement has.
    fn parameter(&self, name: &str) -> Parameter;
    /// Whether a program can be started by this word.
    fn has_program(&self, program: &str) -> bool;
    /// Whether the kernel has a congestion control, or would load it.
    fn has_congestion(&self, name: &str) -> bool;
    /// The congestion controls that are loaded.
    fn congestion(&self) -> String;
    /// What nft says of a script that it is not to carry out.
    fn nft(&self, script: &str) -> Checked;
}

/// How many steps of each configuration can be judged before any is applied: those before a program runs that may
/// change what they depend on.
pub(super) fn known(configurations: &[&[Step]]) -> Vec<usize> {
    let mut changed = false;
    let judge = |steps: &&[Step]| {
        let command = steps.iter().position(|step| matches!(step, Step::Command(_)));
        let known = if changed { 0 } else { command.unwrap_or(steps.len()) };
        // What no program undoes is there for the configurations that follow.
        let lasts = |step: &Step| matches!(step, Step::Command(c) if c.undo.is_empty());
        changed |= steps.iter().any(lasts);
        known
    };
    configurations.iter().map(judge).collect()
}

/// Looks at the steps of all configurations.
pub fn inspect(configurations: &[&[Step]], facts: &dyn Facts) -> Inspection {
    let mut found = Inspection::default();
    let known = known(configurations);
    for (configuration, steps) in configurations.iter().enumerate() {
        for (number, step) in steps.iter().enumerate() {
            let at = (configuration, number);
            let wrong = match step {
                Step::Command(command) => missing_program(command, facts),
                _ if number >= known[configuration] => None,
                Step::Sysctl { name, value } => parameter(name, value, facts),
                Step::Sockopt(Sockopt::Named(row, sockopt::Value::Text(name)))
                    if row.name == "tcp_congestion" =>
                {
                    congestion(name, facts)
                }
                Step::Route(Route { congctl: Some(name), .. }) => congestion(name, facts),
                Step::Netfilter(_) | Step::Route(_) | Step::Sockopt(_) | Step::HoldReset => None,
            };
            found.problems.extend(wrong.map(|(code, message, help)| Problem {
                configuration: at.0,
                step: at.1,
                code,
                message,
                help,
            }));
        }
    }
    let judged: Vec<&[Step]> =
        configurations.iter().zip(&known).map(|(steps, known)| &steps[..*known]).collect();
    rules(&judged, facts, &mut found);
    found.problems.sort_by_key(|problem| (problem.configuration, problem.step));
    found
}

/// A code, what is wrong, and what to do.
type Wrong = (&'static str, String, Option<String>);

fn parameter(name: &str, value: &str, facts: &dyn Facts) -> Option<Wrong> {
    match facts.parameter(name) {
        Parameter::Missing(near) => {
            let message = format!("this kernel has no parameter `{name}`");
            let help = did_you_mean(name, near.iter().map(String::as_str));
            let list = || format!("there is {}", near.join(", "));
            let help = help.or_else(|| (1..=8).contains(&near.len()).then(list));
            let help = help.unwrap_or_else(|| "`sysctl -aN` lists those that there are".to_owned());
            Some(("E0501", message, Some(help)))
        }
        Parameter::ReadOnly => {
            let help = "it only reports; set the parameter that it reports on".to_owned();
            Some(("E0502", format!("the kernel parameter `{name}` can be read only"), Some(help)))
        }
        Parameter::Is(_) if sysctl::is_congestion(name) => congestion(value, facts),
        Parameter::Is(now) if is_numeric(&now) => {
            let word = value.split_whitespace().find(|word| is_word(word))?;
            let message = format!("the kernel parameter `{name}` takes numbers, not `{word}`");
            let help = match word.to_ascii_lowercase().as_str() {
                "on" | "yes" | "true" | "enable" | "enabled" => "write 1".to_owned(),
                "off" | "no" | "false" | "disable" | "disabled" | "none" => "write 0".to_owned(),
                _ => format!("it is {now} now"),
            };
            Some(("E0502", message, Some(help)))
        }
        Parameter::Is(_) | Parameter::Unknown => None,
    }
}

/// Whether a value is made of whole numbers.
fn is_numeric(value: &str) -> bool {
    let number = |word: &str| word.parse::<i128>().is_ok();
    !value.is_empty() && value.split_whitespace().all(number)
}

/// Whether a kernel can take this for no number: hexadecimal digits are used for masks, and lists have digits.
fn is_word(word: &str) -> bool {
    !word.bytes().any(|b| b.is_ascii_digit()) && !word.bytes().all(|b| b.is_ascii_hexdigit())
}

fn congestion(name: &str, facts: &dyn Facts) -> Option<Wrong> {
    if facts.has_congestion(name) {
        return None;
    }
    let message = format!("this kernel has no congestion control `{name}`");
    let help = match facts.congestion() {
        all if all.is_empty() => format!("load its module: modprobe tcp_{name}"),
        all => format!("write one that it has ({all}), or load its module: modprobe tcp_{name}"),
    };
    Some(("E0504", message, Some(help)))
}

fn missing_program(command: &Command, facts: &dyn Facts) -> Option<Wrong> {
    for words in [&command.run, &command.undo] {
        let Some(program) = words.first() else { continue };
        if facts.has_program(program) {
            continue;
        }
        let message = format!("there is no program `{program}` that can be started");
        let parts: Vec<String> =
            program.split_whitespace().map(|word| format!("{word:?}")).collect();
        let of_shell = program.contains(['&', '|', ';', '<', '>', '$', '*', '`', '~']);
        let help = match (parts.len() > 1, program.contains('/')) {
            (true, _) if of_shell => {
                format!("no shell reads it by itself: write [\"sh\", \"-c\", {program:?}]")
            }
            (true, _) => {
                format!("no shell reads it: write each word by itself, [{}]", parts.join(", "))
            }
            (false, true) => {
                "a relative path begins at the current folder; make the file executable".to_owned()
            }
            (false, false) => {
                "install it, or write where it is: a name is looked up in PATH".to_owned()
            }
        };
        return Some(("E0503", message, Some(help)));
    }
    None
}

/// Asks nft about the rules of all configurations.
fn rules(configurations: &[&[Step]], facts: &dyn Facts, found: &mut Inspection) {
    let rule = |step: &Step| matches!(step, Step::Netfilter(_));
    if !configurations.iter().copied().flatten().any(rule) {
        return;
    }
    let flows: Vec<Flows> =
        (0..configurations.len()).map(|number| Flows { mark: mark(number) }).collect();
    let all: Vec<(&[Step], &Flows)> = configurations.iter().copied().zip(&flows).collect();
    // No table has the name of a run that cannot be.
    let nobody = Run { pid: 0, started: 0, since: 0, measurement: String::new() };
    let script = Script::new(&all, Table::new(Slot::default(), &nobody));
    match facts.nft(&script.checked()) {
        Checked::Unchecked(why) => found.unchecked.push(format!("nftables rules: {why}")),
        Checked::Complaints(complaints) => {
            for (line, why) in complaints {
                let Some((configuration, step)) = script.origin(line) else {
                    found.unchecked.push(format!("nftables rules: {why}"));
                    continue;
                };
                // A rule for both versions of IP is two lines.
                if found.problems.iter().any(|p| (p.configuration, p.step) == (configuration, step))
                {
                    continue;
                }
                let help = "write one rule as nft(8) reads it, such as ip dscp set 46";
                found.problems.push(Problem {
                    configuration,
                    step,
                    code: "E0505",
                    message: format!("nft refuses this rule: {why}"),
                    help: Some(help.into()),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(undo: &[&str]) -> Step {
        let undo = undo.iter().map(|word| (*word).to_owned()).collect();
        Step::Command(Command { run: vec!["dish".into()], undo, ..Command::default() })
    }

    #[test]
    fn behind_a_program_nothing_is_known() {
        let plain = Step::Sysctl { name: "net.x".into(), value: "1".into() };
        let undone = [plain.clone(), command(&["west"]), plain.clone()];
        let lasting = [plain.clone(), plain.clone(), command(&[])];
        let none = [plain];
        assert_eq!(known(&[&none, &undone, &none]), [1, 1, 1]);
        assert_eq!(known(&[&lasting, &none, &[]]), [2, 0, 0]);
    }

    #[test]
    fn words_are_told_from_masks_and_lists() {
        for word in ["off", "on", "yes", "cubic"] {
            assert!(is_word(word), "{word}");
        }
        for value in ["0", "-1", "ff", "8080-8090", "1,2", "0x10"] {
            assert!(!is_word(value), "{value}");
        }
        assert!(is_numeric("4096\t131072") && !is_numeric("") && !is_numeric("cubic"));
    }
}
