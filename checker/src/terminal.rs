//! What people read on a terminal: styles, and lines as wide as it is.
//!
//! Styles are always written; [`anstream`]'s outputs leave them out where no terminal is.

use std::io::{IsTerminal, Write};

use anstyle::Style;

/// The widest line that is easy to read.
const MAX_WIDTH: usize = 96;

/// Something that is well.
pub const GOOD: Style = anstyle::AnsiColor::Green.on_default().bold();
/// Something that is not.
pub const BAD: Style = anstyle::AnsiColor::Red.on_default().bold();
/// Something that was not tried.
pub const UNKNOWN: Style = anstyle::AnsiColor::Yellow.on_default();
/// What others said.
pub const QUOTED: Style = Style::new().dimmed();

/// The width of the terminal.
#[must_use]
pub fn width() -> usize {
    textwrap::termwidth().min(MAX_WIDTH)
}

/// The width that standard output is wrapped at: that of the terminal; nothing where it is none.
#[must_use]
pub fn output_width() -> Option<usize> {
    std::io::stdout().is_terminal().then(width)
}

/// A text in a style.
#[must_use]
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The same without any style.
#[must_use]
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Prints to standard output.
pub fn print(text: &str) {
    let mut output = anstream::stdout().lock();
    // Without a reader of the output there is nothing to do about it.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Wraps a paragraph, with something before its first line and before the others.
#[must_use]
pub fn paragraph(text: &str, first: &str, others: &str, width: usize) -> String {
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(others)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(text, options)
}
