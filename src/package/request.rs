//! What a package says that no machine knows: authors, licence, title. From the command line, and from a file.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files;

/// An author.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// `Family, Given`, or the name of an organization.
    pub name: String,
    /// The ORCID iD, without the address before it.
    pub orcid: Option<String>,
    /// The name of the institution.
    pub affiliation: Option<String>,
    /// The identifier of the institution in the Research Organization Registry, without the address before it.
    pub ror: Option<String>,
}

impl Author {
    /// The family name and the given name; `None` of an organization.
    pub fn parts(&self) -> Option<(&str, &str)> {
        let (family, given) = self.name.split_once(',')?;
        Some((family.trim(), given.trim()))
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: &str, value: &str, why: &str| {
            Err(Error::Usage(format!("report --package: {what} {value:?} {why}")))
        };
        if let Some(orcid) = self.orcid.as_deref().filter(|orcid| !is_orcid(orcid)) {
            return refuse("the ORCID iD", orcid, "is not one, such as 0000-0002-1825-0097");
        }
        let is_ror = |ror: &&str| ror.len() == 9 && ror.bytes().all(|b| b.is_ascii_alphanumeric());
        if let Some(ror) = self.ror.as_deref().filter(|ror| !is_ror(ror)) {
            return refuse("the ROR identifier", ror, "is not one, such as 05gq02987");
        }
        Ok(())
    }
}

/// Whether the digits have the right check digit (ISO 7064, MOD 11-2).
fn is_orcid(text: &str) -> bool {
    let has_dashes = text.len() == 19 && [4, 9, 14].iter().all(|at| text.as_bytes()[*at] == b'-');
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let Some((check, digits)) = digits.split_last().filter(|_| has_dashes && digits.len() == 16)
    else {
        return false;
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum = digits.iter().fold(0, |sum, digit| (sum + u32::from(digit - b'0')) * 2 % 11);
    let wanted = match (12 - sum) % 11 {
        10 => b'X',
        digit => b'0' + digit as u8,
    };
    *check == wanted
}

/// A licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    /// Its identifier in the SPDX licence list.
    pub id: String,
}

/// Licences of data with their names and addresses.
static LICENCES: &[(&str, &str, &str)] = &[
    (
        "CC-BY-4.0",
        "Creative Commons Attribution 4.0 International",
        "https://creativecommons.org/licenses/by/4.0/",
    ),
    (
        "CC-BY-SA-4.0",
        "Creative Commons Attribution Share Alike 4.0 International",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    (
        "CC-BY-NC-4.0",
        "Creative Commons Attribution Non Commercial 4.0 International",
        "https://creativecommons.org/licenses/by-nc/4.0/",
    ),
    (
        "CC0-1.0",
        "Creative Commons Zero v1.0 Universal",
        "https://creativecommons.org/publicdomain/zero/1.0/",
    ),
    (
        "ODbL-1.0",
        "Open Data Commons Open Database License v1.0",
        "https://opendatacommons.org/licenses/odbl/1-0/",
    ),
    (
        "ODC-By-1.0",
        "Open Data Commons Attribution License v1.0",
        "https://opendatacommons.org/licenses/by/1-0/",
    ),
    (
        "PDDL-1.0",
        "Open Data Commons Public Domain Dedication & License 1.0",
        "https://opendatacommons.org/licenses/pddl/1-0/",
    ),
];

impl Licence {
    /// A licence by its SPDX identifier.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be one.
    pub fn new(id: &str) -> Result<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        match !id.is_empty() && id.bytes().all(fits) {
            true => Ok(Self { id: id.to_owned() }),
            false => Err(Error::Usage(format!(
                "report --package: {id:?} is not the identifier of a licence (https://spdx.org/licenses/), such as CC-BY-4.0"
            ))),
        }
    }

    fn known(&self) -> Option<&(&'static str, &'static str, &'static str)> {
        LICENCES.iter().find(|(id, ..)| *id == self.id)
    }

    /// Its name, or the identifier.
    pub fn name(&self) -> &str {
        self.known().map_or(&self.id, |(_, name, _)| name)
    }

    /// Its address.
    pub fn url(&self) -> String {
        let spdx = || format!("https://spdx.org/licenses/{}", self.id);
        self.known().map_or_else(spdx, |(_, _, url)| (*url).to_owned())
    }
}

