//! How a document is indented, so that what is added looks as if it had always been there.

use std::ops::Range;

use roxmltree::{Document, Node};

use super::edits::Edits;

/// Lines to add, each with how much deeper it is than the first.
pub type Lines = Vec<(usize, String)>;

/// The looks of a document.
#[derive(Debug)]
pub struct Layout<'a> {
    text: &'a str,
    newline: &'static str,
    /// What a line is indented by more than the one around it.
    step: &'a str,
}

impl<'a> Layout<'a> {
    /// Finds out.
    pub fn of(document: &Document<'a>) -> Self {
        let text = document.input_text();
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let root = document.root_element();
        let step = root
            .children()
            .filter(Node::is_element)
            .find_map(|child| indentation(text, child.range().start))
            .map(|step| step.strip_prefix(outer_indentation(text, root)).unwrap_or(step))
            .filter(|step| !step.is_empty());
        Layout { text, newline, step: step.unwrap_or("  ") }
    }

    /// Adds lines behind the last child of an element.
    pub fn append(&self, edits: &mut Edits, parent: Node<'_, 'a>, lines: &Lines) {
        let indentation = self.child_indentation(parent);
        let block = self.block(indentation.as_deref(), lines);
        let end = match indentation {
            Some(_) => format!("{}{}", self.newline, outer_indentation(self.text, parent)),
            None => String::new(),
        };
        let range = parent.range();
        let whole = &self.text[range.clone()];
        if let Some(start) = whole.strip_suffix("/>") {
            let name = raw_name(self.text, parent);
            let from = range.start + start.trim_end().len();
            edits.replace(from..range.end, format!(">{block}{end}</{name}>"));
            return;
        }
        let end_tag = range.start + whole.rfind("</").unwrap_or(whole.len());
        let mut children = parent.children().filter(|child| !child.is_text());
        let at = match (children.next_back(), parent.first_child()) {
            (Some(last), _) => last.range().end,
            // Nothing but blanks.
            (None, Some(text)) => text.range().start,
            (None, None) => end_tag,
        };
        let has_line_end = self.text[at..end_tag].contains('\n');
        edits.insert(at, if has_line_end { block } else { block + &end });
    }

    /// Adds lines behind an element, as its siblings.
    pub fn insert_after(&self, edits: &mut Edits, sibling: Node<'_, 'a>, lines: &Lines) {
        let range = sibling.range();
        edits.insert(range.end, self.block(indentation(self.text, range.start), lines));
    }

    /// Removes an element, and the line it had for itself.
    pub fn remove(&self, edits: &mut Edits, node: Node<'_, 'a>) {
        edits.replace(self.with_its_line(node.range()), "");
    }

    fn with_its_line(&self, range: Range<usize>) -> Range<usize> {
        let behind = &self.text[range.end..];
        let rest = behind.split(['\n', '<']).next().unwrap_or(behind);
        let ends_line = rest.trim().is_empty() && !behind[rest.len()..].starts_with('<');
        match indentation(self.text, range.start) {
            Some(blanks) if ends_line => {
                let start = range.start - blanks.len();
                let before = &self.text[..start];
                let line_end = before.strip_suffix("\r\n").or_else(|| before.strip_suffix('\n'));
                line_end.map_or(start, str::len)..range.end
            }
            _ => range,
        }
    }

    /// The lines as text that goes behind what is there; all in one where there are no lines.
    fn block(&self, indentation: Option<&str>, lines: &Lines) -> String {
        let Some(indentation) = indentation else {
            return lines.iter().map(|(_, line)| line.as_str()).collect();
        };
        lines
            .iter()
            .map(|(depth, line)| {
                format!("{}{indentation}{}{line}", self.newline, self.step.repeat(*depth))
            })
            .collect()
    }

    /// How the children of an element are indented, if they have lines of their own.
    fn child_indentation(&self, parent: Node<'_, 'a>) -> Option<String> {
        let mut children = parent.children().filter(Node::is_element).peekable();
        if children.peek().is_none() {
            let outer = indentation(self.text, parent.range().start)?;
            return Some(format!("{outer}{}", self.step));
        }
        children.find_map(|child| indentation(self.text, child.range().start)).map(str::to_owned)
    }
}

