//! The descriptor of a Data Package, version 2.0 (datapackage.org/standard).

use serde_json::{Value, json};

use super::folder::{Entry, Folder, Kind};
use super::{Author, Description};

const PROFILES: &str = "https://datapackage.org/profiles/2.0";

/// The descriptor of all files so far.
pub(super) fn of(description: &Description<'_>, folder: &Folder) -> Value {
    let licence = &description.request.licence;
    let resources: Vec<Value> = folder.entries().iter().filter(is_resource).map(resource).collect();
    json!({
        "$schema": format!("{PROFILES}/datapackage.json"),
        "name": name(&format!("pathspider-{}", description.account.about.title)),
        "id": format!("urn:uuid:{}", description.uuid()),
        "title": description.title,
        "description": description.text,
        "version": "1.0.0",
        "created": description.ended,
        "keywords": description.keywords,
        "licenses": [{ "name": licence.id, "path": licence.url(), "title": licence.name() }],
        "contributors": description.request.authors.iter().map(contributor).collect::<Vec<_>>(),
        "sources": [{ "title": "target list", "version": format!("sha256:{}", description.value("targets_sha256")) }],
        "resources": resources,
    })
}

/// Names of the standard have lower-case letters, digits, `-`, `.` and `_`.
fn name(text: &str) -> String {
    let plain = text.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    });
    let plain: String = plain.collect();
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Descriptors of other kinds are no data.
fn is_resource(entry: &&Entry) -> bool {
    !entry.path.starts_with('.') && !matches!(entry.kind, Kind::Yaml | Kind::Markdown)
}

fn contributor(author: &Author) -> Value {
    let mut contributor = json!({ "title": author.name, "roles": ["creator"] });
    if let Some((family, given)) = author.parts() {
        contributor["title"] = format!("{given} {family}").into();
        contributor["familyName"] = family.into();
        contributor["givenName"] = given.into();
    }
    if let Some(orcid) = &author.orcid {
        contributor["path"] = format!("https://orcid.org/{orcid}").into();
    }
    if let Some(affiliation) = &author.affiliation {
        contributor["organization"] = affiliation.as_str().into();
    }
    contributor
}

fn resource(entry: &Entry) -> Value {
    let Entry { path, kind, doc, bytes, sha256, fields } = entry;
    let format = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    let stem = path.strip_suffix(format).unwrap_or(path);
    let mut resource = json!({
        "$schema": format!("{PROFILES}/dataresource.json"),
        "name": name(stem),
        "path": path,
        "title": doc,
        "format": format,
        "mediatype": kind.media_type(),
        "bytes": bytes,
        "hash": format!("sha256:{sha256}"),
    });
    if !matches!(kind, Kind::Parquet) {
        resource["encoding"] = "utf-8".into();
    }
    if !fields.is_empty() {
        let fields =
            fields.iter().map(|field| json!({ "name": field.name, "type": field.data_type }));
        resource["type"] = "table".into();
        resource["schema"] = json!({
            "$schema": format!("{PROFILES}/tableschema.json"),
            "fields": fields.collect::<Vec<_>>(),
            "missingValues": [""],
        });
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_standard() {
        assert_eq!(name("pathspider-ECN: does it work?"), "pathspider-ecn-does-it-work");
        assert_eq!(name("tables/labels-ecn-connectivity."), "tables-labels-ecn-connectivity");
    }
}
