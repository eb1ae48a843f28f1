//! The new files of a patch: a driver made in the kernel's tree, or a device in QEMU's, is handed in
//! as one. What it changes in files of the tree is not here, and is not needed for a module.

/// A patch's new files with their contents, and the files that it changes.
pub fn files(patch: &str) -> (Vec<(&str, String)>, Vec<&str>) {
    let (mut new, mut changed): (Vec<(&str, String)>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut lines = patch.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("--- ") {
            continue;
        }
        let Some(path) = lines.peek().and_then(|next| next.strip_prefix("+++ ")) else { continue };
        let path = in_tree(path);
        lines.next();
        // What was not there has no lines in the first hunk's old part, and there is no second one.
        let hunk = lines.peek().and_then(|next| next.strip_prefix("@@ -0,0 +"));
        let Some(count) = hunk.map(added) else {
            changed.extend(path);
            continue;
        };
        lines.next();
        let added = std::iter::from_fn(|| lines.next_if(|line| line.starts_with('+')));
        let contents = added.take(count).map(|line| format!("{}\n", &line[1..])).collect();
        new.extend(path.map(|path| (path, contents)));
    }
    (new, changed)
}

/// How many lines a hunk adds: `1,3 @@` or, for one line, `1 @@`.
fn added(hunk: &str) -> usize {
    let range = hunk.split(' ').next().unwrap_or_default();
    range.split_once(',').map_or(1, |(_, count)| count.parse().unwrap_or(0))
}

/// A path in the tree: without the time behind it, and the folder before it that diff adds. A file
/// that the patch removes has none.
fn in_tree(path: &str) -> Option<&str> {
    let path = path.split('\t').next().unwrap_or(path).trim_end();
    if path == "/dev/null" {
        return None;
    }
    Some(path.split_once('/').map_or(path, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
From 0123 Mon Sep 17 00:00:00 2001
Subject: [PATCH] a driver
---
 drivers/misc/Makefile | 1 +
diff --git a/drivers/misc/Makefile b/drivers/misc/Makefile
--- a/drivers/misc/Makefile
+++ b/drivers/misc/Makefile
@@ -1 +1,2 @@
 obj-$(CONFIG_X) += x.o
+obj-y += my-rng.o
diff --git a/drivers/misc/my-rng.c b/drivers/misc/my-rng.c
new file mode 100644
--- /dev/null
+++ b/drivers/misc/my-rng.c
@@ -0,0 +1,3 @@
+int a;
+--- b;
++++ c;
\\ No newline at end of file
diff -Nur linux/one.h linux-mine/one.h
--- linux/one.h\t1970-01-01 01:00:00
+++ linux-mine/one.h\t2026-01-01 01:00:00
@@ -0,0 +1 @@
+#define ONE 1
--
2.40
";

    #[test]
    fn new_files_are_taken_out_and_changed_ones_named() {
        let (new, changed) = files(PATCH);
        assert_eq!(
            new,
            [
                ("drivers/misc/my-rng.c", "int a;\n--- b;\n+++ c;\n".to_owned()),
                ("one.h", "#define ONE 1\n".to_owned()),
            ]
        );
        assert_eq!(changed, ["drivers/misc/Makefile"]);
    }

    #[test]
    fn a_hunk_that_lies_about_its_length_ends_with_the_patch() {
        let patch = "--- /dev/null\n+++ b/a.c\n@@ -0,0 +1,99999999999 @@\n+int a;\n--- \n";
        let (new, _) = files(patch);
        assert_eq!(new, [("a.c", "int a;\n".to_owned())]);
    }
}
