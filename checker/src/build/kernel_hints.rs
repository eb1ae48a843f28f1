//! Hints for the compile errors that old tutorials lead to: interfaces that the kernel has changed
//! since they were written.

/// Part of an error, and what to do.
const HINTS: &[(&str, &str)] = &[
    ("class_create", "since Linux 6.4, class_create() takes the name alone"),
    ("ioremap_nocache", "ioremap_nocache() is gone since Linux 5.6; ioremap() does the same"),
    ("'ioctl'", "the member is named unlocked_ioctl since Linux 2.6.36"),
    ("\u{2018}ioctl\u{2019}", "the member is named unlocked_ioctl since Linux 2.6.36"),
    ("access_ok", "since Linux 5.0, access_ok() takes the address and the size alone"),
    ("pci_set_dma_mask", "pci_set_dma_mask() is gone; use dma_set_mask()"),
    ("strlcpy", "strlcpy() is gone since Linux 6.8; use strscpy()"),
    ("asm/uaccess.h", "include <linux/uaccess.h>"),
    ("undefined!", "the kernel does not offer this function to modules; is the name right?"),
    ("stdio.h", "the kernel has no C library: printk() is in <linux/printk.h>"),
    ("stdlib.h", "the kernel has no C library: kmalloc() is in <linux/slab.h>"),
    ("implicit declaration", "the header that declares the function is not included"),
    ("No such file or directory", "an included file is not there: was it handed in?"),
];

/// A hint for an error, when it is a known one.
pub fn find(error: &str) -> Option<&'static str> {
    HINTS.iter().find(|(part, _)| error.contains(part)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_interface_is_known_and_a_typing_error_is_not() {
        let error = "a.c:3:5: error: too many arguments to function 'class_create'";
        assert!(find(error).expect("known").contains("6.4"));
        assert_eq!(find("a.c:3:5: error: expected ';' before 'return'"), None);
    }
}
