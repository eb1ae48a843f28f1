//! What the lab's options take: files for the guest, parameters for a module.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where files go that are not told where: the folder in which commands run.
const FOLDER: &str = "/root/";

/// A file of the host that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Its path on the host.
    pub on_host: PathBuf,
    /// Its path in the guest, as an archive has it: without the first slash.
    pub in_guest: String,
}

/// `HOST` or `HOST=GUEST`.
pub fn guest_file(text: &str) -> Result<GuestFile> {
    // A path of the host may have this sign, so what follows has to look like one of the guest.
    let (on_host, in_guest) = match text.rfind("=/") {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, FOLDER),
    };
    let on_host = Path::new(on_host);
    if !on_host.is_file() {
        bail!(
            "there is no file {}; to name its place in the guest write HOST=GUEST with an absolute \
             GUEST, such as {text}=/root/name",
            on_host.display()
        );
    }
    let name = on_host.file_name().and_then(|name| name.to_str());
    let in_guest = match in_guest.strip_suffix('/') {
        Some(folder) => {
            let name = name.context("a file for the guest needs a name in UTF-8")?;
            format!("{folder}/{name}")
        }
        None => in_guest.to_owned(),
    };
    let in_guest = in_guest.trim_start_matches('/').to_owned();
    if in_guest.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        bail!("invalid path in the guest: /{in_guest}; expected one without `.` and `..`");
    }
    // It is taken when the guest boots, perhaps after a change of the current folder.
    let on_host = std::path::absolute(on_host).context("there is no current folder")?;
    Ok(GuestFile { on_host, in_guest })
}

/// Parameters of a module, as insmod takes them: `name=value`, with blanks in double quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(pub Vec<String>);

/// Separates parameters.
pub fn parameters(text: &str) -> Result<Parameters> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        quoted ^= letter == '"';
        match words.last_mut() {
            // The kernel takes the quotes away.
            Some(word) if quoted || !letter.is_whitespace() => word.push(letter),
            _ => words.push(String::new()),
        }
    }
    if quoted {
        bail!("a double quote is not closed");
    }
    words.retain(|word| !word.is_empty());
    for word in &words {
        let name = word.split('=').next().unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            bail!("invalid parameter: `{word}`; expected name=value, with blanks between several");
        }
    }
    Ok(Parameters(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_to_its_place_or_to_the_folder_of_commands() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("a=b"), "").expect("writable");
        let place = |text: &str| guest_file(text).map(|file| file.in_guest);
        let host = path("a=b");
        assert_eq!(place(&host).expect("it is there"), "root/a=b");
        assert_eq!(place(&format!("{host}=/opt/x")).expect("it is there"), "opt/x");
        assert_eq!(place(&format!("{host}=/opt/")).expect("it is there"), "opt/a=b");
        for wrong in ["=x", "=/../x", "=/a//b", "=/.", "c"] {
            assert!(place(&format!("{host}{wrong}")).is_err(), "{wrong}");
        }
        assert!(place(&folder.path().display().to_string()).is_err(), "a folder is no file");
        let file = guest_file(&host).expect("it is there");
        assert_eq!(file.on_host, Path::new(&host));
    }

    #[test]
    fn parameters_are_words() {
        let words = |text: &str| parameters(text).map(|parameters| parameters.0);
        assert_eq!(words(" a=b  c ").expect("right"), ["a=b", "c"]);
        assert_eq!(words("text=\"a b\" n=1,2").expect("right"), ["text=\"a b\"", "n=1,2"]);
        assert_eq!(words("my_rng.mode=0600").expect("right"), ["my_rng.mode=0600"]);
        assert!(words("").expect("none is fine").is_empty());
        for wrong in ["=1", "a b;c=1", "text=\"a", "$(x)=1"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }
}
