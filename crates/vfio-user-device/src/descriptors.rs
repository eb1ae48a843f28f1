//! What to say when file descriptors run out.

use std::error::Error;

use rustix::io::Errno;

use crate::causes::is_caused_by;

/// The remedy, for the end of an error message.
const REMEDY: &str = "this process may open no more file descriptors: raise its hard limit \
                      (LimitNOFILE= of a service, ulimit -H -n in a shell) and start it again";

/// Says what to do, if an error or one behind it is that this process has no file descriptors left.
pub fn descriptors_remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    is_caused_by(error, Errno::MFILE).then_some(REMEDY)
}

/// An error with what to do about it.
pub(crate) fn with_remedy(error: &(dyn Error + 'static)) -> String {
    match descriptors_remedy(error) {
        Some(remedy) => format!("{error} ({remedy})"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerError;

    #[test]
    fn the_remedy_is_for_descriptors_alone() {
        let of = |errno: Errno| ServerError::Bind { path: "/s".into(), source: errno.into() };
        assert_eq!(descriptors_remedy(&of(Errno::MFILE)), Some(REMEDY));
        assert_eq!(descriptors_remedy(&ServerError::Listen(Errno::MFILE.into())), Some(REMEDY));
        assert_eq!(descriptors_remedy(&of(Errno::ACCESS)), None);
        assert!(with_remedy(&Errno::MFILE).ends_with("and start it again)"));
        assert_eq!(with_remedy(&Errno::ACCESS), Errno::ACCESS.to_string());
    }
}
