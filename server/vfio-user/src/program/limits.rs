//! Limits of the process that many servers meet.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ProgramError;

/// Descriptors that a server with a client needs: two sockets, and an eventfd for each interrupt
/// and for a device that waits for another thread.
const FOR_EACH_SERVER: u64 = 8;
/// Descriptors for everything else.
const FOR_THE_PROGRAM: u64 = 32;

/// Makes room for the descriptors of so many servers: raises the soft limit to the hard one
/// (`RLIMIT_NOFILE`) if there is a need to.
///
/// # Errors
/// [`ProgramError::Descriptors`]: the hard limit is too low.
pub fn make_room_for(servers: usize) -> Result<(), ProgramError> {
    let servers = u64::try_from(servers).unwrap_or(u64::MAX);
    let needed = servers.saturating_mul(FOR_EACH_SERVER).saturating_add(FOR_THE_PROGRAM);
    let limit = getrlimit(Resource::Nofile);
    // No limit is more than every number.
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if needed <= soft {
        return Ok(());
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let error = |source| ProgramError::Descriptors { servers, needed, hard, source };
    if needed > hard {
        return Err(error(None));
    }
    setrlimit(Resource::Nofile, raised).map_err(|errno| error(Some(io::Error::from(errno))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_servers_than_the_hard_limit_allows_are_refused_with_the_numbers() {
        make_room_for(1).unwrap();
        let hard = getrlimit(Resource::Nofile).maximum;
        let Some(hard) = hard else { return };
        let error = make_room_for(usize::try_from(hard).unwrap()).unwrap_err().to_string();
        assert!(error.contains(&hard.to_string()), "{error}");
    }
}
