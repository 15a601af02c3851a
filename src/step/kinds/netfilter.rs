//! The step `netfilter`: rules of nftables. It shares its table with `hold_reset`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use crate::step::rule::{HOOKS, Hook, fault, without_version};

use crate::error::{Error, Result};
use crate::step::facts::{Facts, Fault};
use crate::step::failure::Failure;
use crate::step::family::Family;
use crate::step::hold::{self, HoldReset};
use crate::step::kind::{
    self, Change, GroupFaults, Need, Privilege, Recovered, Revert, RevertDef, Scope, StepDef,
    StepKind, Together,
};
use crate::step::process::CommandOutput;
use crate::step::rule;
use crate::step::script::{Rule, Script, Table};
use crate::step::tool::{self, NFT};

/// The row of the registry.
pub(super) static DEF: StepDef = StepDef {
    name: "netfilter",
    scope: Scope::Packets,
    doc: "treat this configuration's packets by an nftables rule, in a table of the tool's own",
    undo: "the rule is removed; other tables are never touched",
    example: r#"{ netfilter = { rule = "dscp set 46", hook = "output" } }"#,
    privilege: Privilege::NetAdmin,
    group: Some("nftables"),
    revert: Some(&REVERT),
};

/// The row of the step that no file can have.
static HOLD: StepDef = StepDef {
    name: hold::KIND,
    scope: Scope::Packets,
    doc: hold::DOES,
    undo: "the rule is removed",
    example: "",
    privilege: Privilege::NetAdmin,
    group: Some("nftables"),
    revert: Some(&REVERT),
};

pub(super) static REVERT: RevertDef = RevertDef {
    kind: "netfilter",
    tag: "Netfilter",
    read: |data| Ok(Arc::new(serde_json::from_value::<Table>(data)?)),
};

/// What to write in place of a rule that nft rejects.
const HELP: &str = "write one rule as nft(8) reads it, such as ip dscp set 46";

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Netfilter {
    /// The rule as nft(8) reads it, without the match of the mark. Statements that set dscp, ecn, ttl or hoplimit without
    /// a family (`dscp set 46`) are for both IP versions; a rule that names one (`ip dscp set 46`) is for that one.
    pub rule: String,
    /// Where it applies.
    pub hook: Hook,
}

impl StepKind for Netfilter {
    fn def(&self) -> &'static StepDef {
        &DEF
    }

    fn describe(&self) -> String {
        format!(
            "treat this configuration's packets at the hook {} by the nftables rule: {}",
            self.hook.as_str(),
            self.rule
        )
    }

    fn describe_undo(&self) -> String {
        UNDO.into()
    }

    fn written(&self) -> String {
        format!("`{}`", self.rule)
    }

    fn needs(&self) -> Vec<Need> {
        vec![need()]
    }

    fn needs_mark(&self) -> bool {
        true
    }

    fn rules(&self) -> Vec<(Hook, String)> {
        vec![(self.hook, self.rule.trim().to_owned())]
    }

    fn only(&self) -> Option<Family> {
        rule::only(&self.rule)
    }

    fn check(&self, _: bool) -> Result<()> {
        NFT.find().map(drop)
    }

    fn inspect_group(&self, together: &Together<'_>, facts: &dyn Facts) -> GroupFaults {
        inspect_group(together, facts)
    }

    fn refused(&self, _: &str) -> (&'static str, &'static str) {
        ("E0505", HELP)
    }

    fn change(&self, together: &Together<'_>) -> Option<Box<dyn Change>> {
        Some(Box::new(script(together)))
    }
}

impl StepKind for HoldReset {
    fn def(&self) -> &'static StepDef {
        &HOLD
    }

    fn describe(&self) -> String {
        hold::DOES.into()
    }

    fn describe_undo(&self) -> String {
        UNDO.into()
    }

    fn needs(&self) -> Vec<Need> {
        vec![need()]
    }

    fn needs_mark(&self) -> bool {
        true
    }

    fn check(&self, _: bool) -> Result<()> {
        NFT.find().map(drop)
    }

    fn change(&self, together: &Together<'_>) -> Option<Box<dyn Change>> {
        Some(Box::new(script(together)))
    }
}

/// What nft says of all rules of a group.
pub(super) fn inspect_group(together: &Together<'_>, facts: &dyn Facts) -> GroupFaults {
    let script = script(together);
    let fault = |why: &str| Fault::new("E0505", format!("nft rejects this rule: {why}"), HELP);
    let checked = facts.nft(&script.checked());
    GroupFaults::of_complaints(checked, |line| script.origin(line), fault)
}

/// How either kind is undone.
const UNDO: &str = "remove the rule from the tool's own table";

pub(super) fn need() -> Need {
    Need { programs: true, ..Need::net_admin("to run nft, and to set the mark of packets") }
}

/// All rules of the configurations in force.
pub(super) fn script(together: &Together<'_>) -> Script {
    let rules = together.steps.iter().flat_map(|(place, step)| {
        step.rules().into_iter().map(move |(hook, rule)| (*place, hook, rule))
    });
    let rules: Vec<_> = rules.collect();
    let rules: Vec<Rule<'_>> =
        rules.iter().map(|(place, hook, text)| Rule { place: *place, hook: *hook, text }).collect();
    let holds: Vec<usize> = together.of::<HoldReset>().map(|((number, _), _)| number).collect();
    let table = Table::new(together.slot, together.run);
    Script::new(&together.flows, &rules, (&holds, hold::rule), table)
}

impl Change for Script {
    fn prepare(&mut self) -> Result<Option<Arc<dyn Revert>>> {
        Ok(Some(Arc::new(self.table().clone())))
    }

    fn make(&mut self) -> Result<Option<CommandOutput>, Failure> {
        self.load()?;
        Ok(None)
    }

    fn is_whole(&self, seen: &str) -> bool {
        self.is_complete(seen)
    }
}

impl Revert for Table {
    fn def(&self) -> &'static RevertDef {
        &REVERT
    }

    fn data(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn run(&self) -> Result<()> {
        match self.remove()? {
            true => Ok(()),
            false => Err(Error::Failed(format!(
                "delete the nftables table {}: it is gone; another program removed it while its rules \
                 should have been in force",
                self.name()
            ))),
        }
    }

    fn verify(&self) -> Result<Option<String>> {
        self.list().map(Some)
    }

    fn altered(&self, made: Option<&str>) -> Result<Option<String>> {
        kind::altered(self, made, || format!("the nftables table {}", self.name()))
    }

    fn recover(&self, _: bool) -> Result<Recovered> {
        let name = self.name();
        Ok(match self.remove()? {
            true => Recovered::Done(format!("the nftables table {name} is removed")),
            false => {
                Recovered::Nothing(format!("the nftables table {name} of that run does not exist"))
            }
        })
    }

    fn describe(&self) -> String {
        format!("delete the nftables table {}", self.name())
    }

    fn patience(&self) -> Duration {
        tool::PATIENCE
    }
}
