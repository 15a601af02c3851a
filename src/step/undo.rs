//! What undoes a change, as a line of a journal has it: `{"Sysctl": {..}}`, the data under the name of their kind.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Value;

use super::kind::Revert;
use super::kinds;

/// What undoes one change. Copies share it.
#[derive(Debug, Clone)]
pub(super) struct Undo(pub Arc<dyn Revert>);

impl Deref for Undo {
    type Target = dyn Revert;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for Undo {
    fn eq(&self, other: &Self) -> bool {
        self.def().tag == other.def().tag && self.data().ok() == other.data().ok()
    }
}

impl Eq for Undo {}

impl Serialize for Undo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.data().map_err(S::Error::custom)?;
        BTreeMap::from([(self.def().tag, data)]).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Undo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let (Some((tag, data)), true) = (entries.pop_first(), entries.is_empty()) else {
            return Err(D::Error::custom("expected one kind of change"));
        };
        let Some(row) = kinds::revert(&tag) else {
            return Err(D::Error::custom(format!("unknown kind of change `{tag}`")));
        };
        (row.read)(data).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as the first version of the program wrote them.
    const LINES: [&str; 4] = [
        r#"{"Sysctl":{"name":"net.ipv4.tcp_ecn","before":"2","value":"1"}}"#,
        r#"{"Netfilter":{"name":"inet pathspider","chain":"run_7_8"}}"#,
        r#"{"Route":[1347420160,1347420161]}"#,
        r#"{"Command":{"run":["dish","west"],"timeout":{"secs":1,"nanos":500000000}}}"#,
    ];

    #[test]
    fn journals_of_earlier_versions_are_read_and_written_alike() {
        let kinds = LINES.map(|line| {
            let undo: Undo = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&undo).unwrap(), line);
            undo.def().kind
        });
        assert_eq!(kinds, ["sysctl", "netfilter", "route", "command"]);
        assert!(LINES.iter().zip(&LINES[1..]).all(|(one, other)| {
            let undo = |line: &str| serde_json::from_str::<Undo>(line).unwrap();
            undo(one) == undo(one) && undo(one) != undo(other)
        }));
    }

    #[test]
    fn unknown_kinds_are_errors() {
        for (line, message) in [
            (r#"{"Dish":[]}"#, "unknown kind of change `Dish`"),
            (r#"{"Route":"x"}"#, "invalid type"),
            ("{}", "expected one kind of change"),
            (r#"{"Route":[],"Sysctl":{}}"#, "expected one kind of change"),
        ] {
            let error = serde_json::from_str::<Undo>(line).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
