//! The labels that a lab file states, to compare them with those that measurements give.

use std::collections::BTreeSet;

use toml::Spanned;

use super::FileText;
use crate::error::Diagnostic;

/// The measurements about which a lab states something.
pub fn measured(text: &str) -> BTreeSet<String> {
    let names = statements(text).into_iter().flatten().map(|(name, _)| name.into_inner());
    names.collect()
}

/// The labels that a lab states about a measurement which cannot give them, each with its place. `known` are those that it
/// gives, `about_places` those of the places of its labels.
pub fn unknown_labels(
    text: &str,
    measurement: &str,
    known: impl Fn(&str) -> bool,
    about_places: impl Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    let mut unknown = Vec::new();
    let [truth, located] = statements(text);
    let truth = truth.iter().map(|stated| (stated, true));
    let stated = truth.chain(located.iter().map(|stated| (stated, false)));
    for ((_, labels), is_truth) in stated.filter(|((name, _), _)| name.get_ref() == measurement) {
        let is_known = |label: &str| if is_truth { known(label) } else { about_places(label) };
        for label in labels.get_ref().iter().filter(|label| !is_known(label)) {
            let within = text.get(labels.span()).unwrap_or_default();
            let span = within.find(label.as_str()).map_or(labels.span(), |at| {
                let start = labels.span().start + at;
                start..start + label.len()
            });
            unknown.push(Diagnostic {
                code: "E0903",
                span,
                message: format!("`{measurement}` has no label `{label}`"),
                label: String::new(),
                help: Some(match is_truth {
                    true => format!("`pathspider explain {measurement}` lists its labels"),
                    false => LOCATED.to_owned(),
                }),
            });
        }
    }
    unknown.sort_by_key(|diagnostic| diagnostic.span.start);
    unknown
}

/// How to write a label about a place.
const LOCATED: &str = "write ecn.hop:4, ecn.location.border or ecn.quote.full, where ecn is the beginning of a label of the measurement; `pathspider guide locate` lists the words";

/// Statements about measurements.
type Statements = Vec<(Spanned<String>, Spanned<Vec<String>>)>;

/// Every statement of a lab about a measurement, and those about the places of its labels; none if the text is not a lab.
fn statements(text: &str) -> [Statements; 2] {
    let Ok(file) = toml::from_str::<FileText>(text) else { return Default::default() };
    let truth = [file.truth, file.truth_v4, file.truth_v6];
    let located = [file.located, file.located_v4, file.located_v6];
    let mut stated =
        [truth, located].map(|of_all| of_all.into_iter().flatten().collect::<Vec<_>>());
    for host in file.host {
        let truth = [host.truth, host.truth_v4, host.truth_v6];
        let located = [host.located, host.located_v4, host.located_v6];
        for (all, own) in stated.iter_mut().zip([truth, located]) {
            all.extend(own.into_iter().flatten());
        }
    }
    stated
}
