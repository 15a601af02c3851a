//! The JSON Schema: the committed one is the one that the program would generate
//! (`UPDATE_GOLDENS=1 cargo test --test schema` writes it anew), it says of files what the program
//! says of them, and `tests/format/exhaustive*.toml` have every key that it knows.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow_schema::Fields;
use pathspider::connect::KINDS;
use pathspider::measurement::{Plan, SHIPPED, schema};
use pathspider::step::{STEPS, netfilter::HOOKS, sockopt::SOCKOPTS};
use serde_json::Value;

/// Broken files that a schema cannot know to be broken, each with the reason.
const BEYOND_SCHEMAS: &[(&str, &str)] = &[
    ("too-much", "how long a text becomes"),
    ("locate-label", "one key against another"),
    ("alone-compare", "columns"),
    ("alone-refers-to-one", "columns"),
    ("between-same", "one value against another"),
    ("between-unknown", "one key against another"),
    ("branch-without-when", "the place in a list"),
    ("compare-number", "SQL"),
    ("compare-not-boolean", "columns"),
    ("compare-unknown", "columns"),
    ("calc-in-text", "values of params"),
    ("calc-name", "names of params"),
    ("calc-one-of-sweep", "values of a sweep"),
    ("calc-open", "balance"),
    ("calc-fraction", "values of params"),
    ("calc-overflow", "values of params"),
    ("calc-range", "values of params"),
    ("calc-text", "values of params"),
    ("calc-zero", "values of params"),
    ("param-list-in-text", "values of params"),
    ("sweep-param-scalar", "values of params"),
    ("sweep-value-twice", "one value against another"),
    ("sweep-too-many", "products"),
    ("extends-absolute", "files"),
    ("extends-elsewhere", "names of measurements"),
    ("extends-itself", "files"),
    ("extends-missing", "files"),
    ("extends-not-toml", "files"),
    ("extends-unknown", "names of measurements"),
    ("command-line", "shells"),
    ("command-sign", "shells"),
    ("netfilter-iptables", "nftables"),
    ("condition-twice", "one item against another"),
    ("config-gap", "counting"),
    ("confirm-spread", "how long a text stands for"),
    ("connect-column-elsewhere", "what a kind provides"),
    ("connect-keep", "what a kind provides"),
    ("connect-keep-anyway", "what a kind provides"),
    ("connect-keep-near", "what a kind provides"),
    ("connect-option", "what a kind takes"),
    ("connect-padded-h2", "what a version takes"),
    ("connect-version-alpn", "one key against another"),
    ("connect-version-kind", "what a kind takes"),
    ("connect-own-timeout", "the value of a duration"),
    ("label-twice", "one item against another"),
    ("missing-setup", "one chain against another"),
    ("netfilter-brace", "balance"),
    ("never-true", "SQL"),
    ("never-when", "SQL"),
    ("not-boolean", "SQL"),
    ("connect-read-kind", "what a kind takes"),
    ("connect-read-much", "the value of a size"),
    ("edns-kind", "what a kind takes"),
    ("packet-length-query", "one key against another"),
    ("packet-length-short", "one key against another"),
    ("packet-edns-alone", "one key against another"),
    ("packet-answer-dns", "one key against another"),
    ("packet-answer-syn-ack", "one key against another"),
    ("packet-unused", "one key against another"),
    ("packet-inherited-protocol", "one key against another"),
    ("packet-kind", "what a kind takes"),
    ("packet-options-long", "sums"),
    ("packet-other-protocol", "one key against another"),
    ("packet-param", "values of params"),
    ("param-inside", "names of params"),
    ("param-none", "names of params"),
    ("param-open", "names of params"),
    ("param-unknown", "names of params"),
    ("param-value-duration", "values of params"),
    ("param-value-type", "values of params"),
    ("setup-missing-with-use", "one chain against another"),
    ("sockopt-mark", "one step against another"),
    ("sweep-column", "columns"),
    ("sweep-condition-column", "columns"),
    ("sweep-mixed", "one value against another"),
    ("sweep-not-last", "one key against another"),
    ("sweep-outside", "names of params"),
    ("sweep-param", "one key against another"),
    ("sweep-unnamed", "names of params"),
    ("sweep-value-range", "values of a sweep"),
    ("sweep-zero", "one configuration against another"),
    ("sysctl-twice", "one step against another"),
    ("timeout-long", "the value of a duration"),
    ("too-deep", "SQL"),
    ("too-long", "SQL"),
    ("type-mismatch", "SQL"),
    ("zero-timeout", "the value of a duration"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// A TOML file as a validator of JSON sees it; none if it is not TOML.
fn json(text: &str) -> Option<Value> {
    toml::from_str(text).ok()
}

#[test]
fn the_schema_is_current() {
    let path = root().join("schema/measurement.schema.json");
    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == current,
        "{} is stale: UPDATE_GOLDENS=1 cargo test --test schema",
        path.display()
    );
}

/// Whatever may be written as a name is known to the editor, with its explanation.
#[test]
fn every_registry_is_in_the_schema() {
    let schema = schema().to_string();
    let functions =
        pathspider::chain::functions().map(|(_, function)| (function.name, function.doc));
    let groups = pathspider::chain::GROUPS.iter().map(|group| (group.name, group.doc));
    let kinds = KINDS.iter().map(|row| (row.name, row.doc));
    let steps = STEPS.iter().map(|row| (row.name, row.doc));
    let hooks = HOOKS.iter().map(|(name, _, doc)| (*name, *doc));
    let sockopts = SOCKOPTS.iter().map(|row| (row.name, row.doc));
    for (name, doc) in
        functions.chain(groups).chain(kinds).chain(steps).chain(hooks).chain(sockopts)
    {
        assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        assert!(schema.contains(doc), "{name}: {doc}");
    }
    assert!(!schema.contains("null"), "TOML has no null");
}

#[test]
fn the_schema_takes_what_the_program_takes() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let shipped = SHIPPED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let mut good: Vec<_> = shipped.collect();
    good.extend(files("measurements"));
    good.extend(files("tests/format"));
    for (name, text) in good {
        if let Err(report) = Plan::load(&name, &text, &Fields::empty()) {
            panic!("{report}");
        }
        let document = json(&text).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&document)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn the_schema_refuses_what_it_can() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut wrong = Vec::new();
    let (mut refused, mut broken) = (0, 0);
    for (name, text) in files("tests/diagnostics") {
        // Nor does a schema know hosts.
        if name.starts_with("lab-") || name.starts_with("host-") {
            continue;
        }
        broken += 1;
        let taken = json(&text).is_some_and(|document| validator.is_valid(&document));
        // Of an expression a schema knows only that it is a string, and a warning refuses nothing.
        let beyond = name.starts_with("sql-")
            || name.starts_with("warn-")
            || name.starts_with("unknown-column")
            || BEYOND_SCHEMAS.iter().any(|(known, _)| *known == name);
        if taken != beyond {
            wrong.push(format!("{name}: {}", if taken { "taken" } else { "refused" }));
        }
        refused += usize::from(!taken);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(broken >= 60 && refused >= 40, "{refused} of {broken}");
}

/// Walks every key below a schema.
fn walk(root: &Value, schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &str, &Value)) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(name.trim_start_matches('#')).unwrap();
        walk(root, target, path, visit);
    }
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        visit(path, key, inner);
        walk(root, inner, &format!("{path}.{key}"), visit);
    }
    if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
        walk(root, inner, &format!("{path}.*"), visit);
    }
    if let Some(items) = schema.get("items") {
        walk(root, items, path, visit);
    }
    for forms in ["anyOf", "oneOf", "allOf"] {
        for form in schema.get(forms).and_then(Value::as_array).into_iter().flatten() {
            walk(root, form, path, visit);
        }
    }
}

