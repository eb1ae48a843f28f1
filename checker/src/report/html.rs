//! The report for a browser: one page without a network, with a link to the timeline of each check
//! that failed.

use std::fmt::Write as _;

use super::{Entry, Report, Verdict, plain};

const STYLE: &str = "\
section { border-bottom: 1px solid #8886; padding: .6rem 0; }
h2 { font-size: 1rem; margin: 0; }
.passed h2::before { content: '✓ '; color: light-dark(#00701a, #7bd88f); }
.failed h2::before { content: '✗ '; color: light-dark(#b00020, #ff8a80); }
.points { float: right; }
pre { background: #8882; overflow-x: auto; padding: .5rem; }
";

/// The whole page. `timeline` knows where the timeline of a check is, if there is one.
#[must_use]
pub fn write(report: &Report, timeline: &dyn Fn(&str) -> Option<String>) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<h1>{}</h1>\n<p>{} of {} points. Profile {}, kernel {}.</p>",
        escaped(&report.submission),
        report.total(),
        report.max(),
        escaped(&report.profile),
        escaped(&report.kernel)
    );
    for entry in &report.entries {
        body.push_str(&section(entry, timeline(&entry.id)));
    }
    for note in &report.notes {
        let _ = writeln!(body, "<p>Noticed: {}</p>", escaped(note));
    }
    page("Report", STYLE, &body)
}

/// A page without a network.
pub fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
{style}</style>
</head>
<body>
{body}</body>
</html>
"#
    )
}

fn section(entry: &Entry, timeline: Option<String>) -> String {
    let mut section = format!(
        "<section class=\"{}\"><span class=\"points\">{}/{}</span><h2>{}</h2>{}\n",
        entry.verdict.token(),
        entry.points(),
        entry.max(),
        escaped(&entry.title),
        escaped(&entry.id)
    );
    let parts = [("p", entry.verdict.message()), ("pre", entry.verdict.details().to_owned())];
    for (element, text) in parts.iter().filter(|(_, text)| !text.trim().is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(section, "<{element}>{}</{element}>", escaped(text.trim_end()));
    }
    if let (Verdict::Failed(_), Some(address)) = (&entry.verdict, timeline) {
        let address = escaped(&address);
        let _ = writeln!(section, "<p><a href=\"{address}\">What the device saw: timeline</a></p>");
    }
    section.push_str("</section>\n");
    section
}

/// Text in which nothing is HTML.
pub fn escaped(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A file's name as an address: whatever is in it, it is a file beside the page.
pub fn address(name: &str) -> String {
    let mut address = "./".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn a_failed_check_links_its_timeline_and_nothing_in_a_report_is_html() {
        let timeline = |id: &str| Some(format!("ann.recordings/{id}.html"));
        let page = write(&examples::report(), &timeline);
        assert!(page.contains("<h1>ann</h1>\n<p>5 of 17 points."), "{page}");
        assert!(page.contains("write &quot;4&quot; bytes &amp; &lt;no&gt; more"), "{page}");
        let link = "<a href=\"ann.recordings/driver-seed-register.html\">";
        assert_eq!(page.matches("<a href").count(), 1, "only what failed has one");
        assert!(page.contains(link), "{page}");
        assert!(!write(&examples::report(), &|_| None).contains("<a href"));
        assert_eq!(address("a/../b"), "./a%2F..%2Fb");
    }
}
