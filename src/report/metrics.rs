//! Metrics in the text format of Prometheus (exposition format 0.0.4), named by its conventions.

use std::fmt::Write as _;

use crate::printable;
use crate::run::snapshot::Snapshot;
use crate::run::verdicts::CLASSES;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A value with its labels.
type Sample = (Vec<(&'static str, String)>, f64);

/// The metrics page. `measurement` is its name, `configurations` are all configurations, `started` is the start of the
/// run in seconds since 1970.
pub fn text(
    now: &Snapshot,
    measurement: &str,
    configurations: &[&'static str],
    started: f64,
) -> String {
    let mut text = String::new();
    let plain = |value: u64| vec![(Vec::new(), value as f64)];
    let by = |label: &'static str, values: Vec<(&str, u64)>| -> Vec<Sample> {
        let sample = |(word, value): (&str, u64)| (vec![(label, word.to_owned())], value as f64);
        values.into_iter().map(sample).collect()
    };
    let run = vec![
        ("measurement", measurement.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let [seen, dropped, interface_dropped, unread] = now.counts.packets;
    let states = ["ok", "failed", "timeout", "local_error", "skipped"];
    let attempts = states.into_iter().zip(now.counts.attempts).collect();
    let verdicts = CLASSES.into_iter().zip(now.verdicts).collect();
    let labels = now.labels.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    let force = configurations.iter().map(|name| {
        let is = now.configurations.contains(name);
        (*name, u64::from(is))
    });
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<Sample>| {
        add(&mut text, name, kind, help, &samples);
    };
    family("run_info", "gauge", "The measurement and the program's version.", vec![(run, 1.0)]);
    family(
        "start_time_seconds",
        "gauge",
        "When the run began or was resumed, in seconds since 1970.",
        vec![(Vec::new(), started)],
    );
    let help = "Targets handed to the engine for the first time.";
    family("targets_asked_total", "counter", help, plain(now.probed));
    let help = "Re-probes of targets.";
    family("targets_asked_again_total", "counter", help, plain(now.reprobed));
    if let Some(targets) = now.targets() {
        let help = "Targets to probe, estimated from the length of the list.";
        family("targets_expected", "gauge", help, plain(targets));
    }
    family(
        "records_total",
        "counter",
        "Records; of a resumed run, of all sessions.",
        plain(now.records),
    );
    let help = "Records by class.";
    family("verdicts_total", "counter", help, by("class", verdicts));
    family("labels_total", "counter", "Labels given to records.", by("label", labels));
    family("attempts_started_total", "counter", "Connections started.", plain(now.started));
    family("attempts_total", "counter", "Connections by final state.", by("state", attempts));
    family("packets_seen_total", "counter", "Packets that the capture read.", plain(seen));
    family(
        "packets_dropped_total",
        "counter",
        "Packets that the capture lost, by where they were dropped.",
        by("by", vec![("kernel", dropped), ("interface", interface_dropped)]),
    );
    let help = "Packets that could not be dissected.";
    family("packets_not_understood_total", "counter", help, plain(unread));
    let help = "Flows evicted because the flow table was full.";
    family("flows_evicted_total", "counter", help, plain(now.counts.evicted));
    family("waves_total", "counter", "Waves started.", plain(now.wave));
    let help = "Attempts in flight of the current wave.";
    family("wave_attempts_left", "gauge", help, plain(now.wave_left));
    let [searches, over] = now.searches;
    let help = "Searches for the places of labels.";
    family("searches_started_total", "counter", help, plain(searches));
    family("searches_total", "counter", "Searches that are over.", plain(over));
    let help = "Whether a configuration is in force.";
    family("configuration_in_force", "gauge", help, by("configuration", force.collect()));
    let help = "Whether a signal has asked the run to stop.";
    family("stopping", "gauge", help, plain(now.stopping.into()));
    text
}

/// Adds a metric with its help, type and samples.
fn add(text: &mut String, name: &str, kind: &str, help: &str, samples: &[Sample]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP pathspider_{name} {help}\n# TYPE pathspider_{name} {kind}");
    for (labels, value) in samples {
        let labels: Vec<String> =
            labels.iter().map(|(label, word)| format!("{label}=\"{}\"", escape(word))).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(text, "pathspider_{name}{labels} {value}");
    }
}

/// Escapes the value of a label: control characters first, then backslash and quote.
fn escape(word: &str) -> String {
    printable::line(word).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sample_has_its_help_and_type_and_counters_end_in_total() {
        let labels = [("a.b\"c\\d\u{1b}\n".to_owned(), 7)].into();
        let now =
            Snapshot { labels, expected: 9, configurations: vec!["one"], ..Snapshot::default() };
        let text = text(&now, "ecn", &["zero", "one"], 12.5);
        let mut known = BTreeSet::new();
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').unwrap();
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(text.contains(&format!("# HELP {name} ")), "{line}");
                assert!(known.insert(name.to_owned()), "{name} comes twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(known.contains(name), "{line}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(
            text.contains(r#"pathspider_labels_total{label="a.b\"c\\d\\u{1b}\\n"} 7"#),
            "{text}"
        );
        assert!(text.contains(r#"pathspider_configuration_in_force{configuration="one"} 1"#));
        assert!(text.contains(r#"pathspider_configuration_in_force{configuration="zero"} 0"#));
        assert!(text.contains("pathspider_start_time_seconds 12.5\n"));
    }
}
