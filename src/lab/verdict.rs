//! Compares measured conditions with the truth: one row per kind of host.

use std::collections::BTreeMap;

use anstyle::Style;
use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use textwrap::core::{Word, display_width};
use textwrap::wrap_algorithms::wrap_first_fit;

use crate::lab::truth::{Place, Truth, is_about};
use crate::lab::{Host, Situation};

/// The narrowest that a column of conditions gets.
const NARROWEST: usize = 22;
/// The gap between columns.
const GAP: usize = 2;

/// Collects the conditions of each record of a lab run.
#[derive(Debug, Clone)]
pub struct Tally {
    measurement: String,
    rows: Vec<Row>,
    situation: Option<&'static Situation>,
}

/// The measured and the true conditions of one kind of host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The kind of host.
    pub name: String,
    /// What it does, in one sentence.
    pub title: String,
    /// The records of its IPv4 addresses.
    pub v4: Seen,
    /// The records of its IPv6 addresses.
    pub v6: Seen,
}

/// The records of the addresses of one kind of host and one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// All true conditions; `None` if the lab states none for this measurement.
    pub truth: Option<Vec<String>>,
    /// Further true conditions, of packets that may come too late to be seen.
    pub late: Vec<String>,
    /// In a run that locates labels: what the labels about a place begin with that the lab does not state. They are not
    /// compared.
    pub unstated: Option<String>,
    /// Number of records that should exist.
    pub expected: usize,
    /// Number of records that exist.
    pub records: usize,
    /// Number of records that have exactly the true conditions.
    pub agreed: usize,
    /// In a situation of the prober: number of records that lack true conditions, but have no wrong one.
    pub incomplete: usize,
    /// In a situation of the prober: true conditions that are missing, over all records.
    pub absent: usize,
    /// Every other set of conditions, with the number of its records; includes those of incomplete records.
    pub differing: BTreeMap<Vec<String>, usize>,
}

impl Seen {
    /// Number of records that are missing.
    pub fn missing(&self) -> usize {
        self.expected.saturating_sub(self.records)
    }

    /// Whether each address has one record with the truth, or, in a situation of the prober, nothing but the truth.
    /// If no truth is stated, the records only have to exist.
    pub fn agrees(&self) -> bool {
        let not_wrong = self.agreed + self.incomplete;
        self.records == self.expected && (self.truth.is_none() || not_wrong == self.records)
    }

    /// Number of records with this set of conditions.
    fn count(&self, set: &[String]) -> usize {
        match &self.truth {
            Some(truth) if truth == set => self.agreed,
            _ => self.differing.get(set).copied().unwrap_or(0),
        }
    }
}

impl Row {
    /// Whether all its records exist and have the truth, as far as one is stated.
    pub fn agrees(&self) -> bool {
        self.v4.agrees() && self.v6.agrees()
    }

    /// Whether the lab states its truth, at least for one family.
    pub fn is_known(&self) -> bool {
        self.v4.truth.is_some() || self.v6.truth.is_some()
    }

    /// The true conditions to print: each set with a note of its family (empty for both).
    fn truth(&self) -> Vec<Part> {
        let part = |note: &str, truth: &Option<Vec<String>>| match truth {
            Some(truth) => (note.to_owned(), truth.clone()),
            // A note without a colon stands alone.
            None => (format!("{note} not stated").trim().to_owned(), Vec::new()),
        };
        if self.v4.truth == self.v6.truth {
            return vec![part("", &self.v4.truth)];
        }
        vec![part("IPv4:", &self.v4.truth), part("IPv6:", &self.v6.truth)]
    }

    /// Number of its records, of both families.
    pub fn records(&self) -> usize {
        self.v4.records + self.v6.records
    }

    /// Number of its records with the truth.
    pub fn agreed(&self) -> usize {
        self.v4.agreed + self.v6.agreed
    }

