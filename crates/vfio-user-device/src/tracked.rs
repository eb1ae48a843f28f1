//! A value that knows whether it may have changed.

use std::ops::{Deref, DerefMut};

/// A value with a mark, which each mutable borrow sets. It is set at first.
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    value: T,
    changed: bool,
}

impl<T> Tracked<T> {
    /// The value, which counts as changed.
    pub fn new(value: T) -> Self {
        Tracked { value, changed: true }
    }

    /// Whether it was borrowed mutably since [`Tracked::take_changed`].
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The same, and takes the mark away.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Sets the mark.
    pub fn mark(&mut self) {
        self.changed = true;
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutable_borrow_marks_and_a_look_does_not() {
        let mut list = Tracked::new(vec![1]);
        assert!(list.take_changed());
        assert_eq!(list.len(), 1);
        assert!(!list.is_changed());
        list.push(2);
        assert!(list.take_changed() && !list.is_changed());
    }
}
