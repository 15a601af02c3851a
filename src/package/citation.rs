//! How the data set is cited: Zenodo's deposit metadata, and CITATION.cff (version 1.2.0).

use serde_json::{Map, Value, json};

use super::{Author, Description, REPOSITORY};

/// Zenodo's metadata of a deposit.
pub(super) fn zenodo(description: &Description<'_>) -> Value {
    let creators =
        description.request.authors.iter().map(|author| {
            let Author { name, orcid, affiliation, .. } = author;
            let mut creator = Map::new();
            creator.insert("name".into(), name.as_str().into());
            let more = [("affiliation", affiliation), ("orcid", orcid)];
            creator.extend(more.iter().filter_map(|(key, value)| {
                Some(((*key).to_owned(), Value::from(value.as_deref()?)))
            }));
            Value::Object(creator)
        });
    let day = |time: &str| time.get(..10).unwrap_or_default().to_owned();
    json!({
        "upload_type": "dataset",
        "title": description.title,
        "description": format!("<p>{}</p>", escaped(&description.text)),
        "creators": creators.collect::<Vec<_>>(),
        "access_right": "open",
        "license": description.request.licence.id,
        "publication_date": day(&description.ended),
        "keywords": description.keywords,
        "version": "1.0.0",
        "language": "eng",
        "dates": [{ "start": day(&description.started), "end": day(&description.ended), "type": "Collected" }],
        "related_identifiers": [
            { "identifier": REPOSITORY, "relation": "isCompiledBy", "resource_type": "software" },
        ],
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// CITATION.cff. A scalar of JSON is one of YAML, too.
pub(super) fn cff(description: &Description<'_>) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut text = format!(
        "cff-version: 1.2.0\nmessage: \"If you use this data set, please cite it as below.\"\ntype: dataset\ntitle: {}\n\
         abstract: {}\nversion: 1.0.0\ndate-released: {}\nlicense: {}\n",
        quoted(&description.title),
        quoted(&description.text),
        quoted(description.ended.get(..10).unwrap_or_default()),
        quoted(&description.request.licence.id),
    );
    text += "keywords:\n";
    description.keywords.iter().for_each(|word| text += &format!("  - {}\n", quoted(word)));
    text += "authors:\n";
    for author in &description.request.authors {
        text += &match author.parts() {
            Some((family, given)) => {
                format!(
                    "  - family-names: {}\n    given-names: {}\n",
                    quoted(family),
                    quoted(given)
                )
            }
            None => format!("  - name: {}\n", quoted(&author.name)),
        };
        if let Some(orcid) = &author.orcid {
            text += &format!("    orcid: {}\n", quoted(&format!("https://orcid.org/{orcid}")));
        }
        if let Some(affiliation) = author.affiliation.as_ref().filter(|_| author.parts().is_some())
        {
            text += &format!("    affiliation: {}\n", quoted(affiliation));
        }
    }
    text
}
