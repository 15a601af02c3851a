//! The descriptor of an RO-Crate 1.3 with the profile Process Run Crate 0.6: who ran which program on what, with which result.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::folder::{Entry, Folder, Kind};
use super::{Author, Description, RECORDS, REPOSITORY};
use crate::run::counts;

/// The name of the descriptor.
pub(super) const NAME: &str = "ro-crate-metadata.json";
const SPECIFICATION: &str = "https://w3id.org/ro/crate/1.3";
const PROFILE: &str = "https://w3id.org/ro/wfrun/process/0.6";
const DATA_PACKAGE: &str = "https://datapackage.org/profiles/2.0/datapackage.json";
const TERMS: &str = "https://w3id.org/ro/terms/workflow-run/context";

/// Keys of the metadata that are settings of the run.
const SETTINGS: [&str; 14] = [
    "rate",
    "rate_per_address",
    "rate_per_prefix",
    "prefix_lengths",
    "order",
    "seed",
    "confirm_rounds",
    "control_share",
    "shard",
    "connect",
    "port",
    "interface",
    "kernel",
    "libpcap",
];

/// A reference to another entity.
fn id(of: &str) -> Value {
    json!({ "@id": of })
}

/// A list of references; a single one stands alone.
fn ids<T: AsRef<str>>(of: impl IntoIterator<Item = T>) -> Value {
    let mut all: Vec<Value> = of.into_iter().map(|of| id(of.as_ref())).collect();
    match all.len() {
        1 => all.remove(0),
        _ => Value::Array(all),
    }
}

/// The descriptor of all files so far.
pub(super) fn of(description: &Description<'_>, folder: &Folder) -> Value {
    let settings = settings(description);
    let counts: Vec<Value> = counts::KEYS
        .iter()
        .filter_map(|key| Some((key, description.account.number(key)?)))
        .map(|(key, count)| property(&format!("#count-{key}"), key, count.into()))
        .collect();
    let conditions = conditions(description);
    let mut graph = vec![
        json!({
            "@id": NAME, "@type": "CreativeWork", "about": id("./"), "conformsTo": id(SPECIFICATION),
        }),
        root(description, folder, &conditions),
        json!({ "@id": PROFILE, "@type": ["CreativeWork", "Profile"], "name": "Process Run Crate", "version": "0.6" }),
        json!({
            "@id": REPOSITORY, "@type": "SoftwareApplication", "name": "pathspider", "url": REPOSITORY,
            "version": description.value("version"),
        }),
        action(description, &settings, &counts),
    ];
    graph.extend(folder.entries().iter().map(file));
    graph.push(json!({
        "@id": DATA_PACKAGE, "@type": ["CreativeWork", "Profile"], "name": "Data Package", "version": "2.0",
    }));
    graph.extend(people(description));
    let licence = &description.request.licence;
    graph.push(json!({
        "@id": licence.url(), "@type": "CreativeWork", "name": licence.name(), "identifier": licence.url(),
        "description": format!("The licence {}", licence.id),
    }));
    graph.extend(settings.into_iter().chain(counts).chain(conditions));
    json!({ "@context": [format!("{SPECIFICATION}/context"), TERMS], "@graph": graph })
}

fn root(description: &Description<'_>, folder: &Folder, conditions: &[Value]) -> Value {
    let request = description.request;
    let mut root = json!({
        "@id": "./",
        "@type": "Dataset",
        "name": description.title,
        "description": description.text,
        "datePublished": description.ended.get(..10).unwrap_or_default(),
        "license": id(&request.licence.url()),
        "conformsTo": id(PROFILE),
        "author": ids(authors(description)),
        "keywords": description.keywords,
        "temporalCoverage": format!("{}/{}", description.started, description.ended),
        "mainEntity": id(RECORDS),
        "hasPart": ids(folder.entries().iter().map(|entry| &entry.path)),
        "mentions": id(&action_id(description)),
    });
    if !conditions.is_empty() {
        root["variableMeasured"] = ids(conditions.iter().filter_map(|of| of["@id"].as_str()));
    }
    let institution = request.authors.iter().find_map(institution_id);
    root["publisher"] = id(&institution.unwrap_or_else(|| author_id(description, 0)));
    root
}

fn action_id(description: &Description<'_>) -> String {
    format!("urn:uuid:{}", description.uuid())
}

