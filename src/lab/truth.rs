//! The truth about a host per measurement, combined from what a lab states for all hosts, for this one, and for one
//! family alone.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// The true labels per measurement: all of them, and no others.
pub type Truth = BTreeMap<String, Vec<String>>;

/// Labels of `all` whose conditions have no label in `own`, for measurements that `own` has.
pub(crate) fn unstated(own: &Truth, all: &Truth) -> Truth {
    let condition =
        |label: &str| label.rsplit_once(['.', ':']).map_or("", |(name, _)| name).to_owned();
    let of = |(measurement, labels): (&String, &Vec<String>)| {
        let stated: Vec<String> =
            own.get(measurement)?.iter().map(|label| condition(label)).collect();
        let late = labels.iter().filter(|label| !stated.contains(&condition(label)));
        Some((measurement.clone(), late.cloned().collect()))
    };
    all.iter().filter_map(of).collect()
}

/// What a run that locates labels adds to the truth of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing: the host has none of the labels.
    None,
    /// These labels about the place.
    At(Vec<String>),
    /// The lab does not state it. The labels about it begin with this.
    Unstated(String),
}

impl Place {
    /// What is added to these true labels of a host. `sought` are the labels that the run locates, each with the beginning of
    /// the labels about its place; the first one that a target has is located. `stated` is what the lab says about places.
    pub(crate) fn of(labels: &[String], stated: &[String], sought: &[(String, String)]) -> Self {
        let Some((_, subject)) = sought.iter().find(|(label, _)| labels.contains(label)) else {
            return Self::None;
        };
        let own = |label: &&String| is_about(label, subject);
        let own: Vec<String> = stated.iter().filter(own).cloned().collect();
        if own.is_empty() { Self::Unstated(subject.clone()) } else { Self::At(own) }
    }
}

/// Whether a label is about a place: those that begin with the subject and `hop`, `location` or `quote`.
pub(crate) fn is_about(label: &str, subject: &str) -> bool {
    let rest = label.strip_prefix(subject).and_then(|rest| rest.strip_prefix('.'));
    let condition = rest.map(|rest| rest.split(['.', ':']).next().unwrap_or_default());
    condition.is_some_and(|condition| ["hop", "location", "quote"].contains(&condition))
}

/// The statements in one place of a lab file: for all hosts, or for one.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Stated {
    /// For both families.
    #[serde(default)]
    pub(crate) truth: Spans,
    /// For IPv4 alone; overrides the statement for both.
    #[serde(default)]
    pub(crate) truth_v4: Spans,
    /// For IPv6 alone.
    #[serde(default)]
    pub(crate) truth_v6: Spans,
}

/// Truth as written in a file.
pub(crate) type Spans = BTreeMap<Spanned<String>, Spanned<Vec<String>>>;

impl Stated {
    /// A label that is repeated in one list, with the place of the list.
    pub(crate) fn twice(&self) -> Option<(std::ops::Range<usize>, String)> {
        let lists = [&self.truth, &self.truth_v4, &self.truth_v6].into_iter().flatten();
        lists.into_iter().find_map(|(_, list)| {
            let labels = list.get_ref();
            let twice = |(at, label): (usize, &String)| {
                labels[..at].contains(label).then(|| (list.span(), label.clone()))
            };
            labels.iter().enumerate().find_map(twice)
        })
    }

    /// The place of a statement about a measurement.
    pub(crate) fn place(&self, measurement: &str) -> Option<std::ops::Range<usize>> {
        [&self.truth, &self.truth_v4, &self.truth_v6]
            .into_iter()
            .flatten()
            .find_map(|(name, _)| (name.get_ref() == measurement).then(|| name.span()))
    }

    /// Overrides more general statements with these: once for IPv4 and once for IPv6.
    pub(crate) fn over(&self, (v4, v6): (&Truth, &Truth)) -> (Truth, Truth) {
        let lay = |below: &Truth, own: &Spans| {
            let mut truth = below.clone();
            for (measurement, labels) in self.truth.iter().chain(own) {
                truth.insert(measurement.get_ref().clone(), labels.get_ref().clone());
            }
            truth
        };
        (lay(v4, &self.truth_v4), lay(v6, &self.truth_v6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(text: &str) -> Stated {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn more_specific_statements_take_precedence() {
        let all = stated("truth = { a = ['a.x'], b = ['b.x'] }\ntruth_v6 = { b = [] }");
        let host = stated("truth = { b = ['b.y'] }\ntruth_v4 = { c = ['c.x'] }");
        let (v4, v6) = all.over((&Truth::new(), &Truth::new()));
        assert_eq!((&v4["b"][..], &v6["b"][..]), (&["b.x".to_owned()][..], &[][..]));
        let (v4, v6) = host.over((&v4, &v6));
        assert_eq!((&v4["a"][0][..], &v6["a"][0][..]), ("a.x", "a.x"));
        assert_eq!((&v4["b"][0][..], &v6["b"][0][..]), ("b.y", "b.y"));
        assert!(v4.contains_key("c") && !v6.contains_key("c"));
    }

    #[test]
    fn unstated_labels_belong_to_other_conditions() {
        let truth = |labels: &[&str]| {
            Truth::from([("a".to_owned(), labels.iter().map(|l| (*l).to_owned()).collect())])
        };
        let all = truth(&["a.x.works", "a.y.seen", "a.z:5"]);
        assert_eq!(unstated(&truth(&["a.x.offline"]), &all)["a"], ["a.y.seen", "a.z:5"]);
        assert_eq!(unstated(&truth(&["a.y.seen", "a.z:6"]), &all)["a"], ["a.x.works"]);
        assert!(unstated(&Truth::new(), &all).is_empty());
    }

    #[test]
    fn the_place_is_that_of_the_first_label_that_is_located() {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let sought = [("a.x.broken", "a"), ("b.c.x.broken", "b.c"), ("b.c.y.failed", "b.c")]
            .map(|(label, subject)| (label.to_owned(), subject.to_owned()));
        let stated = words(&["a.hop:3", "a.quote.full", "b.c.hop:2", "b.c.location.border"]);
        let of = |labels: &[&str]| Place::of(&words(labels), &stated, &sought);
        assert_eq!(of(&["a.x.works", "z.broken"]), Place::None);
        assert_eq!(of(&["a.x.broken", "b.c.x.broken"]), Place::At(stated[..2].to_vec()));
        assert_eq!(of(&["b.c.y.failed"]), Place::At(stated[2..].to_vec()));
        let none = Place::of(&words(&["b.c.y.failed"]), &stated[..2], &sought);
        assert_eq!(none, Place::Unstated("b.c".to_owned()));
        assert!(is_about("b.c.hop:2", "b.c") && is_about("b.c.hop.insufficient", "b.c"));
        assert!(!is_about("b.c.hop:2", "b") && !is_about("b.connectivity.works", "b"));
    }

    #[test]
    fn a_repeated_label_is_found() {
        assert_eq!(stated("truth_v6 = { a = ['x', 'y', 'x'] }").twice().unwrap().1, "x");
        assert!(stated("truth = { a = ['x'], b = ['x'] }").twice().is_none());
    }
}
