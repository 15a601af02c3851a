//! The campaign file: what is measured, by which agents, in which shares, when, and how gently.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::error::{Diagnostic, Report, Result};
use crate::measurement::duration;
use crate::run::controls::Share;

/// Maximum length of the name of a campaign, an agent or a group: it is part of subjects and of folders.
pub const LONGEST_NAME: usize = 40;

/// A campaign file that is not valid TOML of this form.
const FORM: &str = "E1101";
/// A value in a campaign file that cannot be used.
const VALUE: &str = "E1102";

/// A campaign: a measurement of one list by many agents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pathspider campaign", extend("required" = ["name", "measurement", "targets", "contact", "schedule", "assign"]))]
struct FileText {
    /// The name, which no other campaign of the fleet has: small letters, digits and hyphens.
    #[schemars(with = "String", regex(pattern = "^[a-z0-9][a-z0-9-]{0,39}$"))]
    name: Spanned<String>,
    /// The measurement: a shipped name, or a file. Its text is fixed when the campaign starts.
    #[schemars(with = "String")]
    measurement: Spanned<String>,
    /// The target list, a file of NDJSON or CSV. Its contents are fixed when the campaign starts.
    #[schemars(with = "String")]
    targets: Spanned<String>,
    /// The port of targets without one.
    port: Option<std::num::NonZeroU16>,
    /// Values of params of the measurement.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// A contact for opt-out requests: an https, mailto or tel URI.
    #[schemars(with = "String")]
    contact: Spanned<String>,
    /// The agents. Each of them probes every target.
    #[schemars(with = "Vec<AssignText>")]
    assign: Spanned<Vec<AssignText>>,
    /// The shares of work.
    #[serde(default)]
    unit: UnitText,
    /// When the campaign may run.
    schedule: ScheduleText,
    /// Limits on sending. They can only lower what the owner of an agent allows.
    #[serde(default)]
    caps: CapsText,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssignText {
    /// Agents: names with `*` for any characters, `group:NAME`, or `tag:KEY=VALUE`.
    #[schemars(with = "Vec<String>", length(min = 1))]
    agents: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnitText {
    /// Targets per unit, about. An agent that is interrupted repeats at most the wave in flight. [default: 5000]
    #[schemars(with = "Option<u64>", range(min = 1))]
    targets: Option<Spanned<u64>>,
    /// Confirmation rounds, in place of those of the measurement.
    confirm: Option<u16>,
    /// The share of targets that are controls: `5%` or `0.05`.
    #[schemars(with = "Option<String>")]
    control: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["not_after"]))]
struct ScheduleText {
    /// The earliest time at which a unit begins (RFC 3339).
    #[schemars(with = "Option<String>")]
    start: Option<Spanned<String>>,
    /// The time after which no unit begins (RFC 3339), whatever the hub says.
    #[schemars(with = "String")]
    not_after: Spanned<String>,
    /// A random delay of up to this long before the first unit of each agent.
    #[schemars(with = "Option<String>")]
    spread: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CapsText {
    /// Connections started in any one second by one agent, at most.
    #[schemars(with = "Option<u32>", range(min = 1))]
    rate: Option<Spanned<u32>>,
    /// The same to one address.
    #[schemars(with = "Option<u32>", range(min = 1))]
    rate_per_address: Option<Spanned<u32>>,
    /// The same to one prefix.
    #[schemars(with = "Option<u32>", range(min = 1))]
    rate_per_prefix: Option<Spanned<u32>>,
    /// Connections started in any one second by all agents together to one prefix, at most.
    #[schemars(with = "Option<u32>", range(min = 1))]
    fleet_rate_per_prefix: Option<Spanned<u32>>,
    /// Maximum packets per target and agent.
    #[schemars(with = "Option<u64>", range(min = 1))]
    max_packets_per_target: Option<Spanned<u64>>,
}

/// A campaign as meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// The measurement: a name or a file.
    pub measurement: String,
    /// The target list, relative to the folder of the campaign file.
    pub targets: String,
    /// The port of targets without one.
    pub port: Option<u16>,
    /// Values of params.
    pub set: Vec<(String, String)>,
    /// The contact.
    pub contact: String,
    /// Who measures.
    pub agents: Vec<Selector>,
    /// Targets per unit.
    pub targets_per_unit: u64,
    /// Confirmation rounds.
    pub confirm: Option<u16>,
    /// The share of controls.
    pub control: Option<Share>,
    /// Seconds since 1970 before which no unit begins.
    pub start: u64,
    /// Seconds since 1970 after which no unit begins.
    pub not_after: u64,
    /// The longest delay of an agent's first unit.
    pub spread: Duration,
    /// Limits on sending.
    pub caps: Caps,
}

