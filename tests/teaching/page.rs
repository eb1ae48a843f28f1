//! The page as a list of things to do: files to write, commands to type, and what they print.
//!
//! In a `console` block a line that begins with `$ ` is a command (with a backslash at its end, it
//! goes on in the next line), and the lines after it are printed by it, in that order and among
//! others; `[..]` stands for anything. A block with `file=NAME` behind its language is a file.

/// Something that a reader of the page does.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Saves a file.
    File {
        /// Its name.
        name: String,
        /// What is in it.
        text: String,
    },
    /// Types a command.
    Command {
        /// Where the page has it.
        line: usize,
        /// The command.
        command: String,
        /// Lines that it prints.
        printed: Vec<String>,
    },
}

/// Reads a page of Markdown.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        if let Some((_, name)) = language.split_once(" file=") {
            let text = block.join("\n") + "\n";
            steps.push(Step::File { name: name.to_owned(), text });
        } else if language == "console" {
            // The fence is line `number` from zero; the block begins in the line after it.
            commands(number + 2, &block, &mut steps);
        }
    }
    steps
}

/// The commands of a console block that begins in a line of the page.
fn commands(first: usize, block: &[&str], steps: &mut Vec<Step>) {
    let mut unfinished = false;
    for (number, text) in block.iter().enumerate() {
        if let Some(begun) = text.strip_prefix("$ ") {
            let line = first + number;
            steps.push(Step::Command { line, command: begun.to_owned(), printed: Vec::new() });
        } else if let Some(Step::Command { command, printed, .. }) = steps.last_mut() {
            if unfinished {
                command.push('\n');
                command.push_str(text);
            } else {
                printed.push((*text).to_owned());
            }
        }
        unfinished = text.ends_with('\\') && (unfinished || text.starts_with("$ "));
    }
}

/// The first of the expected lines that is not in the output, in its order.
pub fn missing<'a>(printed: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    printed
        .iter()
        .find(|wanted| !lines.any(|line| matches(wanted.trim(), line.trim())))
        .map(String::as_str)
}

/// Whether a line is as a pattern wants it.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(found) = rest.find(part) else {
            return false;
        };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_files_and_commands() {
        let page = "# Title\n\n```c file=app.c\nint x;\n```\ntext\n```console\n$ one \\\n    more\n\
                    printed\n$ two\n```\n```text\n$ not me\n```\n";
        let command = |line, command: &str, printed: &[&str]| Step::Command {
            line,
            command: command.to_owned(),
            printed: printed.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            steps(page),
            [
                Step::File { name: "app.c".to_owned(), text: "int x;\n".to_owned() },
                command(8, "one \\\n    more", &["printed"]),
                command(11, "two", &[]),
            ]
        );
    }

    #[test]
    fn expected_lines_are_found_in_order_and_among_others() {
        let wanted =
            |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let output = "first\n  at febf1000 (32-bit)\nlast\n";
        assert_eq!(missing(&wanted(&["first", "at [..] (32-bit)", "last"]), output), None);
        assert_eq!(missing(&wanted(&["last", "first"]), output), Some("first"));
        assert_eq!(missing(&wanted(&["at [..] (64-bit)"]), output), Some("at [..] (64-bit)"));
        assert_eq!(missing(&wanted(&["fir"]), output), Some("fir"));
        assert_eq!(missing(&wanted(&["[..]", "la[..]"]), output), None);
    }
}