/// Every key of a file, with the keys above it.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, found)),
        Value::Object(map) => {
            for (key, inner) in map {
                // Names that the author gives are one key to the schema.
                let of_observer = path.strip_prefix(".observer.");
                let folds = ["count", "any", "first", "last", "min", "max"];
                let named = path == ".params" || of_observer.is_some_and(|of| folds.contains(&of));
                let path = format!("{path}.{}", if named { "*" } else { key });
                keys(inner, &path, found);
                found.insert(path);
            }
        }
        _ => {}
    }
}

/// In which configuration a key stands does not matter, nor whether a packet is that of all: no
/// packet can have every key.
fn any_config(path: &str) -> String {
    if let Some((_, key)) = path.split_once(".connect.packet.") {
        return format!(".connect.packet.{key}");
    }
    let mut parts: Vec<&str> = path.split('.').collect();
    if parts.len() > 3 && parts[1] == "config" {
        parts[2] = "*";
    }
    parts.join(".")
}

#[test]
fn the_exhaustive_file_has_every_key() {
    let schema = schema();
    let mut found = BTreeSet::new();
    for (name, text) in files("tests/format") {
        if name.starts_with("exhaustive") {
            keys(&json(&text).unwrap(), "", &mut found);
        }
    }
    let found: BTreeSet<String> = found.iter().map(|path| any_config(path)).collect();
    let mut missing = BTreeSet::new();
    let mut count = 0;
    walk(&schema, &schema, "", &mut |path, key, _| {
        count += 1;
        let key = any_config(&format!("{path}.{key}"));
        if !found.contains(&key) {
            missing.insert(key);
        }
    });
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 80, "only {count} keys were found in the schema");
}

