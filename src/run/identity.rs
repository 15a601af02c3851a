//! The identity of a run, which a resumed run must share.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_schema::SchemaRef;
use serde_json::Value;

use super::about;
use crate::error::{Error, ErrorKind, Result};
use crate::measurement::Plan;

/// The identity of a run: a run can resume another one with the same identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(pub(super) BTreeMap<String, String>);

impl Identity {
    /// The identity made of a measurement, the digest of its targets (`None` if they can be read only once), the columns
    /// of its records, and settings by key.
    pub fn new(
        plan: &Plan,
        targets: Option<&str>,
        columns: &SchemaRef,
        options: impl Iterator<Item = (&'static str, String)>,
    ) -> Self {
        let columns: Vec<String> = columns.fields().iter().map(|f| format!("{f:?}")).collect();
        let of = [
            ("measurement", about::sha256(&plan.text)),
            ("values of params", about::params(plan)),
            ("target list", targets.unwrap_or("read only once").to_owned()),
            ("columns", about::sha256(&columns.join("\n"))),
        ];
        Self(of.into_iter().chain(options).map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Fails if `stored` is the identity of another run.
    pub(super) fn check(&self, stored: &Value, path: &Path) -> Result<()> {
        let word = |key: &str| stored.get(key).and_then(Value::as_str);
        let differing: Vec<String> = self
            .0
            .iter()
            .filter(|(key, value)| word(key) != Some(value))
            .map(|(key, value)| {
                let before = word(key).unwrap_or("not stated");
                format!("its {key} ({before} there, {value} now)")
            })
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(Error::refused(
            ErrorKind::OtherRun,
            format!(
                "resume {}: this is another run; what differs: {}",
                path.display(),
                differing.join("; ")
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_run_is_an_error_of_its_own_kind() {
        let of = |seed: &str| Identity(BTreeMap::from([("--seed".to_owned(), seed.to_owned())]));
        let stored = serde_json::json!({ "--seed": "1" });
        assert!(of("1").check(&stored, Path::new("x/")).is_ok());
        let why = of("2").check(&stored, Path::new("x/")).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::OtherRun, "{why}");
    }
}