/// What a package is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The authors, at least one.
    pub authors: Vec<Author>,
    /// The licence.
    pub licence: Licence,
    /// The title, unless it is made of the measurement's.
    pub title: Option<String>,
    /// Whether to remove what identifies targets and the host.
    pub redact: bool,
    /// Whether to write observations for an observatory.
    pub observations: bool,
}

/// What may be missing, as the command line or the file says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The authors.
    #[serde(default, rename = "author")]
    pub authors: Vec<Author>,
    /// The SPDX identifier of the licence.
    pub license: Option<String>,
    /// The title.
    pub title: Option<String>,
}

impl Said {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be read, or says something else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_to_string(path).map_err(|why| files::unreadable(path, why))?;
        toml::from_str(&text).map_err(|why| {
            Error::Usage(format!("read {}: {}", path.display(), why.to_string().trim()))
        })
    }

    /// What this says, or else the other.
    pub fn or(self, other: Self) -> Self {
        Self {
            authors: if self.authors.is_empty() { other.authors } else { self.authors },
            license: self.license.or(other.license),
            title: self.title.or(other.title),
        }
    }

    /// The request, if nothing is missing; `file` is where it could be said.
    ///
    /// # Errors
    /// [`Error::Usage`] names everything that is missing.
    pub fn request(self, (redact, observations): (bool, bool), file: &Path) -> Result<Request> {
        let mut missing = Vec::new();
        let is_named = self.authors.iter().all(|author| !author.name.trim().is_empty());
        if self.authors.is_empty() || !is_named {
            missing.push(
                "an author (--author 'Family, Given', or [[author]] with name = \"Family, Given\")",
            );
        }
        if self.license.is_none() {
            missing.push("a licence (--license CC-BY-4.0, or license = \"CC-BY-4.0\")");
        }
        let licence = match (self.license, missing.as_slice()) {
            (Some(id), []) => Licence::new(&id)?,
            _ => {
                return Err(Error::Usage(format!(
                    "report --package: it needs {}, on the command line or in {}",
                    missing.join(" and "),
                    file.display()
                )));
            }
        };
        self.authors.iter().try_for_each(Author::check)?;
        Ok(Request { authors: self.authors, licence, title: self.title, redact, observations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orcid_has_a_check_digit() {
        assert!(is_orcid("0000-0002-1825-0097") && is_orcid("0000-0002-1694-233X"));
        for wrong in [
            "0000-0002-1825-0098",
            "0000000218250097",
            "0000-0002-1825-009",
            "",
            "é000-0002-1825-009",
        ] {
            assert!(!is_orcid(wrong), "{wrong}");
        }
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let file = Path::new("publish.toml");
        let why = Said::default().request((false, false), file).unwrap_err().to_string();
        assert!(
            ["--author", "--license", "publish.toml"].iter().all(|word| why.contains(word)),
            "{why}"
        );
        let of_file: Said = toml::from_str(
            "license = \"CC0-1.0\"\n[[author]]\nname = \"Carberry, Josiah\"\norcid = \"0000-0002-1825-0097\"\n",
        )
        .unwrap();
        let of_line = Said { license: Some("CC-BY-4.0".into()), ..Said::default() };
        let request = of_line.or(of_file).request((true, false), file).unwrap();
        assert_eq!(request.licence.url(), "https://creativecommons.org/licenses/by/4.0/");
        assert_eq!(request.authors[0].parts(), Some(("Carberry", "Josiah")));
        assert!(toml::from_str::<Said>("licence = \"x\"").is_err(), "an unknown key");
        assert!(Licence::new("CC BY").is_err());
        assert_eq!(Licence::new("MIT").unwrap().url(), "https://spdx.org/licenses/MIT");
    }
}
