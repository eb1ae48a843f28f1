//! Changes at known places of a text. Whatever is between them stays as it is, byte for byte.

use std::ops::Range;

/// Changes to a text, in any order; they may touch but not overlap.
#[derive(Debug, Default)]
pub struct Edits {
    changes: Vec<(Range<usize>, String)>,
}

impl Edits {
    /// Puts other text in a place.
    pub fn replace(&mut self, place: Range<usize>, text: impl Into<String>) {
        self.changes.push((place, text.into()));
    }

    /// Puts text between two bytes. What was inserted there before stays before it.
    pub fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// The text with the changes.
    pub fn apply(mut self, text: &str) -> String {
        // Stable: those at one place keep their order.
        self.changes.sort_by_key(|(place, _)| (place.start, place.end));
        let mut result = String::with_capacity(text.len());
        let mut done = 0;
        for (place, replacement) in &self.changes {
            debug_assert!(done <= place.start, "changes overlap at byte {}", place.start);
            result.push_str(&text[done..place.start]);
            result.push_str(replacement);
            done = place.end;
        }
        result.push_str(&text[done..]);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_from_front_to_back() {
        let mut edits = Edits::default();
        edits.replace(7..12, "moon");
        edits.insert(5, " ");
        edits.insert(5, "there");
        edits.replace(0..1, "H");
        assert_eq!(edits.apply("hello, world!"), "Hello there, moon!");
    }

    #[test]
    fn without_changes_the_text_is_the_same() {
        let edits = Edits::default();
        assert_eq!(edits.apply("as\r\nit is"), "as\r\nit is");
    }
}
