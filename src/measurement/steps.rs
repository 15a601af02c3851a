//! `steps` of a configuration: how they are written, each as a table with one key, its kind; their checks, and the steps
//! that they become.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::bounds::METRICS;
use super::checker::Checker;
use super::dscp::{codepoint, is_class};
use super::substitute::is_name;
use super::traffic_class::TrafficClass;
use super::words::{self, Text};
use crate::step::sockopt::{SOCKOPTS, SockoptDef, Takes, Value};
use crate::step::{self, Sockopt, netfilter, route};

/// One step: a table with one key, its kind.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = words::steps)]
pub(super) enum Step {
    Sysctl(#[schemars(schema_with = "sysctls")] BTreeMap<Text, Spanned<Setting>>),
    TrafficClass(TrafficClass),
    Netfilter(Netfilter),
    Route(Route),
    Sockopt(#[schemars(schema_with = "sockopts")] BTreeMap<Text, Spanned<SockoptValue>>),
    Command(Command),
}

/// A value of a kernel parameter: written as number, text or boolean, kept as text.
#[derive(Debug)]
pub(super) struct Setting(pub(super) String);

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Setting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer, a string or a boolean")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
                Ok(Setting(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
                Ok(Setting(value.to_string()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Setting, E> {
                Ok(Setting(u8::from(value).to_string()))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Setting, E> {
                Ok(Setting(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for Setting {
    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value of a kernel parameter; true is written as 1, false as 0.",
            "type": ["integer", "string", "boolean"],
            "minLength": 1,
        })
    }
}

/// A rule of nftables for this configuration's packets.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["rule"]))]
pub(super) struct Netfilter {
    /// One rule in the syntax of nft(8). It applies to packets of this configuration only, without a match of
    /// its own. `dscp set 46`, without ip or ip6, is for both versions of IP; `ip dscp set 46` is for IPv4, and IPv6
    /// targets are skipped.
    #[schemars(with = "Option<String>", example = &"dscp set 46", length(min = 1))]
    #[schemars(regex(pattern = "^[^;#\\r\\n]*$"))]
    pub(super) rule: Option<Text>,
    /// The hook in a packet's path where the rule applies.
    #[serde(default)]
    #[schemars(schema_with = "words::hook", example = &"output", extend("default" = "output"))]
    pub(super) hook: Option<Text>,
}

/// Metrics of this configuration's routes; missing ones stay unchanged.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "dependentRequired" = { "mtu_lock": ["mtu"] }))]
pub(super) struct Route {
    /// Features of the route.
    #[serde(default)]
    #[schemars(schema_with = "words::features", example = ["ecn"])]
    pub(super) features: Vec<Text>,
    /// The MSS to announce, in bytes.
    #[serde(default)]
    #[schemars(schema_with = "words::mss", example = 1400)]
    pub(super) advmss: Option<Spanned<i64>>,
    /// The initial congestion window, in segments.
    #[serde(default)]
    #[schemars(schema_with = "words::window", example = 10)]
    pub(super) initcwnd: Option<Spanned<i64>>,
    /// The MTU, in bytes.
    #[serde(default)]
    #[schemars(schema_with = "words::mtu", example = 1280)]
    pub(super) mtu: Option<Spanned<i64>>,
    /// Whether path MTU discovery is disabled; needs `mtu`.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true, extend("default" = false))]
    pub(super) mtu_lock: Option<Spanned<bool>>,
    /// The TTL, or hop limit.
    #[serde(default)]
    #[schemars(schema_with = "words::hoplimit", example = 64)]
    pub(super) hoplimit: Option<Spanned<i64>>,
    /// The congestion control; the kernel must support it.
    #[schemars(with = "Option<String>", example = &"cubic", regex(pattern = "^[a-z0-9_]+$|\\$\\{"))]
    pub(super) congctl: Option<Text>,
    /// Whether ACKs are sent immediately.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(super) quickack: Option<bool>,
    /// Whether TCP Fast Open works without a cookie (RFC 7413, 4.1.2).
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(super) fastopen_no_cookie: Option<bool>,
}

/// A program to run, and the program that undoes it. No shell interprets the words. It runs only
/// if the user allows commands.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["run"]))]
pub(super) struct Command {
    /// The program and its arguments. A program with a slash in its name is a file, relative to this one; otherwise it
    /// is looked up in PATH.
    #[schemars(with = "Option<Vec<String>>", length(min = 1), example = ["dish", "east"])]
    pub(super) run: Option<Spanned<Vec<String>>>,
    /// The program that undoes it, and its arguments.
    #[schemars(with = "Option<Vec<String>>", length(min = 1), example = ["dish", "west"])]
    pub(super) undo: Option<Spanned<Vec<String>>>,
    /// The timeout of each: a number with ms, s or m; more than zero, at most an hour.
    #[schemars(with = "Option<String>", example = &"30s", regex(pattern = "^([0-9]+(ms|s|m)|.*\\$\\{.*)$"))]
    #[schemars(extend("default" = crate::step::command::DEFAULT_TIMEOUT))]
    pub(super) timeout: Option<Text>,
}

/// A value of a socket option, before its type is checked.
#[derive(Debug)]
pub(super) enum SockoptValue {
    Integer(i64),
    Boolean(bool),
    Text(String),
    List(Vec<i64>),
}

impl<'de> Deserialize<'de> for SockoptValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = SockoptValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a string, a boolean or an array of numbers")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<SockoptValue, E> {
                Ok(SockoptValue::Integer(value))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<SockoptValue, E> {
                Ok(SockoptValue::Boolean(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<SockoptValue, E> {
                Ok(SockoptValue::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SockoptValue, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(SockoptValue::List(list))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Kernel parameters by their names.
fn sysctls(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^net[./][a-z0-9_./-]+$" },
        "additionalProperties": generator.subschema_for::<Setting>().to_value(),
    })
}

/// Every option that has a name, and `raw`.
fn sockopts(_: &mut SchemaGenerator) -> Schema {
    let mut properties = serde_json::Map::new();
    for row in SOCKOPTS {
        let mut schema = match &row.takes {
            Takes::Integer(range) => words::integer(*range.start(), *range.end()),
            Takes::Boolean => words::boolean(&mut SchemaGenerator::default()),
            Takes::Text => json_schema!({ "type": "string", "minLength": 1 }),
        };
        let doc = format!("{} ({})", row.doc, row.constant);
        schema.insert("description".into(), doc.into());
        let example = words::example(row.example);
        schema.insert("examples".into(), serde_json::json!([example]));
        properties.insert(row.name.into(), schema.to_value());
    }
    properties.insert(
        "raw".into(),
        serde_json::json!({
            "description": "An option without a name here: level, option and value, as numbered in the kernel's headers.",
            "type": "array",
            "items": words::integer(i64::from(i32::MIN), i64::from(i32::MAX)).to_value(),
            "minItems": 3,
            "maxItems": 3,
            "examples": [[6, 30, 1]],
        }),
    );
    json_schema!({
        "description": "Options of each socket, set before it connects.",
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": properties,
    })
}

impl Checker<'_> {
    /// Makes one step, or several, from one in the file.
    pub(super) fn step(&mut self, step: &Spanned<Step>, steps: &mut Vec<step::Step>) {
        match step.get_ref() {
            Step::Sysctl(settings) => {
                self.nothing(step, settings.is_empty(), "sysctl");
                let mut settings: Vec<_> = settings.iter().collect();
                settings.sort_by_key(|(name, _)| name.span().start);
                for (name, value) in settings {
                    self.sysctl(name);
                    let value = value.get_ref().0.clone();
                    if value.trim().is_empty() {
                        let help = "write the value as a number or a string";
                        let message = "this kernel parameter has no value";
                        self.mistake("E0214", name.span(), message, Some(help.into()));
                    }
                    steps.push(step::Step::sysctl(name.get_ref(), value));
                }
            }
            Step::TrafficClass(written) => {
                self.nothing(
                    step,
                    written.dscp.is_none() && written.ecn.is_none(),
                    "traffic_class",
                );
                steps.extend(self.traffic_class(written).map(step::Step::TrafficClass));
            }
            Step::Netfilter(written) => steps.extend(self.netfilter(step, written)),
            Step::Route(written) => {
                let route = self.route(written);
                self.nothing(step, route.is_empty(), "route");
                steps.push(step::Step::Route(route));
            }
            Step::Sockopt(options) => {
                self.nothing(step, options.is_empty(), "sockopt");
                let mut options: Vec<_> = options.iter().collect();
                options.sort_by_key(|(name, _)| name.span().start);
                for (name, value) in options {
                    steps.extend(self.sockopt(name, value).map(step::Step::Sockopt));
                }
            }
            Step::Command(written) => steps.extend(self.command(step, written)),
        }
    }

    fn nothing(&mut self, step: &Spanned<Step>, is_empty: bool, kind: &str) {
        if is_empty && !self.was_removed(&["config".into()]) {
            let row = crate::step::STEPS.iter().find(|row| row.name == kind);
            let help = row.map(|row| format!("write {}", row.example));
            self.mistake("E0209", step.span(), "this step changes nothing", help);
        }
    }

    fn sysctl(&mut self, name: &Text) {
        let text = name.get_ref();
        if is_sysctl(text) {
            return;
        }
        let message = format!("`{text}` is not the name of a network parameter");
        let help = match text.strip_prefix("/proc/sys/") {
            Some(rest) => format!("write its dotted name: {}", rest.replace('/', ".")),
            None => "write a name that begins with net. such as net.ipv4.tcp_ecn".into(),
        };
        self.mistake("E0208", name.span(), message, Some(help));
    }

    fn netfilter(&mut self, step: &Spanned<Step>, written: &Netfilter) -> Option<step::Step> {
        let hooks: Vec<_> = netfilter::HOOKS.iter().map(|(name, hook, _)| (*name, *hook)).collect();
        let hook = match &written.hook {
            Some(hook) => self.word(hook, "hook", &hooks),
            None => Some(netfilter::Hook::default()),
        };
        let Some(rule) = &written.rule else {
            if !self.was_removed(&["config".into()]) {
                let help = "write { netfilter = { rule = \"dscp set 46\" } }";
                let message = "this step has no `rule`";
                self.mistake("E0103", step.span(), message, Some(help.into()));
            }
            return None;
        };
        let is_iptables = rule.get_ref().trim_start().starts_with(['-', '!'])
            || rule.get_ref().contains(" -j ")
            || rule.get_ref().trim_start().starts_with("iptables");
        if is_iptables {
            let help = "write it as nft(8) reads it, without table and chain: \"dscp set 46\" in place of \
                        -t mangle -A OUTPUT -j DSCP --set-dscp 46; iptables-translate translates rules";
            let message = "this is a rule of iptables, not of nftables";
            self.mistake("E0213", rule.span(), message, Some(help.into()));
        } else if let Some(fault) = netfilter::fault(rule.get_ref()) {
            let help = "write one rule as nft(8) reads it, such as dscp set 46, which is for both IP versions";
            let message = format!("this rule {fault}");
            self.mistake("E0213", rule.span(), message, Some(help.into()));
        }
        Some(step::Step::Netfilter(step::Netfilter { rule: rule.get_ref().clone(), hook: hook? }))
    }

    fn route(&mut self, written: &Route) -> step::Route {
        let features: Vec<_> = route::FEATURES.iter().map(|(name, _)| (*name, *name)).collect();
        let chosen = written.features.iter();
        let chosen: Vec<_> =
            chosen.map(|feature| self.word(feature, "feature", &features)).collect();
        if let (Some(lock), None) = (&written.mtu_lock, &written.mtu) {
            let help = "write the mtu to lock as well";
            let message = "`mtu_lock` locks an MTU, but there is no `mtu`";
            self.mistake("E0215", lock.span(), message, Some(help.into()));
        }
        if let Some(name) = &written.congctl {
            self.congestion(name.span(), name.get_ref());
        }
        step::Route {
            features: chosen.into_iter().flatten().collect(),
            advmss: self.metric("advmss", written.advmss.as_ref()),
            initcwnd: self.metric("initcwnd", written.initcwnd.as_ref()),
            mtu: self.metric("mtu", written.mtu.as_ref()),
            mtu_lock: written.mtu_lock.as_ref().is_some_and(|lock| *lock.get_ref()),
            hoplimit: self.metric("hoplimit", written.hoplimit.as_ref()),
            congctl: written.congctl.as_ref().map(|name| name.get_ref().clone()),
            quickack: written.quickack,
            fastopen_no_cookie: written.fastopen_no_cookie,
        }
    }

    fn metric(&mut self, name: &str, value: Option<&Spanned<i64>>) -> Option<u32> {
        let value = value?;
        let (_, range) = METRICS.iter().find(|(metric, _)| *metric == name)?;
        self.range(name, value.span(), *value.get_ref(), range)?;
        u32::try_from(*value.get_ref()).ok()
    }

    /// Checks a name of the kernel, which becomes part of a netlink message or a socket option.
    fn congestion(&mut self, span: std::ops::Range<usize>, name: &str) {
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > 15 || !name.bytes().all(is_word) {
            let message = "invalid name of a congestion control";
            let help = "see sysctl net.ipv4.tcp_available_congestion_control: cubic, reno, bbr";
            self.mistake("E0214", span, message, Some(help.into()));
        }
    }

    fn sockopt(&mut self, name: &Text, value: &Spanned<SockoptValue>) -> Option<Sockopt> {
        let span = value.span();
        if name.get_ref() == "raw" {
            if let SockoptValue::List(list) = value.get_ref()
                && let [level, option, value] = list.as_slice()
            {
                let small = |number: &i64| i32::try_from(*number).ok();
                if let (Some(level), Some(name), Some(value)) =
                    (small(level), small(option), small(value))
                {
                    return Some(Sockopt::Raw { level, name, value });
                }
            }
            let help = "write three numbers of 32 bits: raw = [6, 30, 1]";
            let message = "`raw` takes level, option and value";
            self.mistake("E0102", span, message, Some(help.into()));
            return None;
        }
        let words: Vec<_> = SOCKOPTS.iter().map(|row| (row.name, row)).collect();
        let row = self.word(name, "socket option", &words)?;
        let value = match (&row.takes, value.get_ref()) {
            (Takes::Integer(range), SockoptValue::Integer(number)) => {
                self.range(row.name, span, *number, range)?;
                Value::Integer(*number)
            }
            (Takes::Boolean, SockoptValue::Boolean(value)) => Value::Boolean(*value),
            (Takes::Text, SockoptValue::Text(text)) => {
                self.congestion(span, text);
                Value::Text(text.clone())
            }
            (takes, written) => {
                let help = self.instead(row, written);
                let takes = match takes {
                    Takes::Integer(_) => "a whole number",
                    Takes::Text => "a string",
                    Takes::Boolean => "true or false",
                };
                self.mistake("E0102", span, format!("`{}` takes {takes}", row.name), Some(help));
                return None;
            }
        };
        Some(Sockopt::Named(row, value))
    }

    /// The remedy for a value of the wrong type.
    fn instead(&self, row: &SockoptDef, written: &SockoptValue) -> String {
        let text = match written {
            SockoptValue::Text(text) => text.trim(),
            _ => "",
        };
        let is_class = is_class(row);
        let number = match (text.strip_prefix("0x"), text.parse::<i64>()) {
            (Some(digits), _) => i64::from_str_radix(digits, 16).ok(),
            (_, Ok(number)) => Some(number),
            _ if is_class => codepoint(text).map(|dscp| 4 * dscp),
            _ => None,
        };
        match (text.strip_prefix('$'), number, &row.takes) {
            (Some(name), ..) if is_name(name) => {
                format!("write \"${{{name}}}\" for the value of a param")
            }
            (_, Some(number), Takes::Integer(_)) => {
                format!("write {} = {number}, without quotes", row.name)
            }
            (_, _, Takes::Integer(_)) => {
                format!("write a number, as in {} = {}", row.name, row.example)
            }
            _ => format!("write {} = {}", row.name, row.example),
        }
    }

    /// Reports steps of one configuration that contradict each other.
    pub(super) fn contradictions(&mut self, steps: &[Spanned<Step>]) {
        let marks = |step: &Step| {
            matches!(step, Step::TrafficClass(_) | Step::Netfilter(_) | Step::Route(_))
        };
        let marked = steps.iter().any(|step| marks(step.get_ref()));
        let mut set: Vec<&str> = Vec::new();
        for step in steps {
            let names: Vec<&Text> = match step.get_ref() {
                Step::Sysctl(settings) => settings.keys().collect(),
                Step::Sockopt(options) => {
                    options.keys().filter(|name| name.get_ref() != "raw").collect()
                }
                _ => continue,
            };
            for name in names {
                let text = name.get_ref().as_str();
                let same = |other: &&str| *other == text || step::is_same_sysctl(other, text);
                if set.iter().any(same) {
                    let message = format!("`{text}` is already set in this configuration");
                    let help = "remove one of the two: only the last would count".to_owned();
                    self.mistake("E0215", name.span(), message, Some(help));
                } else if text == "mark" && marked {
                    let message = "traffic_class, netfilter and route steps identify this configuration's packets by a mark of their own";
                    let help = "remove `mark`, or those steps".to_owned();
                    self.mistake("E0215", name.span(), message, Some(help));
                }
                set.push(text);
            }
        }
    }
}

/// The places of the steps that a written step becomes, if it is valid.
pub(super) fn places(step: &Spanned<Step>) -> Vec<Range<usize>> {
    // From a name to the end of its value; a substituted value has the place of the original.
    fn entries<T>(table: &BTreeMap<Text, Spanned<T>>) -> Vec<Range<usize>> {
        let mut places: Vec<_> = table
            .iter()
            .map(|(name, value)| name.span().start..value.span().end.max(name.span().end))
            .collect();
        places.sort_by_key(|place| place.start);
        places
    }
    match step.get_ref() {
        Step::Sysctl(settings) => entries(settings),
        Step::Sockopt(options) => entries(options),
        Step::Netfilter(written) => {
            vec![written.rule.as_ref().map_or(step.span(), Spanned::span)]
        }
        Step::Command(written) => {
            let words = [written.run.as_ref(), written.undo.as_ref()].into_iter().flatten();
            let whole =
                words.map(Spanned::span).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
            vec![whole.unwrap_or(step.span())]
        }
        Step::TrafficClass(_) | Step::Route(_) => vec![step.span()],
    }
}

/// Whether a name stays below /proc/sys/net, whatever separator is used.
fn is_sysctl(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    let mut parts = name.split(['.', '/']);
    name.len() <= 200
        && name.bytes().all(allowed)
        && parts.next() == Some("net")
        && name.contains(['.', '/'])
        && parts.all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_stay_below_net() {
        for good in ["net.ipv4.tcp_ecn", "net.ipv4.conf.eth0/1.forwarding", "net/core/rmem_max"] {
            assert!(is_sysctl(good), "{good}");
        }
        for bad in [
            "",
            "net",
            "net.",
            "kernel.hostname",
            "net..x",
            "net/../kernel",
            "net.ipv4/..",
            "/net.x",
            "net.X",
        ] {
            assert!(!is_sysctl(bad), "{bad}");
        }
    }
}