#[test]
fn every_key_is_described_with_an_example() {
    let schema = schema();
    let mut bare = BTreeSet::new();
    walk(&schema, &schema, "", &mut |path, key, inner| {
        let example = inner.get("examples").and_then(Value::as_array);
        if inner.get("description").is_none() || example.is_none_or(Vec::is_empty) {
            bare.insert(format!("{path}.{key}"));
        }
    });
    assert!(bare.is_empty(), "{bare:#?}");
}

/// An example that the schema itself refuses would teach a mistake.
#[test]
fn examples_and_defaults_are_right() {
    let schema = schema();
    let mut wrong = Vec::new();
    walk(&schema, &schema, "", &mut |path, key, inner| {
        let mut alone = inner.clone();
        alone["$defs"] = schema["$defs"].clone();
        let validator = jsonschema::validator_for(&alone).unwrap();
        let examples = inner.get("examples").and_then(Value::as_array).into_iter().flatten();
        for value in examples.chain(inner.get("default")) {
            if !validator.is_valid(value) {
                wrong.push(format!("{path}.{key}: {value}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An editor that says "not valid under any of these" of a whole table does not say where in it the mistake is.
#[test]
fn mistakes_are_placed_at_their_key() {
    let schema = schema();
    assert!(!schema.to_string().contains("\"oneOf\""), "a mistake would be that of a whole table");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, text) in files("tests/diagnostics") {
        let Some(document) = json(&text).filter(|_| !name.starts_with("lab-")) else { continue };
        for fault in validator.iter_errors(&document) {
            let (path, said) = (fault.instance_path().to_string(), fault.to_string());
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            let counted = said.contains("propert");
            // A step as a whole has a wrong number of kinds, or an unknown one, or is none.
            if let ["config", _, "steps", _] = parts.as_slice()
                && !counted
                && !said.contains("is not of type")
            {
                wrong.push(format!("{name}: {path}: {said}"));
            }
            if said.contains("anyOf") {
                wrong.push(format!("{name}: {path}: {said}"));
            }
            seen.insert((name.clone(), path, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (name, path, part) in [
        ("sockopt-range", "/config/one/steps/0/sockopt/ip_tos", "maximum of 255"),
        ("route-range", "/config/one/steps/0/route/hoplimit", "maximum of 255"),
        ("netfilter-key", "/config/one/steps/0/netfilter", "'rules' was unexpected"),
        ("netfilter-hook", "/config/one/steps/0/netfilter/hook", "is not one of"),
        ("kind-udp", "/connect/kind", "is not one of"),
        ("step-two-kinds", "/config/one/steps/0", "more than 1 property"),
        ("unknown-step", "/config/one/steps/0", "was unexpected"),
        ("condition-two-questions", "/conditions/0", "False schema"),
        ("packet-two-payloads", "/config/one/connect/packet/question", "False schema"),
    ] {
        let said = |(file, at, said): &&(String, String, String)| {
            file == name && at.starts_with(path) && said.contains(part)
        };
        let of_file: Vec<_> = seen.iter().filter(|(file, ..)| file == name).collect();
        assert!(seen.iter().any(|found| said(&found)), "{name}: {path}: {part}: {of_file:#?}");
    }
}