/// The name of an element with its prefix, as it is written.
pub fn raw_name<'a>(text: &'a str, element: Node<'_, 'a>) -> &'a str {
    let tag = &text[element.range().start + 1..];
    tag.split(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').next().unwrap_or(tag)
}

/// The blanks before a place, if there is nothing else before it in its line.
fn indentation(text: &str, at: usize) -> Option<&str> {
    let before = &text[..at];
    let line = &before[before.rfind('\n')? + 1..];
    line.chars().all(|c| c == ' ' || c == '\t').then_some(line)
}

/// The same, where there may be something else.
fn outer_indentation<'a>(text: &'a str, element: Node<'_, '_>) -> &'a str {
    indentation(text, element.range().start).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, change: impl Fn(&Layout, &mut Edits, &Document)) -> String {
        let document = Document::parse(text).unwrap();
        let mut edits = Edits::default();
        change(&Layout::of(&document), &mut edits, &document);
        edits.apply(text)
    }

    fn appended(text: &str, parent: &str) -> String {
        let lines = vec![(0, "<x>".to_owned()), (1, "<y/>".to_owned()), (0, "</x>".to_owned())];
        changed(text, |layout, edits, document| {
            let parent = document.descendants().find(|node| node.has_tag_name(parent)).unwrap();
            layout.append(edits, parent, &lines);
        })
    }

    fn removed(text: &str) -> String {
        changed(text, |layout, edits, document| {
            for node in document.descendants().filter(|node| node.has_tag_name("b")) {
                layout.remove(edits, node);
            }
        })
    }

    #[test]
    fn what_is_added_is_indented_like_its_siblings() {
        for (text, expected) in [
            ("<a>\n   <b/>\n</a>\n", "<a>\n   <b/>\n   <x>\n      <y/>\n   </x>\n</a>\n"),
            ("<a>\r\n\t<b/>\r\n</a>", "<a>\r\n\t<b/>\r\n\t<x>\r\n\t\t<y/>\r\n\t</x>\r\n</a>"),
            ("<a><b/></a>", "<a><b/><x><y/></x></a>"),
            ("<a>\n  <b/></a>", "<a>\n  <b/>\n  <x>\n    <y/>\n  </x>\n</a>"),
            (
                "<a>\n  <b/>\n<!-- c --></a>",
                "<a>\n  <b/>\n<!-- c -->\n  <x>\n    <y/>\n  </x>\n</a>",
            ),
        ] {
            assert_eq!(appended(text, "a"), expected);
        }
    }

    #[test]
    fn an_element_without_children_gets_some() {
        for (text, expected) in [
            ("<a>\n <b />\n</a>", "<a>\n <b>\n  <x>\n   <y/>\n  </x>\n </b>\n</a>"),
            ("<a>\n <b></b>\n</a>", "<a>\n <b>\n  <x>\n   <y/>\n  </x>\n </b>\n</a>"),
            ("<a>\n <b>\n </b>\n</a>", "<a>\n <b>\n  <x>\n   <y/>\n  </x>\n </b>\n</a>"),
            ("<a><b c='/>'/></a>", "<a><b c='/>'><x><y/></x></b></a>"),
        ] {
            assert_eq!(appended(text, "b"), expected);
        }
    }

    #[test]
    fn what_is_removed_takes_its_line_along() {
        for (text, expected) in [
            ("<a>\n  <b/>\n  <c/>\n</a>", "<a>\n  <c/>\n</a>"),
            ("<a>\r\n  <b>\r\n  </b> \r\n</a>", "<a> \r\n</a>"),
            ("<a><b/><c/></a>", "<a><c/></a>"),
            ("<a>\n  <b/><c/>\n</a>", "<a>\n  <c/>\n</a>"),
            ("<a>\n  <c/><b/>\n</a>", "<a>\n  <c/>\n</a>"),
            ("<a>\n  <b/>text\n</a>", "<a>\n  text\n</a>"),
        ] {
            assert_eq!(removed(text), expected);
        }
    }
}
