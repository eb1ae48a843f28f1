//! The table for a browser: one page without a network, with a link to each report.

use std::fmt::Write as _;

use super::{failed, percent, reason};
use crate::batch::Checked;
use crate::report::html::{address, escaped, page};

const STYLE: &str = "\
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
meter { width: 6rem; }
code { white-space: nowrap; }
.lost { color: light-dark(#b00020, #ff8a80); }
";

/// The whole page.
pub fn write(all: &[Checked]) -> String {
    let mut body = String::new();
    let reports: Vec<_> = all.iter().flat_map(|one| &one.report).collect();
    let fine = reports.iter().filter(|report| report.is_fine()).count();
    let lost = all.len() - reports.len();
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "<h1>{} submissions</h1>\n<p>{fine} passed all checks, {} failed some, {lost} were not \
         checked.</p>\n<table>\n<thead><tr><th>submission</th><th class=\"number\">points</th>\
         <th></th><th>failed checks</th></tr></thead>\n<tbody>\n",
        all.len(),
        reports.len() - fine
    );
    for checked in all {
        body.push_str(&row(checked));
    }
    body.push_str("</tbody>\n</table>\n");
    page("Submissions", STYLE, &body)
}

fn row(Checked { name, report }: &Checked) -> String {
    let shown = escaped(name);
    match report {
        Ok(report) => {
            let failed: Vec<String> =
                failed(report).iter().map(|id| format!("<code>{}</code>", escaped(id))).collect();
            let (total, max) = (report.total(), report.max());
            let percent = percent(report).unwrap_or_default();
            format!(
                "<tr><td><a href=\"{}.html\">{shown}</a></td><td class=\"number\">{total}/{max}</td>\
                 <td><meter max=\"100\" value=\"{percent:.1}\"></meter></td><td>{}</td></tr>\n",
                address(name),
                failed.join(" ")
            )
        }
        Err(error) => format!(
            "<tr><td>{shown}</td><td class=\"number\">-</td><td></td><td class=\"lost\">not \
             checked: {}</td></tr>\n",
            escaped(&reason(error))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn each_submission_has_a_row_and_a_link_and_no_markup_of_its_own() {
        let page = write(&examples::all());
        assert!(page.contains("0 passed all checks, 1 failed some, 1 were not checked"), "{page}");
        assert!(page.contains(
            "<a href=\"./%3Dann.html\">=ann</a></td><td class=\"number\">5/17</td>\
             <td><meter max=\"100\" value=\"29.4\"></meter></td>\
             <td><code>driver-seed-register</code> <code>driver-leaks</code></td>"
        ));
        assert!(page.contains("<td>bob &lt;b&gt;</td>"), "{page}");
        assert!(page.contains("not checked: no disk"), "{page}");
    }
}
