//! Counts by group: by network, by autonomous system, by a column of the list.

use std::collections::HashMap;
use std::hash::Hash;

use super::interval::Alike;

/// The most groups that are counted apart. The targets of further ones are counted together, so memory is bounded for
/// any list.
pub const MOST: usize = 1 << 21;

/// Targets by group.
#[derive(Debug)]
pub struct Groups<K> {
    index: HashMap<K, u32, foldhash::fast::RandomState>,
    /// For each group: targets, and for each finding judged targets and hits.
    counts: Vec<u32>,
    findings: usize,
    most: usize,
    /// Targets of groups that are not counted apart.
    pub rest: u64,
}

/// A group and its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<K> {
    /// The group.
    pub key: K,
    /// Its targets, without controls.
    pub targets: u64,
    /// Those for which the condition has a label.
    pub judged: u64,
    /// Those with the label in question.
    pub hit: u64,
}

impl<K: Hash + Eq + Clone> Groups<K> {
    /// No groups yet.
    pub fn new(findings: usize, most: usize) -> Self {
        Self { index: HashMap::default(), counts: Vec::new(), findings, most, rest: 0 }
    }

    fn width(&self) -> usize {
        1 + 2 * self.findings
    }

    /// Counts a target; for each finding, whether its condition has a label, and the label in question.
    pub fn add(&mut self, key: K, found: &[Option<bool>]) {
        let width = self.width();
        let next = self.index.len();
        let at = match self.index.get(&key) {
            Some(at) => *at as usize,
            None if next >= self.most => {
                self.rest += 1;
                return;
            }
            None => {
                self.index.insert(key, u32::try_from(next).unwrap_or(u32::MAX));
                self.counts.resize(self.counts.len() + width, 0);
                next
            }
        };
        let counts = &mut self.counts[at * width..(at + 1) * width];
        counts[0] += 1;
        for (pair, found) in counts[1..].chunks_exact_mut(2).zip(found) {
            if let Some(hit) = found {
                pair[0] += 1;
                pair[1] += u32::from(*hit);
            }
        }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn group(&self, key: &K, at: u32, finding: usize) -> Group<K> {
        let at = at as usize * self.width();
        let count = |offset: usize| u64::from(self.counts[at + offset]);
        let judged = 1 + 2 * finding;
        Group { key: key.clone(), targets: count(0), judged: count(judged), hit: count(judged + 1) }
    }

    /// All groups, in no order.
    pub fn all(&self, finding: usize) -> impl Iterator<Item = Group<K>> {
        self.index.iter().map(move |(key, at)| self.group(key, *at, finding))
    }

    /// The groups with a hit, those with most hits first, then those with most judged targets, then by name.
    pub fn affected(&self, finding: usize) -> Vec<Group<String>>
    where
        K: ToString,
    {
        let hit = self.all(finding).filter(|group| group.hit > 0);
        let mut hit: Vec<Group<String>> = hit
            .map(|Group { key, targets, judged, hit }| Group {
                key: key.to_string(),
                targets,
                judged,
                hit,
            })
            .collect();
        hit.sort_unstable_by(|a, b| {
            (b.hit, b.judged).cmp(&(a.hit, a.judged)).then_with(|| a.key.cmp(&b.key))
        });
        hit
    }

    /// Groups that are alike, for a bootstrap over groups; those without judged targets are left out.
    pub fn alike(&self, finding: usize) -> Vec<Alike> {
        let mut classes: HashMap<(u64, u64), u64> = HashMap::new();
        for group in self.all(finding).filter(|group| group.judged > 0) {
            *classes.entry((group.judged, group.hit)).or_default() += 1;
        }
        let mut alike: Vec<Alike> = classes
            .into_iter()
            .map(|((judged, hit), clusters)| Alike { judged, hit, clusters })
            .collect();
        alike.sort_unstable();
        alike
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_beyond_the_limit_are_counted_together() {
        let mut groups = Groups::new(1, 2);
        for (key, found) in [
            (1, Some(true)),
            (2, Some(false)),
            (1, None),
            (3, Some(true)),
            (2, Some(true)),
            (2, Some(true)),
        ] {
            groups.add(key, &[found]);
        }
        let affected: Vec<(String, u64, u64, u64)> =
            groups.affected(0).into_iter().map(|g| (g.key, g.targets, g.judged, g.hit)).collect();
        assert_eq!(affected, [("2".to_owned(), 3, 3, 2), ("1".to_owned(), 2, 1, 1)]);
        assert_eq!((groups.len(), groups.rest), (2, 1));
        let alike = groups.alike(0);
        assert_eq!(alike[0], Alike { judged: 1, hit: 1, clusters: 1 });
    }
}
