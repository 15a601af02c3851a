//! What inspection must know about a host, and what it finds wrong.

/// What is known of a kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// Its current value.
    Is(String),
    /// It can only be read.
    ReadOnly,
    /// It does not exist; the parameters next to it, by names that a measurement may use.
    Missing(Vec<String>),
    /// It cannot be read.
    Unknown,
}

/// What `nft` says about a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Its complaints, each with a line of the script, counted from 0. Empty if the script is valid.
    Complaints(Vec<(usize, String)>),
    /// The script could not be checked; the reason.
    Unchecked(String),
}

/// What inspection asks about a host.
pub trait Facts {
    /// A kernel parameter, by the name in the measurement.
    fn parameter(&self, name: &str) -> Parameter;
    /// Whether this word starts a program.
    fn has_program(&self, program: &str) -> bool;
    /// Whether the kernel has a congestion control, or would load it.
    fn has_congestion(&self, name: &str) -> bool;
    /// The loaded congestion controls.
    fn congestion(&self) -> String;
    /// Has nft check a script without running it.
    fn nft(&self, script: &str) -> Checked;
}

/// Why a step cannot work on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The code of a diagnostic.
    pub code: &'static str,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    /// A fault with advice.
    pub fn new(code: &'static str, message: String, help: impl Into<String>) -> Self {
        Self { code, message, help: Some(help.into()) }
    }

    /// The kernel lacks a congestion control.
    pub fn of_congestion(name: &str, facts: &dyn Facts) -> Option<Self> {
        if facts.has_congestion(name) {
            return None;
        }
        let message = format!("this kernel has no congestion control `{name}`");
        let help = match facts.congestion() {
            all if all.is_empty() => format!("load its module: modprobe tcp_{name}"),
            all => {
                format!("write one that it has ({all}), or load its module: modprobe tcp_{name}")
            }
        };
        Some(Self::new("E0504", message, help))
    }
}