/// Limits on sending; `None` is no limit of the campaign's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// Connections started in any one second.
    pub rate: Option<u32>,
    /// To one address.
    pub rate_per_address: Option<u32>,
    /// To one prefix.
    pub rate_per_prefix: Option<u32>,
    /// To one prefix, by all agents together.
    pub fleet_rate_per_prefix: Option<u32>,
    /// Packets per target.
    pub max_packets_per_target: Option<u64>,
}

/// Which agents are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Names of this pattern.
    Name(String),
    /// Members of this group.
    Group(String),
    /// Agents with this tag.
    Tag(String, String),
}

impl Selector {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(group) = text.strip_prefix("group:") {
            return name_of(group).map(|()| Selector::Group(group.to_owned()));
        }
        if let Some(tag) = text.strip_prefix("tag:") {
            let parts =
                tag.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
            let (key, value) = parts.ok_or("write a tag as tag:KEY=VALUE, such as tag:as=64496")?;
            return Ok(Selector::Tag(key.to_owned(), value.to_owned()));
        }
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*');
        match !text.is_empty() && text.chars().all(plain) {
            true => Ok(Selector::Name(text.to_owned())),
            false => Err("write a name (rpi-*), group:NAME or tag:KEY=VALUE".into()),
        }
    }

    /// Whether an agent is meant.
    pub fn selects(
        &self,
        name: &str,
        group: Option<&str>,
        tags: &BTreeMap<String, String>,
    ) -> bool {
        match self {
            Selector::Name(pattern) => fits(pattern, name),
            Selector::Group(wanted) => group == Some(wanted),
            Selector::Tag(key, value) => tags.get(key) == Some(value),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selector::Name(pattern) => f.write_str(pattern),
            Selector::Group(group) => write!(f, "group:{group}"),
            Selector::Tag(key, value) => write!(f, "tag:{key}={value}"),
        }
    }
}

/// Whether a name fits a pattern in which `*` is any characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|tail| fits(rest, tail)))
        }),
    }
}

/// Checks a name of a campaign, an agent or a group.
///
/// # Errors
/// What a name must be.
pub fn name_of(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = !text.is_empty()
        && !text.starts_with('-')
        && text.len() <= LONGEST_NAME
        && text.chars().all(plain);
    match fits {
        true => Ok(()),
        false => Err(format!(
            "must be 1 to {LONGEST_NAME} small letters, digits and hyphens, and begin with a letter or a digit"
        )),
    }
}

/// Whether a text is a campaign file rather than a measurement or a lab.
pub fn is_campaign(text: &str) -> bool {
    let begins = |word: &str| text.lines().any(|line| line.trim().starts_with(word));
    begins("[[assign]]") || begins("[schedule]")
}

/// The JSON Schema of campaign files.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(FileText).to_value()
}

/// Collects mistakes.
struct Checker {
    diagnostics: Vec<Diagnostic>,
}

impl Checker {
    fn mistake(&mut self, span: Range<usize>, message: String, help: &str) {
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        self.diagnostics.push(Diagnostic {
            code: VALUE,
            span,
            message,
            label: String::new(),
            help,
        });
    }

    /// A time in seconds since 1970.
    fn time(&mut self, text: &Spanned<String>) -> u64 {
        let time = chrono::DateTime::parse_from_rfc3339(text.get_ref()).ok();
        let time = time.and_then(|time| u64::try_from(time.timestamp()).ok());
        time.unwrap_or_else(|| {
            let message = format!("`{}` is not a time", text.get_ref());
            self.mistake(text.span(), message, "write a time as 2026-12-01T00:00:00Z");
            0
        })
    }

