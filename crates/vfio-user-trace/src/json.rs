//! Lines of JSON for programs: an object for each entry.

use crate::entry::Entry;

/// An object a line. Its fields are those of [`Entry`].
#[must_use]
pub fn write(entries: &[&Entry]) -> String {
    // Numbers and texts can always be written.
    let line = |entry| serde_json::to_string(entry).unwrap_or_default() + "\n";
    entries.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn a_line_has_the_fields_of_an_entry() {
        let trace = examples::trace();
        assert_eq!(
            write(&[&trace.entries[3]]),
            "{\"index\":3,\"time\":3000000,\"session\":1,\"kind\":\"register\",\"name\":\"SEED\",\
             \"access\":\"write\",\"region\":0,\"offset\":4,\"bytes\":4,\"value\":\"0x7\",\
             \"duration\":1500}\n"
        );
    }
}
