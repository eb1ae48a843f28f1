//! Error numbers as C programmers write them.

/// `EFAULT` for 14.
#[must_use]
pub fn name(errno: i32) -> String {
    let known = match errno {
        1 => "EPERM",
        2 => "ENOENT",
        4 => "EINTR",
        5 => "EIO",
        6 => "ENXIO",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        19 => "ENODEV",
        22 => "EINVAL",
        25 => "ENOTTY",
        38 => "ENOSYS",
        95 => "EOPNOTSUPP",
        other => return format!("error {other}"),
    };
    known.to_owned()
}

/// Whether a call's result is an error; other results below 0 are numbers.
#[must_use]
pub fn is_error(result: i32) -> bool {
    (-4095..0).contains(&result)
}

/// What a call returned: `0`, `-EFAULT`, `4`.
#[must_use]
pub fn returned(result: i32) -> String {
    if is_error(result) { format!("-{}", name(-result)) } else { result.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_written_as_in_c() {
        assert_eq!([returned(-14), returned(0), returned(4)], ["-EFAULT", "0", "4"]);
        assert_eq!(returned(-77), "-error 77");
        assert_eq!(returned(-100_000), "-100000");
    }
}
