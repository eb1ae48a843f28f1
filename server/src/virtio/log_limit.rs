//! An end to what a guest can make the log say.

/// Lines of one kind in the log: a hostile driver could fill a disk with them.
#[derive(Debug, Default)]
pub struct LogLimit(u32);

impl LogLimit {
    /// How many are written for one client.
    const LINES: u32 = 10;

    /// Whether the next line may be written, and what it ends with.
    pub fn allow(&mut self) -> Option<&'static str> {
        self.0 = self.0.saturating_add(1);
        match self.0 {
            Self::LINES => Some(" (more of these are not shown)"),
            count => (count < Self::LINES).then_some(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_line_says_when_it_is_the_last() {
        let mut limit = LogLimit::default();
        let lines: Vec<_> = (0..20).filter_map(|_| limit.allow()).collect();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[8..], ["", " (more of these are not shown)"]);
    }
}
