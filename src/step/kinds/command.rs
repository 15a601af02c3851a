//! The step `command`: programs that change something outside this host.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result, Setting};
use crate::step::facts::{Facts, Fault};
use crate::step::failure::Failure;
use crate::step::kind::{
    Change, Need, Privilege, Recovered, Revert, RevertDef, Scope, StepDef, StepKind, Together,
};
use crate::step::process::{self, CommandOutput, line};

/// The row of the registry.
pub(super) static DEF: StepDef = StepDef {
    name: "command",
    scope: Scope::World,
    doc: "run a program, and another one to undo what it did; only with the user's permission",
    undo: "the program after `undo` is run",
    example: r#"{ command = { run = ["dish", "east"], undo = ["dish", "west"] } }"#,
    privilege: Privilege::AllowCommands,
    group: None,
    revert: Some(&REVERT),
};

static REVERT: RevertDef = RevertDef {
    kind: "command",
    tag: "Command",
    read: |data| Ok(Arc::new(serde_json::from_value::<Undo>(data)?)),
};

/// How long a program may take if the file does not say.
pub const DEFAULT_TIMEOUT: &str = "30s";

/// A program to run, and how to undo it. Words are passed as they are: no shell reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// The program that undoes it, with arguments; empty if nothing does.
    pub undo: Vec<String>,
    /// How long each may take.
    pub timeout: Duration,
}

impl StepKind for Command {
    fn def(&self) -> &'static StepDef {
        &DEF
    }

    fn describe(&self) -> String {
        format!("run the program {}, for at most {:?}", line(&self.run), self.timeout)
    }

    fn describe_undo(&self) -> String {
        match self.undo.is_empty() {
            true => "nothing: the file names no program that undoes it".into(),
            false => format!("run the program {}", line(&self.undo)),
        }
    }

    fn needs(&self) -> Vec<Need> {
        let allowed = Need {
            privilege: Privilege::AllowCommands,
            why: String::new(),
            required: true,
            programs: false,
        };
        let why = "what the programs need is not known; they get no other capability";
        let passed_on = Need { required: false, programs: true, ..Need::net_admin(why) };
        vec![allowed, passed_on]
    }

    fn is_opaque(&self) -> bool {
        true
    }

    fn lasts(&self) -> bool {
        self.undo.is_empty()
    }

    fn check(&self, allow_commands: bool) -> Result<()> {
        match allow_commands {
            true => Ok(()),
            false => Err(Error::NeedsSetting {
                operation: self.describe(),
                setting: Setting::AllowCommands,
            }),
        }
    }

    fn inspect(&self, facts: &dyn Facts) -> Option<Fault> {
        [&self.run, &self.undo].into_iter().find_map(|words| missing(words.first()?, facts))
    }

    fn refused(&self, _: &str) -> (&'static str, &'static str) {
        ("E0503", "see what the program printed")
    }

    fn change(&self, _: &Together<'_>) -> Option<Box<dyn Change>> {
        Some(Box::new(self.clone()))
    }
}

/// Why a word cannot start a program, if it cannot.
fn missing(program: &str, facts: &dyn Facts) -> Option<Fault> {
    if facts.has_program(program) {
        return None;
    }
    let message = format!("there is no executable program `{program}`");
    let help = match program.contains('/') {
        true => {
            "a relative path begins at the folder of the measurement file; make the file executable"
        }
        false => {
            "install it, or write its path (./NAME next to the measurement file): a name is looked up in PATH"
        }
    };
    Some(Fault::new("E0503", message, help.to_owned()))
}

impl Change for Command {
    fn prepare(&mut self) -> Result<Option<Arc<dyn Revert>>> {
        let Self { undo, timeout, .. } = self;
        let revert =
            || -> Arc<dyn Revert> { Arc::new(Undo { run: undo.clone(), timeout: *timeout }) };
        Ok((!undo.is_empty()).then(revert))
    }

    fn make(&mut self) -> Result<Option<CommandOutput>, Failure> {
        process::run(&self.run, self.timeout).map(Some)
    }
}

/// The program that undoes what another one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Undo {
    /// The program and its arguments.
    run: Vec<String>,
    /// How long it may take.
    timeout: Duration,
}

impl Revert for Undo {
    fn def(&self) -> &'static RevertDef {
        &REVERT
    }

    fn data(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn run(&self) -> Result<()> {
        let done = process::run(&self.run, self.timeout).map_err(Failure::into_error);
        done.map(drop).map_err(|why| Error::failed("undo a command", why))
    }

    fn altered(&self, _: Option<&str>) -> Result<Option<String>> {
        Ok(None)
    }

    fn recover(&self, _: bool) -> Result<Recovered> {
        Revert::run(self)?;
        Ok(Recovered::Done(format!("the program {} was run", line(&self.run))))
    }

    fn describe(&self) -> String {
        format!("run the program {}", line(&self.run))
    }

    fn patience(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_separate() {
        let run = vec!["dish".into(), "--to".into(), "far east".into()];
        let command = Command { run, undo: Vec::new(), timeout: Duration::from_secs(30) };
        assert_eq!(command.describe(), "run the program dish --to \"far east\", for at most 30s");
    }
}
