//! What becomes of what was handed in, in each form.

use std::io::Write;

use super::*;

fn hint(result: Result<Copied, Stop>) -> String {
    match result {
        Err(Stop::Verdict(verdict)) => verdict.message(),
        other => panic!("{other:?} is no submission's failure"),
    }
}

#[test]
fn links_and_leftovers_stay_behind() {
    let from = tempfile::tempdir().expect("a folder can be made");
    let to = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| from.path().join(name);
    fs::create_dir_all(path("sub/.git")).expect("writable");
    for name in ["a.c", "a.ko", ".a.o.cmd", "sub/b c.h", "sub/.git/config"] {
        fs::write(path(name), "text").expect("writable");
    }
    std::os::unix::fs::symlink("/etc/passwd", path("passwd.c")).expect("writable");
    std::os::unix::fs::symlink("/", path("root")).expect("writable");
    let copied = sources(from.path(), to.path()).expect("it is small");
    let names: Vec<String> =
        copied.files.iter().map(|file| crate::build::shown(file, to.path())).collect();
    assert_eq!(names, ["a.c", "sub/b c.h"]);
    assert_eq!(copied.notes.len(), 2, "{:?}", copied.notes);
}

#[test]
fn a_huge_submission_is_refused() {
    let from = tempfile::tempdir().expect("a folder can be made");
    let to = tempfile::tempdir().expect("a folder can be made");
    let file = fs::File::create(from.path().join("large.bin")).expect("writable");
    file.set_len(MAX_BYTES + 1).expect("a file with a hole");
    assert!(hint(sources(from.path(), to.path())).contains("more than"));
    assert!(hint(sources(&from.path().join("absent"), to.path())).contains("nothing at"));
}

/// Copies files of these names and contents; the names of what came of them, and all of it.
fn copied(files: &[(&str, &[u8])]) -> (Vec<String>, Copied) {
    let from = tempfile::tempdir().expect("a folder can be made");
    let to = tempfile::tempdir().expect("a folder can be made").keep();
    for (name, contents) in files {
        fs::write(from.path().join(name), contents).expect("writable");
    }
    let copied = sources(from.path(), &to).expect("it is small");
    let names = copied.files.iter().map(|file| crate::build::shown(file, &to)).collect();
    (names, copied)
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("it is one").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, text.as_bytes()).expect("in memory");
    }
    tar.into_inner().expect("in memory")
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).expect("in memory");
    gz.finish().expect("in memory")
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, text) in files {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(*name, options).expect("in memory");
        zip.write_all(text.as_bytes()).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}

#[test]
fn archives_and_patches_are_unpacked_and_capital_c_is_c() {
    let mut xz = Vec::new();
    let bytes = tar(&[("c.c", "int c;")]);
    let mut encoder = liblzma::read::XzEncoder::new(&bytes[..], 1);
    encoder.read_to_end(&mut xz).expect("in memory");
    let patch = "--- /dev/null\n+++ b/drivers/d.c\n@@ -0,0 +1 @@\n+int d;\n";
    let inner = zip(&[("linux.patch", patch)]);
    let (names, copied) = copied(&[
        ("one.tar.gz", &gz(&tar(&[("ada/a.c", "int a;"), ("ada/a.ko", "old")]))),
        ("two.zip", &zip(&[("b.c", "int b;")])),
        ("Three.TXZ", &xz),
        ("four.zip", &inner),
        ("e.C", b"int e;"),
        ("f.rar", b"Rar!"),
        ("g.zip", b"no archive"),
    ]);
    assert_eq!(
        names,
        ["Three/c.c", "e.c", "four/linux/drivers/d.c", "one/ada/a.c", "two/b.c"],
        "{copied:?}"
    );
    let passed_over = copied.passed_over.join("\n");
    assert!(passed_over.contains("f.rar: this form of archive is not unpacked"), "{passed_over}");
    assert!(passed_over.contains("g.zip: the archive cannot be unpacked"), "{passed_over}");
}

#[test]
fn what_leads_out_of_an_archive_or_is_a_link_is_left_out() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", "/etc").expect("in memory");
    let links = builder.into_inner().expect("in memory");
    let (names, copied) = copied(&[
        ("a.tar", &tar(&[("../../out.c", "x"), ("/abs.c", "x"), ("in/./side.c", "x")])),
        ("b.zip", &zip(&[("../out.c", "x"), ("a.c", "x")])),
        ("c.tar", &links),
    ]);
    assert_eq!(names, ["a/in/side.c", "b/a.c"], "{copied:?}");
    assert_eq!(copied.passed_over.len(), 3, "{:?}", copied.passed_over);
    assert!(copied.notes.iter().any(|note| note.starts_with("link is a link")), "{copied:?}");
}

#[test]
fn an_archive_unpacks_to_no_more_than_a_submission_may_have() {
    let from = tempfile::tempdir().expect("a folder can be made");
    let to = tempfile::tempdir().expect("a folder can be made");
    let zeros = String::from_utf8(vec![0; 33 << 20]).expect("zeros are text");
    fs::write(from.path().join("bomb.tgz"), gz(&tar(&[("a.c", &zeros)]))).expect("writable");
    assert!(hint(sources(from.path(), to.path())).contains("more than"));
    // A name that is longer than a submission.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(100 << 20);
    header.set_cksum();
    let mut long = header.as_bytes().to_vec();
    long.resize(512 + (100 << 20), b'a');
    let (names, copied) = copied(&[("long.tgz", &gz(&long))]);
    assert_eq!((names.len(), copied.passed_over.len()), (0, 1), "{:?}", copied.passed_over);
}

#[test]
fn archives_in_archives_in_archives_are_passed_over() {
    let mut bytes = zip(&[("a.c", "x")]);
    for _ in 0..4 {
        let mut outer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        outer.start_file("in.zip", options).expect("in memory");
        outer.write_all(&bytes).expect("in memory");
        bytes = outer.finish().expect("in memory").into_inner();
    }
    let (names, copied) = copied(&[("out.zip", &bytes)]);
    assert_eq!(names.len(), 0);
    assert!(copied.passed_over[0].contains("too many archives"), "{:?}", copied.passed_over);
}
