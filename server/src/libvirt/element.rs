//! Elements of a domain definition: what they have, and what is wrong with them.

use roxmltree::Node;

/// Something that cannot be served, or is not a domain definition.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: <{element}>: {reason}")]
pub struct DomainError {
    line: u32,
    element: String,
    reason: String,
}

impl DomainError {
    /// About an element. What libvirt says to the same is said in its words.
    pub fn new(element: Node<'_, '_>, reason: impl Into<String>) -> Self {
        DomainError {
            line: line(element),
            element: element.tag_name().name().to_owned(),
            reason: reason.into(),
        }
    }
}

/// The line that an element begins in, from 1.
pub fn line(element: Node<'_, '_>) -> u32 {
    element.document().text_pos_at(element.range().start).row
}

/// An attribute that has to be there.
pub fn required<'a>(element: Node<'a, '_>, name: &str) -> Result<&'a str, DomainError> {
    let element_name = element.tag_name().name();
    element.attribute(name).ok_or_else(|| {
        let reason = format!("Missing required attribute '{name}' in element '{element_name}'");
        DomainError::new(element, reason)
    })
}

/// An attribute with a value that there is not.
pub fn invalid(element: Node<'_, '_>, name: &str, value: &str, possible: &str) -> DomainError {
    let element_name = element.tag_name().name();
    let reason = format!(
        "Invalid value for attribute '{name}' in element '{element_name}': '{value}'. \
         Possible here: {possible}"
    );
    DomainError::new(element, reason)
}

/// The children of an element that have a name, and no namespace, as libvirt's own.
pub fn named<'a, 'input>(
    parent: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    parent.children().filter(move |child| {
        child.tag_name().name() == name && child.tag_name().namespace().is_none()
    })
}

/// Checks that a value is meant as it is written, and is no place in a template.
///
/// # Errors
/// It has a placeholder that nothing has filled in.
pub fn filled_in(element: Node<'_, '_>, value: &str) -> Result<(), DomainError> {
    let marks = ["{{", "}}", "{%", "%}", "<%", "%>", "${", "@@"];
    // As configure scripts have it: @NAME@.
    let named = value.split('@').skip(1).any(|word| {
        let word_end = value.contains(&format!("@{word}@"));
        word_end && !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    });
    if named || marks.iter().any(|mark| value.contains(mark)) {
        let reason = format!(
            "{value:?} has a placeholder of a template: fill the template in first, and convert \
             what comes out"
        );
        return Err(DomainError::new(element, reason));
    }
    Ok(())
}

/// The text in an element, without comments.
pub fn content(element: Node<'_, '_>) -> String {
    element.children().filter(Node::is_text).filter_map(|text| text.text()).collect()
}
