//! What to write in place of a value of the wrong type, or of a key that does not exist. Examples are those of the JSON
//! Schema, so that editors and messages say the same.

use std::sync::OnceLock;

use serde_json::Value;

use super::mistake::Path;
use super::schema::schema;
use super::words::{DURATION, SIZE};
use crate::error::{did_you_mean, nearest};
use crate::record::CONFIGURATIONS;

/// Keys that people expect in some place, and what does it: the last key of the place (empty for the top), the key, and
/// what to write.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("", "include", "write extends = \"ecn\" to build on another measurement"),
    ("", "import", "write extends = \"ecn\" to build on another measurement"),
    ("", "base", "write extends = \"ecn\" to build on another measurement"),
    ("", "steps", "steps belong to a configuration: [config.one]"),
    ("", "sweep", "a sweep belongs to a configuration: [config.one]"),
    ("", "timeout", "it belongs to [connect]"),
    ("", "kind", "it belongs to [connect]"),
    ("", "lab", "the lab has a file of its own; `run --lab` needs nothing here"),
    ("", "targets", "targets are a file of their own: run --targets FILE"),
    (
        "connect",
        "port",
        "the port belongs to the target: in the list, or with --port for those without one",
    ),
    (
        "connect",
        "ports",
        "the port belongs to the target: in the list, or with --port for those without one",
    ),
    (
        "connect",
        "retries",
        "the kernel retransmits within `timeout`; `repeat` makes several connections",
    ),
    ("connect", "keep", "it belongs to [connect.after]"),
    ("connect", "resolve", "it belongs to [connect.prepare]"),
    ("connect", "probe", "it belongs to [connect.prepare]"),
    ("config", "timeout", "write connect = { timeout = \"3s\" }, or set it for all in [connect]"),
    ("config", "kind", "write connect = { kind = \"http\" }"),
    ("config", "packet", "write connect = { packet = { ... } }"),
    ("config", "name", "write title: the name is that of the section"),
    ("config", "sysctl", "write steps = [{ sysctl = { \"net.ipv4.tcp_ecn\" = 1 } }]"),
    ("config", "netfilter", "write steps = [{ netfilter = { rule = \"dscp set 46\" } }]"),
    ("config", "sockopt", "write steps = [{ sockopt = { ip_tos = 184 } }]"),
    ("config", "route", "write steps = [{ route = { features = [\"ecn\"] } }]"),
    ("config", "command", "write steps = [{ command = { run = [\"dish\", \"east\"] } }]"),
    ("conditions", "if", "write given = \"...\""),
    (
        "conditions",
        "when",
        "write first_of = [{ is = \"seen\", when = \"...\" }, { is = \"not_seen\" }]",
    ),
    (
        "conditions",
        "is",
        "write first_of = [{ is = \"seen\", when = \"...\" }, { is = \"not_seen\" }]",
    ),
    ("conditions", "expression", "write value = \"...\" for a number, or first_of for words"),
];

/// Words that people write for a kind of step, and what does it.
const STEPS: &[(&[&str], &str)] = &[
    (
        &["iptables", "nft", "nftables", "rule", "firewall"],
        "write netfilter = { rule = \"dscp set 46\" }",
    ),
    (&["tos", "ip_tos", "ttl", "ip_ttl", "setsockopt"], "write sockopt = { ip_tos = 184 }"),
    (
        &["exec", "run", "shell", "script", "program"],
        "write command = { run = [\"dish\", \"east\"] }",
    ),
    (&["ip", "mtu", "mss", "advmss", "routes"], "write route = { advmss = 1400 }"),
];

/// Words that people write for the baseline.
const BASELINES: [&str; 7] = ["baseline", "base", "control", "reference", "default", "off", "0"];

