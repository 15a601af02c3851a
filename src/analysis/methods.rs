//! Sentences about a result: what it found, and how it was measured, filled from the metadata alone.

use serde_json::Value;

use super::account::{Account, Finding};
use super::cell::{percent, thousands};
use super::group_tables::{Concentration, concentration, label};
use super::groups::Group;
use super::interval::score;
use crate::words::{counted, inflected};

/// The most networks that a sentence names.
const NAMED: usize = 6;

/// A finding in words and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The label.
    pub label: String,
    /// The share in percent.
    pub share: String,
    /// Its interval.
    pub interval: String,
    /// The rest, in sentences.
    pub sentences: Vec<String>,
}

/// What a result found: a statement for each finding with judged targets.
pub fn statements(account: &Account) -> Vec<Statement> {
    let findings = account.findings.iter().enumerate();
    findings.filter_map(|(at, finding)| statement(account, at, finding)).collect()
}

fn statement(account: &Account, at: usize, finding: &Finding) -> Option<Statement> {
    let counts = account.conditions.get(finding.condition)?;
    let condition = account.about.conditions.get(finding.condition)?;
    let (judged, hit) = (counts.judged(0), counts.of(&finding.word, 0));
    let [low, high] = score(hit, judged)?;
    let word = &finding.word;
    let mut sentences = vec![format!(
        "Of {} that {} judged, {} {} {word}.",
        counted(judged, "target[s]"),
        condition.name,
        thousands(hit),
        inflected(hit, "[is|are]")
    )];
    let controls = counts.judged(1);
    if condition.compares
        && let Some([low, high]) = score(counts.of(word, 1), controls)
    {
        sentences.push(format!(
            "Among {}, which cannot be {word}, {} {} ({}; {} to {}).",
            counted(controls, "control[s]"),
            thousands(counts.of(word, 1)),
            inflected(counts.of(word, 1), "[was|were]"),
            percent(counts.of(word, 1) as f64 / controls as f64),
            percent(low),
            percent(high)
        ));
    } else if condition.compares && account.controls == 0 {
        sentences
            .push("No controls were measured, so the rate of false alarms is not known.".into());
    }
    if hit > 0 {
        sentences.extend(where_they_are(&concentration(&account.networks, at), "network", word));
        if !account.systems.is_empty() {
            sentences.extend(where_they_are(&concentration(&account.systems, at), "AS", word));
        }
    }
    Some(Statement {
        label: label(account, finding),
        share: percent(hit as f64 / judged as f64),
        interval: format!("{} to {}", percent(low), percent(high)),
        sentences,
    })
}

/// The groups that stand out: several targets have the label there, and more of them than of all beyond doubt.
fn outstanding(of: &Concentration) -> Vec<&Group<String>> {
    let high = of.affected.iter().filter(|group| {
        group.hit > 1 && score(group.hit, group.judged).is_some_and(|[low, _]| low > of.share)
    });
    high.collect()
}

fn where_they_are(of: &Concentration, what: &str, word: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let what_s = format!("{what}[s]");
    let high = outstanding(of);
    let in_them: u64 = high.iter().map(|group| group.hit).sum();
    if 4 * in_them >= of.hit {
        let name = match what {
            "AS" => |group: &str| format!("AS{group}"),
            _ => str::to_owned,
        };
        let named: Vec<String> = high
            .iter()
            .take(NAMED)
            .map(|group| {
                format!(
                    "{} ({} of {})",
                    name(&group.key),
                    thousands(group.hit),
                    thousands(group.judged)
                )
            })
            .collect();
        let more = match high.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {} more", thousands(more as u64)),
        };
        let share = match in_them == of.hit {
            true => format!("All {} {word} targets", thousands(of.hit)),
            false => format!("{} of the {} {word} targets", thousands(in_them), thousands(of.hit)),
        };
        sentences.push(format!(
            "{share} are in {} {}: {}{more}.",
            counted(high.len() as u64, &what_s),
            inflected(high.len() as u64, "that [stands|stand] out"),
            named.join(", ")
        ));
    } else {
        sentences.push(format!(
            "No {what} stands out: half of the {word} targets are in {} of {}.",
            thousands(of.half as u64),
            counted(of.groups as u64, &what_s)
        ));
    }
    if let Some([low, high]) = of.interval {
        sentences.push(format!(
            "Targets of one {what} share paths: with {what}s drawn instead of targets, the interval is {} to {}.",
            percent(low),
            percent(high)
        ));
    }
    sentences
}

/// Reasons to doubt the result, before anything else; none if it is whole.
pub fn warnings(account: &Account) -> Vec<String> {
    let mut warnings = Vec::new();
    match account.value("complete") {
        Some("true") => {}
        Some(_) => warnings.push(
            "The run did not come to its end: targets are missing, and not at random unless the order was.".to_owned(),
        ),
        None => warnings.push("The result does not say whether its run came to its end.".to_owned()),
    }
    let lost = account.number("packets_dropped").unwrap_or(0)
        + account.number("packets_dropped_by_interface").unwrap_or(0);
    if lost > 0 {
        warnings
            .push(format!("The capture lost {}: see what was lost.", counted(lost, "packet[s]")));
    }
    if account.flagged > 0 {
        warnings.push(format!(
            "{} a flag: some of their data may be missing.",
            counted(account.flagged, "target[s] [has|have]")
        ));
    }
    warnings
}

