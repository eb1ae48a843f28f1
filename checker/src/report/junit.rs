//! The report in JUnit's XML, as GitLab and Jenkins read it.

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Report, Verdict, plain};

/// The whole report.
pub fn write(report: &Report) -> Result<String> {
    let mut suite = TestSuite::new(&report.submission);
    suite.set_time(report.took);
    suite.add_property(("points", report.total().to_string().as_str()));
    suite.add_property(("max-points", report.max().to_string().as_str()));
    for line in &report.handed_in.passed_over {
        suite.add_property(("passed-over", plain(line).as_str()));
    }
    for entry in &report.entries {
        let mut case = TestCase::new(&entry.id, status(&entry.verdict));
        case.set_classname(format!("{}.{}", report.submission, entry.id));
        case.set_time(entry.took);
        if !entry.title.is_empty() {
            case.set_system_out(&entry.title);
        }
        suite.add_test_case(case);
    }
    let mut whole = quick_junit::Report::new(format!("check of {}", report.submission));
    whole.set_time(report.took);
    whole.add_test_suite(suite);
    whole.to_string().context("cannot write XML")
}

fn status(verdict: &Verdict) -> TestCaseStatus {
    let kind = match verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Skipped(reason) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(plain(reason));
            return status;
        }
        Verdict::Failed(_) => NonSuccessKind::Failure,
        Verdict::NotRun(_) => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let message = verdict.message();
    // Readers show the text or the message, few of them both.
    let text = format!("{message}\n{}", verdict.details());
    status.set_type(verdict.token());
    status.set_message(plain(&message)).set_description(plain(&text));
    status
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn the_xml_is_well_formed_whatever_a_student_printed() {
        let text = write(&examples::report()).expect("it can be written");
        let document = roxmltree::Document::parse(&text).expect("it is XML");
        let cases: Vec<_> =
            document.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(cases.len(), 4);
        let failure = cases[1].first_element_child().expect("it failed");
        assert!(failure.has_tag_name("failure"), "{text}");
        let message = failure.attribute("message").expect("there is a hint");
        assert_eq!(message, "SEED got 0x1: write \"4\" bytes & <no> more");
        assert!(failure.text().expect("details").contains("another: ]]> line"), "{text}");
        assert!(cases[2].children().any(|node| node.has_tag_name("skipped")), "{text}");
        assert!(cases[3].children().any(|node| node.has_tag_name("error")), "{text}");
        let suite = cases[0].parent_element().expect("they are in one");
        assert_eq!(suite.attribute("tests"), Some("4"));
        assert_eq!(suite.attribute("failures"), Some("1"));
    }
}