/// What to write for an unknown key. `known` are the keys of its table.
pub(super) fn unknown_key(path: &Path, wrong: &str, known: &[&str]) -> String {
    let parents = path.split_last().map_or(&[][..], |(_, parents)| parents);
    let place = match parents {
        [] => "",
        [config, _] if config == "config" => "config",
        [conditions, _] if conditions == "conditions" => "conditions",
        [connect] => connect.as_str(),
        [.., last] => last.as_str(),
    };
    if known.contains(&"sysctl")
        && let Some((_, help)) = STEPS.iter().find(|(words, _)| words.contains(&wrong))
    {
        return (*help).to_owned();
    }
    if place == "config" && parents.len() == 1 && BASELINES.contains(&wrong) {
        return "the baseline is called zero: write [config.zero]".to_owned();
    }
    if place == "config" && parents.len() == 1 {
        let near = did_you_mean(wrong, known.iter().copied());
        return near.unwrap_or_else(|| {
            format!(
                "configurations are called {}, {}, {} and so on: write [config.one]",
                CONFIGURATIONS[0], CONFIGURATIONS[1], CONFIGURATIONS[2]
            )
        });
    }
    let expected = EXPECTED.iter().find(|(at, key, _)| *at == place && *key == wrong);
    if let Some((_, _, help)) = expected {
        return (*help).to_owned();
    }
    did_you_mean(wrong, known.iter().copied())
        .or_else(|| {
            Some(format!(
                "did you mean `{}`?",
                known.iter().find(|key| key.starts_with(&format!("{wrong}_")))?
            ))
        })
        .unwrap_or_else(|| format!("valid here: {}", known.join(", ")))
}

/// Whether a wrong key at the top stands for this section.
pub(super) fn stands_for(path: &Path, section: &str) -> bool {
    matches!(path.as_slice(), [key] if nearest(key, [section]).is_some())
}

/// What to write in place of a value of the wrong type: `written` is its text in the file.
pub(super) fn instead(path: &Path, written: &str) -> Option<String> {
    let key = path.iter().rev().find(|key| key.parse::<usize>().is_err())?;
    if let [params, name] = path.as_slice()
        && params == "params"
    {
        return Some(format!(
            "write {name} = {{ default = {} }}",
            if written.is_empty() { "46" } else { written }
        ));
    }
    if written.starts_with("[[") {
        return Some(format!("write [{key}], with one bracket on each side: there is one of it"));
    }
    let node = node(path)?;
    let is = |kind: &str| match node.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(kinds)) => kinds.iter().any(|known| known == kind),
        _ => false,
    };
    let text = unquoted(written);
    let assigned = |value: &str| Some(format!("write {key} = {value}"));
    let is_member = path.last().is_some_and(|last| last != key);
    let example = example(node);
    if is("array") && !is_member && text.is_some_and(|text| text.starts_with("${")) {
        return Some(format!("let the param be a list: default = {}", toml_of(example?)));
    }
    if is("array")
        && let Some(text) = text.filter(|text| text.contains(','))
    {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        if parts.iter().all(|part| part.parse::<i64>().is_ok()) {
            return assigned(&format!("[{}]", parts.join(", ")));
        }
    }
    if is("array") && !is_member {
        return match written.chars().next() {
            // A section, and not an inline table.
            Some('[') => {
                Some(format!("write [[{}]], with two brackets on each side", path.join(".")))
            }
            Some('{') => assigned(&format!("[{written}]")),
            Some('"' | '\'') if key == "run" || key == "undo" => {
                let words = text.unwrap_or_default().split_whitespace();
                let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
                assigned(&format!("[{}]", words.join(", ")))
            }
            Some(_)
                if !written.contains('\n')
                    && written.len() < 80
                    && example.is_some_and(|e| fits(e, written)) =>
            {
                assigned(&format!("[{written}]"))
            }
            _ => assigned(&toml_of(example?)),
        };
    }
    if is("integer")
        && let Some(text) = text
    {
        let digits = text.trim();
        let number = match digits.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        };
        if let Some(number) = number {
            return Some(format!("write {key} = {number}, without quotes"));
        }
    }
    if is("boolean")
        && let Some(text) = text
    {
        let lower = text.to_ascii_lowercase();
        let value = match lower.as_str() {
            "true" | "yes" | "on" => Some("true"),
            "false" | "no" | "off" => Some("false"),
            _ => None,
        };
        if let Some(value) = value {
            return Some(format!("write {key} = {value}, without quotes"));
        }
    }
    if key == "kind" && written.starts_with('[') {
        return Some(format!(
            "write one kind, as in kind = \"http\"; those that a user may choose instead are kinds = {written}"
        ));
    }
    if is("string") && !is("integer") {
        let is_number = written.parse::<f64>().is_ok();
        let pattern = node.get("pattern").and_then(Value::as_str);
        let unit = [(DURATION, "s"), (SIZE, "B")].into_iter().find(|(of, _)| pattern == Some(*of));
        if let (Some((_, unit)), Ok(_)) = (unit, written.parse::<u32>()) {
            return Some(format!("write it with its unit, in quotes: {key} = \"{written}{unit}\""));
        }
        let is_sql = matches!(key.as_str(), "when" | "given" | "value");
        if is_sql && written.starts_with('[') {
            let parts: Vec<&str> = written
                .trim_matches(['[', ']'])
                .split(',')
                .filter_map(|part| unquoted(part.trim()))
                .collect();
            if parts.len() > 1 {
                return Some(format!("write one expression: {key} = \"{}\"", parts.join(" AND ")));
            }
        }
        if is_sql && matches!(written, "true" | "false") {
            let example = toml_of(example?);
            return Some(format!(
                "an expression is a text, as in {key} = {example}; the last entry may be without `when`"
            ));
        }
        if is_number && unit.is_none() && !is_sql {
            return assigned(&format!("\"{written}\""));
        }
    }
    assigned(&toml_of(example?))
}

