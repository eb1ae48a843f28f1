//! Prints a page of Markdown on a terminal: headings stand out, paragraphs are wrapped at the
//! terminal's width, and code stays as it is.

use anstyle::Style;
use checker::terminal;

pub use checker::terminal::{BAD, GOOD, paragraph, styled, width};

/// Headings.
const HEADING: Style = Style::new().bold();
/// Code.
const CODE: Style = anstyle::AnsiColor::Cyan.on_default();
/// What begins and ends code.
const FENCE: &str = "```";

/// Prints a line.
pub fn line(text: &str) {
    terminal::print(&format!("{text}\n"));
}

/// Prints a page.
pub fn print(markdown: &str) {
    line(&render(markdown, width()));
}

/// A page for a terminal of a width.
#[must_use]
pub fn render(markdown: &str, width: usize) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        let is_fence = line.starts_with(FENCE);
        if begins_block(line) || in_code {
            flush(&mut text, &mut shown, width);
        }
        match () {
            () if is_fence => in_code = !in_code,
            () if in_code => shown.push(styled(CODE, &format!("    {line}"))),
            () if line.starts_with('#') => {
                shown.push(styled(HEADING, line.trim_start_matches(['#', ' '])));
            }
            () if line.starts_with('|') => shown.push(line.to_owned()),
            () if line.trim().is_empty() => shown.push(String::new()),
            () => text.push(line),
        }
    }
    flush(&mut text, &mut shown, width);
    shown.join("\n")
}

/// Whether a line ends the paragraph before it.
fn begins_block(line: &str) -> bool {
    line.trim().is_empty() || [FENCE, "#", "|", "- "].iter().any(|mark| line.starts_with(mark))
}

/// Wraps the lines of a paragraph or of a list's item.
fn flush(text: &mut Vec<&str>, shown: &mut Vec<String>, width: usize) {
    if text.is_empty() {
        return;
    }
    let joined = text.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    text.clear();
    shown.push(match joined.strip_prefix("- ") {
        Some(item) => paragraph(item, "- ", "  ", width),
        None => paragraph(&joined, "", "", width),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_code_is_not() {
        let page = "# Title\n\none two three\nfour\n\n- five six seven\n- eight\n\n```\na  long line of code\n```\n";
        let shown = render(page, 12);
        let plain = terminal::plain(&shown);
        assert_eq!(
            plain,
            "Title\n\none two\nthree four\n\n- five six\n  seven\n- eight\n\n    a  long line of code"
        );
        assert!(shown.contains("\u{1b}["), "headings have a style");
    }
}
