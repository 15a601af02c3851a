//! Shards: one list shared by several machines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A share of a list: every target belongs to exactly one of `of` shards, by its position. So shards are
/// disjoint and complete by construction, and neighbours go to different machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    /// The shard's number, from 1.
    number: u64,
    /// The number of shards.
    of: u64,
}

impl Shard {
    /// Parses `2/8`.
    ///
    /// # Errors
    /// What is wrong, as a lowercase fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            Some(Self { number: number.parse().ok()?, of: of.parse().ok()? })
        });
        match parsed {
            Some(shard) if (1..=shard.of).contains(&shard.number) => Ok(shard),
            Some(Self { of, .. }) => Err(format!("shards are numbered from 1 to {of}")),
            None => Err("write a shard as 2/8: the second of eight".into()),
        }
    }

    /// Whether the target at this position belongs to the shard.
    pub fn has(self, position: u64) -> bool {
        position % self.of == self.number % self.of
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

/// `2/8`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_belongs_to_exactly_one_shard() {
        for of in 1..=9 {
            let shards: Vec<Shard> =
                (1..=of).map(|number| Shard::parse(&format!("{number}/{of}")).unwrap()).collect();
            for position in 0..100 {
                let owners = shards.iter().filter(|shard| shard.has(position)).count();
                assert_eq!(owners, 1, "position {position} of {of}");
            }
        }
        for bad in ["", "2", "0/8", "9/8", "0/0", "1/0", "-1/8", "2/8/3", "a/b"] {
            assert!(Shard::parse(bad).is_err(), "{bad}");
        }
    }
}