/// Whether a value as written looks like the members of an example.
fn fits(example: &Value, written: &str) -> bool {
    match example.as_array().and_then(|items| items.first()) {
        Some(Value::String(_)) => unquoted(written).is_some(),
        Some(Value::Number(_)) => written.parse::<f64>().is_ok(),
        _ => false,
    }
}

/// The text between quotes.
fn unquoted(written: &str) -> Option<&str> {
    let quoted = |quote: char| written.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\''))
}

/// The schema of a place; `None` for one that the schema does not have.
fn node(path: &Path) -> Option<&'static Value> {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    let root = SCHEMA.get_or_init(schema);
    let followed = |mut node: &'static Value| {
        while node.get("examples").is_none()
            && let Some(reference) = node.get("$ref").and_then(Value::as_str)
        {
            node = root.pointer(reference.trim_start_matches('#'))?;
        }
        Some(node)
    };
    let inner = |node: &'static Value| match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')),
        None => Some(node),
    };
    let mut node = root;
    for key in path {
        let table = inner(node)?;
        let next = match key.parse::<usize>() {
            Ok(_) => table.get("items"),
            Err(_) => {
                let properties = table.get("properties").and_then(|properties| properties.get(key));
                let patterns = || table.get("patternProperties")?.as_object()?.values().next();
                let others = || table.get("additionalProperties").filter(|other| other.is_object());
                properties.or_else(patterns).or_else(others)
            }
        };
        node = next?;
    }
    followed(node)
}

fn example(node: &Value) -> Option<&Value> {
    node.get("examples").and_then(Value::as_array).and_then(|examples| examples.first())
}

/// A value of JSON as TOML in one line.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let bare = |key: &str| {
                key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            };
            let pair = |(key, value): (&String, &Value)| match bare(key) {
                true => format!("{key} = {}", toml_of(value)),
                false => format!("\"{key}\" = {}", toml_of(value)),
            };
            format!("{{ {} }}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