    /// Number of records that should exist, for the families whose truth is stated, if any is.
    fn compared(&self) -> usize {
        let counts = |seen: &&Seen| seen.truth.is_some() || !self.is_known();
        [&self.v4, &self.v6].into_iter().filter(counts).map(|seen| seen.expected).sum()
    }

    /// True conditions that are missing from its records without being an error.
    pub fn absent(&self) -> usize {
        self.v4.absent + self.v6.absent
    }

    /// Number of records that it lacks.
    pub fn missing(&self) -> usize {
        self.v4.missing() + self.v6.missing()
    }

    /// The measured conditions to print: each set with a note of its records (empty for all records).
    fn measured(&self) -> Vec<(String, Vec<String>)> {
        let mut sets: Vec<(Vec<String>, usize, usize)> = Vec::new();
        let true_sets = [&self.v4, &self.v6].into_iter().filter(|seen| seen.agreed > 0);
        for set in true_sets
            .flat_map(|seen| &seen.truth)
            .chain(self.v4.differing.keys())
            .chain(self.v6.differing.keys())
        {
            if !sets.iter().any(|(known, ..)| known == set) {
                sets.push((set.clone(), self.v4.count(set), self.v6.count(set)));
            }
        }
        let whole = sets.len() == 1 && self.records() == self.v4.expected + self.v6.expected;
        let mut measured: Vec<_> = sets
            .into_iter()
            .map(|(set, v4, v6)| {
                let note = match (v4, v6) {
                    _ if whole => String::new(),
                    (v4, 0) => format!("IPv4 {v4}x:"),
                    (0, v6) => format!("IPv6 {v6}x:"),
                    (v4, v6) => format!("IPv4 {v4}x, IPv6 {v6}x:"),
                };
                (note, set)
            })
            .collect();
        match (self.v4.missing(), self.v6.missing()) {
            (0, 0) => {}
            (v4, 0) => measured.push((format!("IPv4 {v4}x: no record"), Vec::new())),
            (0, v6) => measured.push((format!("IPv6 {v6}x: no record"), Vec::new())),
            (v4, v6) => {
                measured.push((format!("IPv4 {v4}x, IPv6 {v6}x: no record"), Vec::new()));
            }
        }
        measured
    }
}

/// Colours of the table; none by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Styles {
    /// The line above the columns.
    pub heading: Style,
    /// A row that agrees.
    pub good: Style,
    /// A row that does not.
    pub bad: Style,
}

impl Tally {
    /// An empty tally for the hosts of a lab and the truth about a measurement.
    pub fn new(hosts: &[Host], measurement: &str) -> Self {
        let rows = hosts
            .iter()
            .map(|host| {
                let seen = |truth: &Truth, late: &Truth| Seen {
                    truth: truth.get(measurement).cloned(),
                    late: late.get(measurement).cloned().unwrap_or_default(),
                    expected: host.count,
                    ..Seen::default()
                };
                Row {
                    name: host.name.clone(),
                    title: host.title.clone(),
                    v4: seen(&host.truth_v4, &host.late_v4),
                    v6: seen(&host.truth_v6, &host.late_v6),
                }
            })
            .collect();
        Tally { measurement: measurement.to_owned(), rows, situation: None }
    }

    /// For a prober in a situation: a condition may be absent there, but not wrong.
    #[must_use]
    pub fn in_situation(mut self, situation: Option<&'static Situation>) -> Self {
        self.situation = situation;
        self
    }

    /// For a run that locates labels: the truth of each host that has one of these gets the labels about its place. Each comes
    /// with the beginning of those labels; of several the first one counts. `hosts` are those of [`Tally::new`].
    #[must_use]
    pub fn locating(mut self, hosts: &[Host], sought: &[(String, String)]) -> Self {
        for (row, host) in self.rows.iter_mut().zip(hosts) {
            let families = [(&mut row.v4, &host.located_v4), (&mut row.v6, &host.located_v6)];
            for (seen, located) in families {
                let Some(truth) = &mut seen.truth else { continue };
                let stated = located.get(&self.measurement).map(Vec::as_slice).unwrap_or_default();
                match Place::of(truth, stated, sought) {
                    Place::None => {}
                    Place::At(labels) => truth.extend(labels),
                    Place::Unstated(subject) => seen.unstated = Some(subject),
                }
            }
        }
        self
    }

