//! Texts that are made while a document is read, and live as long as it: values of a document borrow their digits.

use std::cell::OnceCell;

/// The texts of one node.
const NODE: usize = 256;

/// A list of texts that only grows, so that a text in it can be borrowed while others are added.
#[derive(Debug)]
pub(super) struct Texts {
    texts: [OnceCell<String>; NODE],
    next: OnceCell<Box<Texts>>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { texts: [const { OnceCell::new() }; NODE], next: OnceCell::new() }
    }
}

impl Texts {
    /// Adds a text.
    pub(super) fn add(&self, text: String) -> &str {
        let mut node = self;
        while let Some(next) = node.next.get() {
            node = next;
        }
        if node.texts.iter().all(|cell| cell.get().is_some()) {
            node = node.next.get_or_init(Box::default);
        }
        let free = node.texts.iter().find(|cell| cell.get().is_none());
        free.map_or("", |cell| cell.get_or_init(|| text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_where_they_are() {
        let texts = Texts::default();
        let all: Vec<&str> = (0..1000).map(|number: usize| texts.add(number.to_string())).collect();
        for (number, text) in all.iter().enumerate() {
            assert_eq!(*text, number.to_string());
        }
    }
}
