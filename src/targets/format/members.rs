//! The members of a JSON object, each value as written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::targets::cell::Cell;
use crate::targets::refusal::shown;

/// The members of a JSON object in order, each value as written.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

impl<'a> Members<'a> {
    /// Parses a text as the members of an object.
    ///
    /// # Errors
    /// If it is not an object, or if a key is repeated, since one of the values would be lost.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let members: Self = serde_json::from_str(text).map_err(json_reason)?;
        let mut sorted: Vec<&str> = members.0.iter().map(|(key, _)| key.as_ref()).collect();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(format!("the key {} is repeated", shown(twice[0]))),
            None => Ok(members),
        }
    }

    /// Whether a key exists, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(own, _)| own == key)
    }

    /// The value of a key, if it is not null.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().find(|(own, _)| own == key)?;
        (value.get() != "null").then_some(*value)
    }

    /// The value of a key as text.
    pub fn text(&self, key: &str) -> Option<String> {
        match Cell::of_json(self.get(key)?)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes the value of the first of `words` that has one; a null does not count.
    pub fn take(&mut self, words: &[&str]) -> Option<Cell> {
        let index = words.iter().find_map(|word| {
            self.0
                .iter()
                .position(|(key, value)| word.eq_ignore_ascii_case(key) && value.get() != "null")
        })?;
        Cell::of_json(self.0.remove(index).1)
    }

    /// The remaining members as columns of the list's own, without nulls.
    pub fn rest(self) -> Vec<(std::sync::Arc<str>, Cell)> {
        let cells = self.0.into_iter();
        cells.filter_map(|(key, value)| Some((key.into(), Cell::of_json(value)?))).collect()
    }
}

/// serde_json reports a line number, which is always 1 here.
fn json_reason(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((what, "0")) => format!("not a JSON object: {what}"),
        Some((what, column)) => format!("not a JSON object: {what} at column {column}"),
        None => format!("not a JSON object: {text}"),
    }
}