    /// True conditions that are missing without being an error.
    pub fn absent(&self) -> usize {
        self.rows.iter().map(Row::absent).sum()
    }

    /// The situation of the prober.
    pub fn situation(&self) -> Option<&'static Situation> {
        self.situation
    }

    /// Counts one record: the index of its kind of host (see [`LabTarget::host`](crate::lab::LabTarget::host); others
    /// are ignored), its family, and its conditions in any order.
    pub fn add<S: AsRef<str>>(&mut self, host: usize, is_v6: bool, conditions: &[S]) {
        let Some(row) = self.rows.get_mut(host) else { return };
        let seen = if is_v6 { &mut row.v6 } else { &mut row.v4 };
        seen.records += 1;
        let mut conditions: Vec<String> =
            conditions.iter().map(|c| c.as_ref().to_owned()).collect();
        if let Some(subject) = &seen.unstated {
            conditions.retain(|label| !is_about(label, subject));
        }
        let sorted = |labels: &[String]| {
            let mut labels = labels.to_vec();
            labels.sort_unstable();
            labels
        };
        if seen.truth.as_ref().is_some_and(|truth| sorted(truth) == sorted(&conditions)) {
            seen.agreed += 1;
            return;
        }
        if let (Some(situation), Some(truth)) = (self.situation, &seen.truth) {
            let right = |label: &String| {
                truth.contains(label)
                    || seen.late.contains(label)
                    || situation.concludes_nothing(label)
            };
            if conditions.iter().all(right) {
                seen.incomplete += 1;
                seen.absent += truth.iter().filter(|label| !conditions.contains(label)).count();
            }
        }
        *seen.differing.entry(conditions).or_default() += 1;
    }

    /// Expects one record less of a kind of host and family: one that is not compared.
    pub fn leave_out(&mut self, host: usize, is_v6: bool) {
        let Some(row) = self.rows.get_mut(host) else { return };
        let seen = if is_v6 { &mut row.v6 } else { &mut row.v4 };
        seen.expected = seen.expected.saturating_sub(1);
    }

    /// One row per kind of host, in the lab's order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether every row agrees, and at least one truth was stated.
    pub fn agrees(&self) -> bool {
        self.rows.iter().all(Row::agrees) && self.rows.iter().any(Row::is_known)
    }

    /// The rows as a table that is at most `width` columns wide, if that is possible at all.
    pub fn table(&self, width: usize, styles: &Styles) -> String {
        let prefix = format!("{}.", self.measurement);
        let plain = |labels: &[String]| -> Vec<String> {
            labels.iter().map(|label| label.strip_prefix(&prefix).unwrap_or(label).into()).collect()
        };
        let cells: Vec<Cells> = self
            .rows
            .iter()
            .map(|row| Cells {
                name: row.name.clone(),
                measured: row
                    .measured()
                    .into_iter()
                    .map(|(note, set)| (note, plain(&set)))
                    .collect(),
                truth: row.truth().into_iter().map(|(note, set)| (note, plain(&set))).collect(),
                agree: match (row.is_known(), row.agrees()) {
                    (true, true) if row.absent() > 0 => {
                        format!("yes {}/{}, {} absent", row.agreed(), row.compared(), row.absent())
                    }
                    (true, true) => format!("yes {}/{}", row.agreed(), row.compared()),
                    (false, true) => "-".to_owned(),
                    _ => format!("NO {}/{}", row.agreed(), row.compared()),
                },
                good: row.agrees(),
            })
            .collect();
        let widest = |head: &str, cell: fn(&Cells) -> &String| {
            cells.iter().map(|cells| display_width(cell(cells))).fold(head.len(), usize::max)
        };
        let taken = widest("host", |c| &c.name) + widest("agree", |c| &c.agree) + 3 * GAP;
        let room = (width.saturating_sub(taken) / 2).max(NARROWEST);

        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.add_row(["host", "measured", "truth", "agree"]);
        // One style per line.
        let mut line_styles = vec![styles.heading];
        for cells in &cells {
            let (measured, truth) = (wrap(&cells.measured, room), wrap(&cells.truth, room));
            let lines = measured.len().max(truth.len()).max(1);
            let style = if cells.good { styles.good } else { styles.bad };
            line_styles.extend(std::iter::repeat_n(style, lines));
            table.add_row([&cells.name, &measured.join("\n"), &truth.join("\n"), &cells.agree]);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP as u16));
            if let 1 | 2 = index {
                let least = Width::Fixed((NARROWEST + GAP) as u16);
                column.set_constraint(ColumnConstraint::LowerBoundary(least));
            }
        }
        let text = table.trim_fmt();
        let lines = text.lines().zip(line_styles);
        lines.map(|(line, style)| format!("{style}{line}{style:#}\n")).collect()
    }
}