    fn cap<T: Copy + Default + PartialEq>(&mut self, cap: Option<&Spanned<T>>) -> Option<T> {
        let cap = cap?;
        if *cap.get_ref() == T::default() {
            let help = "leave the key out for no limit of the campaign's own";
            self.mistake(cap.span(), "a limit of 0 lets no connection start".into(), help);
        }
        Some(*cap.get_ref())
    }

    fn caps(&mut self, text: &CapsText) -> Caps {
        Caps {
            rate: self.cap(text.rate.as_ref()),
            rate_per_address: self.cap(text.rate_per_address.as_ref()),
            rate_per_prefix: self.cap(text.rate_per_prefix.as_ref()),
            fleet_rate_per_prefix: self.cap(text.fleet_rate_per_prefix.as_ref()),
            max_packets_per_target: self.cap(text.max_packets_per_target.as_ref()),
        }
    }

    fn agents(&mut self, assign: &Spanned<Vec<AssignText>>) -> Vec<Selector> {
        if assign.get_ref().is_empty() {
            let help = "write [[assign]] with agents = [\"group:eu\"]";
            self.mistake(assign.span(), "the campaign has no agents".into(), help);
        }
        let mut found = Vec::new();
        for row in assign.get_ref() {
            if row.agents.get_ref().is_empty() {
                let help = "name agents: agents = [\"group:eu\", \"rpi-*\"]";
                self.mistake(row.agents.span(), "this assignment has no agents".into(), help);
            }
            for word in row.agents.get_ref() {
                match Selector::parse(word.get_ref()) {
                    Ok(selector) => found.push(selector),
                    Err(help) => {
                        let message = format!("`{}` selects no agents", word.get_ref());
                        self.mistake(word.span(), message, &help);
                    }
                }
            }
        }
        found
    }

    fn control(&mut self, text: Option<&Spanned<String>>) -> Option<Share> {
        let text = text?;
        Share::parse(text.get_ref())
            .map_err(|help| {
                let message = format!("`{}` is not a share", text.get_ref());
                self.mistake(text.span(), message, &help);
            })
            .ok()
    }

    fn spread(&mut self, text: Option<&Spanned<String>>) -> Duration {
        let Some(text) = text else { return Duration::ZERO };
        duration(text.get_ref()).unwrap_or_else(|help| {
            let message = format!("`{}` is not a duration", text.get_ref());
            self.mistake(text.span(), message, &help);
            Duration::ZERO
        })
    }

    fn campaign(&mut self, file: FileText) -> Campaign {
        if let Err(help) = name_of(file.name.get_ref()) {
            let message = format!("`{}` is not a name of a campaign", file.name.get_ref());
            self.mistake(file.name.span(), message, &help);
        }
        if let Err(help) = crate::run::contact::contact(file.contact.get_ref()) {
            let message = format!("`{}` is not a contact", file.contact.get_ref());
            self.mistake(file.contact.span(), message, &help);
        }
        for (text, what) in [(&file.measurement, "measurement"), (&file.targets, "target list")] {
            if text.get_ref().is_empty() {
                self.mistake(text.span(), format!("the campaign has no {what}"), "name a file");
            }
        }
        let agents = self.agents(&file.assign);
        let per_unit = file.unit.targets.as_ref();
        let per_unit = self.cap(per_unit).unwrap_or(5000);
        let schedule = &file.schedule;
        let not_after = self.time(&schedule.not_after);
        let start = schedule.start.as_ref().map_or(0, |text| self.time(text));
        if start >= not_after && not_after > 0 {
            let help = "not_after must be later than start";
            self.mistake(schedule.not_after.span(), "no unit could begin".into(), help);
        }
        Campaign {
            name: file.name.into_inner(),
            measurement: file.measurement.into_inner(),
            targets: file.targets.into_inner(),
            port: file.port.map(Into::into),
            set: file.set.into_iter().collect(),
            contact: file.contact.into_inner(),
            agents,
            targets_per_unit: per_unit,
            confirm: file.unit.confirm,
            control: self.control(file.unit.control.as_ref()),
            start,
            not_after,
            spread: self.spread(file.schedule.spread.as_ref()),
            caps: self.caps(&file.caps),
        }
    }
}