/// How it was measured, in paragraphs.
pub fn methods(account: &Account) -> Vec<String> {
    let paragraphs = [
        targets(account),
        configurations(account),
        sureness(account),
        courtesy(account),
        analysis(account),
    ];
    paragraphs.into_iter().filter(|paragraph| !paragraph.is_empty()).collect()
}

/// Sentences whose values are known, joined.
fn joined(sentences: Vec<Option<String>>) -> String {
    sentences.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn targets(account: &Account) -> String {
    let of = |key: &str| account.value(key);
    let asked = account.number("targets_asked").unwrap_or(account.records);
    let when = of("started").zip(of("ended")).map(|(from, to)| format!(" from {from} to {to}"));
    let tool = of("version").map(|version| match of("commit") {
        Some(commit) => format!(" with pathspider {version} ({commit})"),
        None => format!(" with pathspider {version}"),
    });
    let host = of("kernel").map(|kernel| match of("interface") {
        Some(interface) => format!(" on {kernel}, interface {interface}"),
        None => format!(" on {kernel}"),
    });
    let place = of("vantage").map(|name| format!(", from the vantage point {name}"));
    joined(vec![
        Some(format!(
            "We probed {}{}{}{}{}.",
            counted(asked, "target[s]"),
            when.unwrap_or_default(),
            tool.unwrap_or_default(),
            host.unwrap_or_default(),
            place.unwrap_or_default()
        )),
        of("targets_sha256").map(|digest| format!("The list of targets has the SHA-256 {digest}.")),
        of("order").zip(of("seed")).map(|(order, seed)| match order {
            "random" => format!("Their order was random, with the seed {seed}."),
            order => format!("Their order was {order}."),
        }),
        of("shard").map(|shard| format!("It is shard {shard} of the list.")),
    ])
}

fn configurations(account: &Account) -> String {
    let about = &account.about;
    let names: Vec<String> = about
        .configurations
        .iter()
        .map(
            |(name, title)| {
                if title.is_empty() { name.clone() } else { format!("{name} ({title})") }
            },
        )
        .take(8)
        .collect();
    let more = match about.configurations.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = about.configurations.len() as u64;
    joined(vec![
        Some(format!(
            "The measurement was \u{201c}{}\u{201d}: each target was probed under {}: {}{more}.",
            about.title,
            counted(count, "configuration[s]"),
            names.join(", ")
        )),
        about.timeout_ms.map(|timeout| format!("An attempt timed out after {} s.", timeout as f64 / 1000.0)),
        Some(
            "All packets were captured on this host. What was not observed is reported as insufficient, and failures that \
             this host caused conclude nothing."
                .to_owned(),
        ),
    ])
}

fn sureness(account: &Account) -> String {
    let rounds = account.number("confirm_rounds").filter(|rounds| *rounds > 0);
    let share = account.value("control_share").and_then(|share| share.parse::<f64>().ok());
    joined(vec![
        rounds.map(|rounds| {
            format!(
                "A target that looked broken or transient was probed again in {} under every configuration, and has that \
                 label only if all conclusive rounds agreed.",
                counted(rounds, "round[s]")
            )
        }),
        share.filter(|_| account.controls > 0).map(|share| {
            format!(
                "A random {} of the targets were controls ({}), probed under the baseline in place of every configuration; \
                 labels of controls are false alarms.",
                percent(share),
                thousands(account.controls)
            )
        }),
    ])
}

fn courtesy(account: &Account) -> String {
    let of = |key: &str| account.value(key);
    let refused: Option<Value> =
        of("targets_refused").and_then(|text| serde_json::from_str(text).ok());
    let refused = |key: &str| refused.as_ref().and_then(|all| all.get(key)?.as_u64());
    joined(vec![
        of("rate").map(|rate| format!("At most {rate} attempts were started per second.")),
        of("rate_per_address")
            .map(|rate| format!("At most {rate} per second went to one address.")),
        of("rate_per_prefix").map(|rate| format!("At most {rate} per second went to one prefix.")),
        refused("excluded").map(|count| match count {
            0 => "No target was left out by an exclude list or an opt-out.".to_owned(),
            count => format!(
                "{} left out because of an exclude list or an opt-out.",
                counted(count, "target[s] [was|were]")
            ),
        }),
        refused("reserved").filter(|count| *count > 0).map(|count| {
            format!("{} left out as reserved addresses.", counted(count, "target[s] [was|were]"))
        }),
        of("contact").map(|contact| format!("The contact for opt-outs was {contact}.")),
    ])
}

fn analysis(account: &Account) -> String {
    let by = match account.systems.is_empty() {
        true => "networks (/24 of IPv4, /48 of IPv6)",
        false => "networks (/24 of IPv4, /48 of IPv6) and autonomous systems",
    };
    format!(
        "Shares have the score interval of 95 % (Wilson 1927). The excess over the controls has Newcombe's interval of a difference \
         (1998, method 10). As targets of one network are not independent, the intervals of {by} are percentile \
         bootstraps over groups, with {} resamples and a fixed seed. Controls are in no share.",
        super::interval::RESAMPLES
    )
}
