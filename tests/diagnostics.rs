//! What a person sees who made a mistake in a measurement file (or, `lab-*`, in a lab's; `campaign-*`, in a campaign's;
//! `agent-*`, in that of an agent's owner; `host-*` ask for what a made-up host cannot do): `tests/diagnostics/NAME.toml` has the mistake, `NAME.txt` what is said of it. `UPDATE_GOLDENS=1 cargo test --test diagnostics`
//! accepts what is said now.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow_schema::Fields;
use pathspider::error::{CODES, Error, Report};
use pathspider::fleet::campaign::Campaign;
use pathspider::fleet::policy::Policy;
use pathspider::lab::{Spec, unknown_labels};
use pathspider::measurement::{Plan, SHIPPED, is_about_place};
use pathspider::step::{Checked, Facts, Parameter, Problem};
use support::golden::Goldens;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

fn cases() -> Vec<(String, Result<(), Report>)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let result = if name.starts_with("lab-") {
                Spec::parse(&name, &text).map_err(report).and_then(|_| truth_of_ecn(&name, &text))
            } else if name.starts_with("campaign-") {
                Campaign::parse(&name, &text).map(drop).map_err(report)
            } else if name.starts_with("agent-") {
                Policy::parse(&name, &text).map(drop).map_err(report)
            } else {
                // Warnings do not keep a file from being used, but are reported in the same way.
                Plan::load(&name, &text, &Fields::empty()).and_then(|plan| {
                    let warnings = plan.warnings(&name);
                    match name.starts_with("host-") {
                        true => on_made_up_host(&name, &plan),
                        false if warnings.diagnostics.is_empty() => Ok(()),
                        false => Err(warnings),
                    }
                })
            };
            cases.push((name, result));
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() > 60, "only {} cases", cases.len());
    cases
}

/// What inspection finds; where it finds nothing, as if every step had been refused when it was tried.
fn on_made_up_host(name: &str, plan: &Plan) -> Result<(), Report> {
    let mut problems = plan.inspect(&MadeUp).problems;
    if problems.is_empty() {
        for (configuration, config) in plan.configs.iter().enumerate() {
            for (number, step) in config.steps.iter().enumerate() {
                let why = format!("{}: Invalid argument", step.describe());
                problems.push(Problem::refused((configuration, number), step, &why));
            }
        }
    }
    Err(plan.report(name, problems))
}

/// A host with a few parameters, one program, two congestion controls, and an nft that knows no `dcsp`.
struct MadeUp;

impl Facts for MadeUp {
    fn parameter(&self, name: &str) -> Parameter {
        let known = [
            ("net.ipv4.tcp_ecn", "2"),
            ("net.ipv4.tcp_window_scaling", "1"),
            ("net.ipv4.tcp_congestion_control", "cubic"),
            ("net.ipv4.conf.p0/100.forwarding", "0"),
        ];
        match known.into_iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Parameter::Is(value.into()),
            None if name == "net.ipv4.tcp_available_congestion_control" => Parameter::ReadOnly,
            None => Parameter::Missing(known.iter().map(|(name, _)| (*name).to_owned()).collect()),
        }
    }

    fn has_program(&self, program: &str) -> bool {
        program == "dish"
    }

    fn has_congestion(&self, name: &str) -> bool {
        self.congestion().split(' ').any(|known| known == name)
    }

    fn congestion(&self) -> String {
        "cubic reno".into()
    }

    fn nft(&self, script: &str) -> Checked {
        let bad = script.lines().enumerate().filter(|(_, line)| line.contains("dcsp"));
        let why = "syntax error, unexpected string";
        Checked::Complaints(bad.map(|(number, _)| (number, why.to_owned())).collect())
    }
}

/// The labels that a lab states about `ecn` and that it cannot give.
fn truth_of_ecn(name: &str, text: &str) -> Result<(), Report> {
    let (_, ecn) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
    let plan = Plan::load("ecn", ecn, &Fields::empty()).unwrap();
    let known: Vec<String> = plan.rules.iter().flat_map(|rule| rule.labels()).collect();
    let known = |label: &str| known.iter().any(|known| known == label);
    let diagnostics =
        unknown_labels(text, "ecn", known, |label| is_about_place(label, &plan.rules));
    match diagnostics.is_empty() {
        true => Ok(()),
        false => Err(Report::new(name, text, diagnostics)),
    }
}

fn report(error: Error) -> Report {
    match error {
        Error::File(report) => *report,
        other => panic!("{other}"),
    }
}

#[test]
fn every_mistake_is_reported_as_agreed() {
    let mut goldens = Goldens::default();
    for (name, result) in cases() {
        let said = match result {
            Ok(_) => "no mistake was found\n".to_owned(),
            Err(report) => report.render(false),
        };
        goldens.compare(&folder().join(&name).with_extension("txt"), &said);
    }
    goldens.end();
}

#[test]
fn every_code_has_a_case() {
    let reports = cases().into_iter().filter_map(|(_, result)| result.err());
    let seen: BTreeSet<_> = reports.flat_map(|report| report.diagnostics).map(|d| d.code).collect();
    let all: BTreeSet<_> = CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(seen, all);
}

/// A code that the program uses and the table lacks could not be looked up.
#[test]
fn every_code_is_in_the_table() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("\"E0").chain(text.match_indices("\"W0")) {
                let code = text.get(at + 1..at + 6).unwrap_or_default();
                let known = CODES.iter().any(|(known, _)| *known == code);
                assert!(known, "{}: {code} is not in the table", path.display());
            }
        }
    }
}

#[test]
fn every_shipped_measurement_is_right() {
    for (name, text) in SHIPPED {
        let plan =
            Plan::load(name, text, &Fields::empty()).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(plan.name, *name);
        assert!(!plan.description.is_empty());
        assert!(plan.rules.iter().next().is_some(), "{name} concludes nothing");
    }
}