/// A note and the conditions that it is about.
type Part = (String, Vec<String>);

struct Cells {
    name: String,
    measured: Vec<Part>,
    truth: Vec<Part>,
    agree: String,
    good: bool,
}

/// The lines of a cell: each part begins a new one, and no condition is broken.
fn wrap(parts: &[Part], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (note, labels) in parts {
        let words: Vec<&str> = match (note.is_empty(), labels.is_empty()) {
            (true, true) => vec!["none"],
            (false, true) if note.ends_with(':') => vec![note, "none"],
            (_, _) => {
                let note = (!note.is_empty()).then_some(note);
                note.into_iter().chain(labels).map(String::as_str).collect()
            }
        };
        // Unlike the words of a text, notes contain spaces.
        let words: Vec<String> = words.iter().map(|word| format!("{word} ")).collect();
        let words: Vec<Word> = words.iter().map(|word| Word::from(word)).collect();
        let wrapped = wrap_first_fit(&words, &[width as f64]);
        lines.extend(
            wrapped
                .iter()
                .map(|line| line.iter().map(|word| word.word).collect::<Vec<_>>().join(" ")),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, truth: &[&str]) -> Host {
        let truth: Vec<String> = truth.iter().map(|label| (*label).to_owned()).collect();
        let truth_v6 = truth.clone();
        Host {
            name: name.to_owned(),
            title: String::new(),
            count: 2,
            prefix_v4: String::new(),
            prefix_v6: String::new(),
            truth_v4: BTreeMap::from([("ecn".to_owned(), truth)]),
            truth_v6: BTreeMap::from([("ecn".to_owned(), truth_v6)]),
            located_v4: Truth::new(),
            located_v6: Truth::new(),
            late_v4: Truth::new(),
            late_v6: Truth::from([("ecn".to_owned(), vec!["ecn.late.seen".to_owned()])]),
        }
    }

    fn add_all(tally: &mut Tally, host: usize, conditions: &[&str]) {
        for is_v6 in [false, false, true, true] {
            tally.add(host, is_v6, conditions);
        }
    }

    #[test]
    fn the_order_of_conditions_does_not_matter() {
        let hosts = [host("a", &["ecn.x", "ecn.y"]), host("b", &[])];
        let mut tally = Tally::new(&hosts, "ecn");
        assert!(!tally.agrees(), "there is no record yet");
        add_all(&mut tally, 0, &["ecn.y", "ecn.x"]);
        add_all(&mut tally, 1, &[]);
        tally.add(2, false, &["ecn.x"]);
        assert!(tally.agrees());
        assert_eq!((tally.rows()[0].records(), tally.rows()[0].agreed()), (4, 4));
        let expected = "\
host  measured                truth                   agree
a     x y                     x y                     yes 4/4
b     none                    none                    yes 4/4
";
        assert_eq!(tally.table(80, &Styles::default()), expected);
    }

    #[test]
    fn differing_conditions_are_shown_with_their_records() {
        let mut tally = Tally::new(&[host("a", &["ecn.x"])], "ecn");
        tally.add(0, false, &["ecn.x"]);
        tally.add(0, false, &["ecn.z"]);
        tally.add(0, true, &["ecn.z"]);
        assert!(!tally.agrees());
        let row = &tally.rows()[0];
        assert_eq!((row.v4.agreed, row.v6.agreed, row.missing()), (1, 0, 1));
        let expected = "\
host  measured                truth                   agree
a     IPv4 1x: x              x                       NO 1/4
      IPv4 1x, IPv6 1x: z
      IPv6 1x: no record
";
        assert_eq!(tally.table(80, &Styles::default()), expected);
    }

    #[test]
    fn in_a_situation_of_the_prober_a_label_may_be_absent_but_not_wrong() {
        let hosts = [host("a", &["ecn.x.works", "ecn.y.seen"])];
        let tally = |situation: &str, first: &[&str]| {
            let situation = crate::lab::prober::find(situation);
            let mut tally = Tally::new(&hosts, "ecn").in_situation(situation);
            tally.add(0, false, first);
            for is_v6 in [false, true, true] {
                tally.add(0, is_v6, &["ecn.y.seen", "ecn.x.works"]);
            }
            (tally.agrees(), tally.absent())
        };
        assert_eq!(tally("host-firewall-ece", &["ecn.x.works"]), (true, 1));
        assert_eq!(tally("host-firewall-ece", &["ecn.x.works", "ecn.y.insufficient"]), (true, 1));
        assert_eq!(tally("host-firewall-ece", &[]), (true, 2));
        assert_eq!(tally("host-firewall-ece", &["ecn.x.works", "ecn.y.not_seen"]), (false, 0));
        assert_eq!(tally("host-firewall-ece", &["ecn.x.intermittent"]), (false, 0));
        assert_eq!(tally("half-ports-low", &["ecn.x.intermittent"]), (true, 2));
        assert_eq!(tally("no such", &["ecn.x.works"]), (false, 0));
        for (is_v6, agrees) in [(false, false), (true, true)] {
            let starved = crate::lab::prober::find("starved");
            let mut tally = Tally::new(&hosts, "ecn").in_situation(starved);
            for other in [is_v6, !is_v6, !is_v6] {
                tally.add(0, other, &["ecn.y.seen", "ecn.x.works"]);
            }
            tally.add(0, is_v6, &["ecn.y.seen", "ecn.x.works", "ecn.late.seen"]);
            assert_eq!(tally.agrees(), agrees);
        }
        let mut tally = Tally::new(&hosts, "ecn").in_situation(crate::lab::prober::find("nat"));
        add_all(&mut tally, 0, &["ecn.x.works"]);
        let expected = "\
host  measured                truth                   agree
a     x.works                 x.works y.seen          yes 0/4, 4 absent
";
        assert_eq!(tally.table(80, &Styles::default()), expected);
    }

    #[test]
    fn places_are_compared_where_the_lab_states_them() {
        let places = |labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Truth::from([("ecn".to_owned(), labels)])
        };
        let mut known = host("known", &["ecn.connectivity.broken"]);
        known.located_v4 = places(&["ecn.hop:2", "ecn.quote.full"]);
        known.located_v6 = places(&["ecn.hop:3", "ecn.quote.full"]);
        let unstated = host("unstated", &["ecn.connectivity.broken"]);
        let mut clean = host("clean", &["ecn.connectivity.works"]);
        clean.located_v4 = known.located_v4.clone();
        let hosts = [known, unstated, clean];
        let sought = [("ecn.connectivity.broken".to_owned(), "ecn".to_owned())];
        let agrees = |hop_v6: &str, of_clean: &[&str]| {
            let mut tally = Tally::new(&hosts, "ecn").locating(&hosts, &sought);
            for (is_v6, hop) in [(false, "ecn.hop:2"), (true, hop_v6)] {
                for _ in 0..2 {
                    let broken = ["ecn.connectivity.broken", hop, "ecn.quote.full"];
                    tally.add(0, is_v6, &broken);
                    tally.add(1, is_v6, &["ecn.connectivity.broken", "ecn.hop:9"]);
                    tally.add(2, is_v6, of_clean);
                }
            }
            tally.rows().iter().map(Row::agrees).collect::<Vec<_>>()
        };
        let works = "ecn.connectivity.works";
        assert_eq!(agrees("ecn.hop:3", &[works]), [true; 3]);
        assert_eq!(agrees("ecn.hop:2", &[works, "ecn.hop:2"]), [false, true, false]);
        // Nothing is located: a place is as wrong as any other label.
        let mut tally = Tally::new(&hosts, "ecn").locating(&hosts, &[]);
        tally.add(1, false, &["ecn.connectivity.broken", "ecn.hop:9"]);
        assert_eq!(tally.rows()[1].v4.agreed, 0);
    }

    #[test]
    fn families_may_differ() {
        let mut host = host("a", &["ecn.x"]);
        host.truth_v6.insert("ecn".to_owned(), Vec::new());
        let mut tally = Tally::new(&[host.clone()], "ecn");
        for (is_v6, conditions) in [(false, &["ecn.x"][..]), (true, &[])] {
            tally.add(0, is_v6, conditions);
            tally.add(0, is_v6, conditions);
        }
        assert!(tally.agrees());
        let expected = "\
host  measured                truth                   agree
a     IPv4 2x: x              IPv4: x                 yes 4/4
      IPv6 2x: none           IPv6: none
";
        assert_eq!(tally.table(80, &Styles::default()), expected);
        host.truth_v6.clear();
        let mut tally = Tally::new(&[host], "ecn");
        add_all(&mut tally, 0, &["ecn.x"]);
        assert!(tally.agrees());
        let table = tally.table(80, &Styles::default());
        assert!(table.contains("IPv6: not stated") && table.contains("yes 2/2"), "{table}");
        tally.add(0, false, &["ecn.z"]);
        assert!(!tally.agrees());
    }

    #[test]
    fn one_record_too_many_disagrees() {
        let mut tally = Tally::new(&[host("a", &["ecn.x"])], "ecn");
        add_all(&mut tally, 0, &["ecn.x"]);
        tally.add(0, true, &["ecn.x"]);
        assert!(!tally.agrees());
    }

    #[test]
    fn nothing_agrees_without_a_truth() {
        let mut tally = Tally::new(&[host("a", &["ecn.x"])], "dscp");
        add_all(&mut tally, 0, &["dscp.x"]);
        assert!(tally.rows()[0].agrees() && !tally.agrees());
        assert!(tally.table(80, &Styles::default()).contains("not stated"));
    }

    #[test]
    fn lines_fit_the_width_and_colours_do_not_count() {
        let labels = ["ecn.connectivity.works", "ecn.negotiation.succeeded", "ecn.ipmark.ce.seen"];
        let mut tally = Tally::new(&[host("plain", &labels)], "ecn");
        add_all(&mut tally, 0, &labels);
        for width in [72, 80, 100, 120, 200] {
            for line in tally.table(width, &Styles::default()).lines() {
                assert!(line.len() <= width, "{width}: {line}");
            }
        }
        let coloured = Styles { good: Style::new().bold(), ..Styles::default() };
        let table = tally.table(80, &coloured);
        assert!(table.contains("\u{1b}[1m"));
        assert_eq!(
            anstream::adapter::strip_str(&table).to_string(),
            tally.table(80, &Styles::default())
        );
    }
}