impl Campaign {
    /// Parses a campaign file; `origin` is its name in messages.
    ///
    /// # Errors
    /// Every mistake with its place.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let mut checker = Checker { diagnostics: Vec::new() };
        let parsed = match toml::from_str::<FileText>(text) {
            Ok(file) => Some(checker.campaign(file)),
            Err(error) => {
                checker.diagnostics.push(Diagnostic {
                    code: FORM,
                    span: error.span().unwrap_or(0..0),
                    message: error.message().trim().to_owned(),
                    label: String::new(),
                    help: Some("`pathspider schema campaign` describes the file".into()),
                });
                None
            }
        };
        let mut diagnostics = checker.diagnostics;
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        match parsed.filter(|_| diagnostics.is_empty()) {
            Some(campaign) => Ok(campaign),
            None => Err(Report::new(origin, text, diagnostics).into()),
        }
    }

    /// Number of units of each agent for a list of this many lines.
    pub fn units(&self, lines: u64) -> u64 {
        lines.div_ceil(self.targets_per_unit.max(1)).max(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::Error;

    /// A campaign file.
    pub const TEXT: &str = r#"
name = "ecn-2026-12"
measurement = "ecn"
targets = "list.ndjson"
contact = "https://probe.example.org/probing.txt"
[[assign]]
agents = ["group:eu", "tag:as=64496", "rpi-*"]
[unit]
targets = 40
control = "5%"
[schedule]
start = "2026-12-01T00:00:00Z"
not_after = "2026-12-08T00:00:00Z"
spread = "10m"
[caps]
rate = 100
fleet_rate_per_prefix = 50
"#;

    fn mistakes(text: &str) -> Vec<String> {
        match Campaign::parse("c.toml", text) {
            Err(Error::File(report)) => {
                report.diagnostics.iter().map(|d| format!("{}: {}", d.code, d.message)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_campaign_is_read_as_meant() {
        let campaign = Campaign::parse("c.toml", TEXT).unwrap();
        assert_eq!(campaign.units(81), 3);
        assert_eq!(campaign.units(0), 1, "an empty list is one unit without targets");
        assert_eq!(campaign.start, 1_796_083_200);
        assert_eq!(campaign.spread, Duration::from_secs(600));
        let of = |tag: &str| BTreeMap::from([("as".to_owned(), tag.to_owned())]);
        let selected = |name: &str, group: Option<&str>, tags: &BTreeMap<String, String>| {
            campaign.agents.iter().any(|s| s.selects(name, group, tags))
        };
        assert!(selected("rpi-lis-2", None, &of("1")) && selected("x", None, &of("64496")));
        assert!(selected("x", Some("eu"), &of("1")) && !selected("x", Some("us"), &of("1")));
        assert!(fits("a*c*", "abcd") && !fits("a*c", "abcd") && fits("*", ""));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let wrong = TEXT
            .replace("ecn-2026-12", "ECN 1")
            .replace("group:eu", "group:")
            .replace("5%", "105%")
            .replace("2026-12-08T", "2026-11-08T")
            .replace("rate = 100", "rate = 0")
            .replace("https:", "http:");
        let found = mistakes(&wrong);
        assert_eq!(found.len(), 6, "{found:#?}");
        assert!(found.iter().all(|line| line.starts_with("E1102")), "{found:#?}");
        assert!(mistakes(&TEXT.replace("[caps]", "[cap]"))[0].starts_with("E1101"));
    }

    #[test]
    fn a_campaign_differs_from_other_files_by_its_tables() {
        assert!(
            is_campaign(TEXT) && !is_campaign("[[host]]\n") && !is_campaign("name = \"assign\"")
        );
    }
}