fn action(description: &Description<'_>, settings: &[Value], counts: &[Value]) -> Value {
    let is_complete = description.value("complete") == "true";
    let status = if is_complete { "CompletedActionStatus" } else { "FailedActionStatus" };
    let objects = settings.iter().filter_map(|setting| setting["@id"].as_str());
    let mut action = json!({
        "@id": action_id(description),
        "@type": "CreateAction",
        "name": "Run of the measurement",
        "description": match description.value("command_line") {
            "" => "The measurement was run; the command line is not published.",
            line => line,
        },
        "startTime": description.started,
        "endTime": description.ended,
        "instrument": id(REPOSITORY),
        "agent": id(&author_id(description, 0)),
        "object": ids(["measurement.toml"].into_iter().chain(objects)),
        "result": id(RECORDS),
        "actionStatus": format!("http://schema.org/{status}"),
    });
    if !counts.is_empty() {
        action["additionalProperty"] = ids(counts.iter().filter_map(|of| of["@id"].as_str()));
    }
    action
}

fn property(at: &str, name: &str, value: Value) -> Value {
    json!({ "@id": at, "@type": "PropertyValue", "propertyID": name, "name": name, "value": value })
}

/// The params of the measurement and the settings of the run.
fn settings(description: &Description<'_>) -> Vec<Value> {
    let params: BTreeMap<String, String> =
        serde_json::from_str(description.value("params")).unwrap_or_default();
    let params = params
        .iter()
        .map(|(name, value)| property(&format!("#param-{name}"), name, value.as_str().into()));
    let known = SETTINGS.iter().filter_map(|key| Some((key, description.account.value(key)?)));
    let settings = known.map(|(key, value)| property(&format!("#set-{key}"), key, value.into()));
    params.chain(settings).collect()
}

/// The conditions with the SQL that concludes them.
fn conditions(description: &Description<'_>) -> Vec<Value> {
    let sql: serde_json::Map<String, Value> =
        serde_json::from_str(description.value("conditions_sql")).unwrap_or_default();
    let conditions = description.account.about.conditions.iter().map(|condition| {
        let name = &condition.name;
        let sql = sql.get(name).and_then(Value::as_str).unwrap_or_default();
        json!({
            "@id": format!("#condition-{name}"), "@type": "PropertyValue", "propertyID": name, "name": name,
            "description": format!("Concluded by this SQL over the records: {sql}"),
        })
    });
    conditions.collect()
}

fn file(entry: &Entry) -> Value {
    let Entry { path, kind, doc, bytes, sha256, .. } = entry;
    let mut file = json!({
        "@id": path, "@type": "File", "name": path, "description": doc, "encodingFormat": kind.media_type(),
        "contentSize": bytes.to_string(), "sha256": sha256,
    });
    if *kind == Kind::Json && path == "datapackage.json" {
        file["conformsTo"] = id(DATA_PACKAGE);
    }
    file
}

fn author_id(description: &Description<'_>, number: usize) -> String {
    let orcid = description.request.authors.get(number).and_then(|author| author.orcid.as_ref());
    orcid.map_or_else(
        || format!("#author-{}", number + 1),
        |orcid| format!("https://orcid.org/{orcid}"),
    )
}

fn authors(description: &Description<'_>) -> impl Iterator<Item = String> {
    (0..description.request.authors.len()).map(|number| author_id(description, number))
}

fn institution_id(author: &Author) -> Option<String> {
    match (&author.ror, &author.affiliation) {
        (Some(ror), _) => Some(format!("https://ror.org/{ror}")),
        (None, Some(name)) => {
            Some(format!("#institution-{}", crate::analysis::cell::identifier(name)))
        }
        (None, None) => None,
    }
}

/// The authors and their institutions.
fn people(description: &Description<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    let mut institutions = BTreeMap::new();
    for (number, author) in description.request.authors.iter().enumerate() {
        let (kind, name) = match author.parts() {
            Some((family, given)) => ("Person", format!("{given} {family}")),
            None => ("Organization", author.name.clone()),
        };
        let mut person =
            json!({ "@id": author_id(description, number), "@type": kind, "name": name });
        if let Some(institution) = institution_id(author) {
            person["affiliation"] = id(&institution);
            institutions.insert(
                institution,
                author.affiliation.clone().unwrap_or_else(|| "institution".into()),
            );
        }
        all.push(person);
    }
    all.extend(institutions.into_iter().map(|(at, name)| {
        let url = if at.starts_with("https:") { at.clone() } else { REPOSITORY.to_owned() };
        json!({ "@id": at, "@type": "Organization", "name": name, "url": url })
    }));
    all
}
