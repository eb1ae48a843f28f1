//! The specification of a source, as the command line has it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use vfio_user_device::Waker;

use super::egd::{self, EgdAddress};
use super::non_blocking;
use super::seeded::Seeded;
use super::tested::Tested;
use super::{Source, SourceError, file};
use crate::health::HealthMode;

/// The end of an EGD's address where we listen.
const LISTEN: &str = ",listen";

/// A source by its description, such as `getrandom` or `file:/dev/hwrng`.
///
/// ```
/// use entropy::source::Specification;
/// let source: Specification = "egd:tcp:[::1]:7000,listen".parse()?;
/// assert_eq!(source.to_string(), "egd:tcp:[::1]:7000,listen");
/// # Ok::<(), entropy::source::SpecificationError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Specification {
    /// `getrandom`: the operating system.
    #[default]
    Getrandom,
    /// `file:PATH`: a file, a FIFO or a device.
    File {
        /// The path.
        path: PathBuf,
        /// Whether it is read again from its start when it has ended. There is another option of
        /// the command line for that; see [`Specification::repeating`].
        repeat: bool,
    },
    /// `egd:ADDRESS` or `egd:ADDRESS,listen`: an entropy gathering daemon. That of UDP can have
    /// `,local=HOST:PORT`, where our own datagrams come from.
    Egd {
        /// Where it is, or where we are.
        address: EgdAddress,
        /// Whether it connects to us.
        listen: bool,
    },
    /// `chacha20:SEED`: the key stream of a seed, for tests.
    Chacha20 {
        /// The seed, as [`my_rng_model::generator::ChaCha20::from_seed`] has it.
        seed: u32,
    },
    /// One of the others with health tests. There is another option of the command line for that; see
    /// [`Specification::tested`].
    Tested {
        /// The other one.
        source: Box<Specification>,
        /// Not [`HealthMode::Off`].
        health: HealthMode,
    },
}

/// A source that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecificationError {
    /// The description cannot be read.
    #[error(
        "{text:?}: {reason}; expected one of getrandom, file:PATH, egd:unix:PATH, egd:tcp:HOST:PORT, \
         egd:udp:HOST:PORT (the three egd: also with {LISTEN} at the end), \
         and chacha20:SEED"
    )]
    Text {
        /// The description.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Only a file has a start to go back to.
    #[error("cannot use --file-loop with the source {0}; expected file:PATH")]
    NotAFile(Specification),
}

impl Specification {
    /// The same source, read again from its start when it has ended.
    ///
    /// # Errors
    /// [`SpecificationError::NotAFile`].
    pub fn repeating(self) -> Result<Self, SpecificationError> {
        match self {
            Specification::File { path, .. } => Ok(Specification::File { path, repeat: true }),
            other => Err(SpecificationError::NotAFile(other)),
        }
    }

    /// The same source with health tests.
    #[must_use]
    pub fn tested(self, health: HealthMode) -> Self {
        match health {
            HealthMode::Off => self,
            HealthMode::Warn | HealthMode::Stop => {
                Specification::Tested { source: Box::new(self), health }
            }
        }
    }

    /// Opens the source. After it has returned
    /// [`ReadOutcome::Pending`](super::ReadOutcome::Pending), it uses that waker.
    ///
    /// # Errors
    /// See [`SourceError`]. A daemon that is not there yet is not an error: the source retries with
    /// backoff.
    pub fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError> {
        match self {
            Specification::Getrandom => Ok(Box::new(non_blocking::os_random()?)),
            Specification::File { path, repeat } => file::open(path, *repeat, waker),
            Specification::Egd { address, listen } => egd::open(address, *listen, waker),
            Specification::Chacha20 { seed } => Ok(Box::new(Seeded::new(*seed))),
            Specification::Tested { source, health } => {
                Ok(Box::new(Tested::new(source.open(waker)?, source, *health)))
            }
        }
    }
}

impl fmt::Display for Specification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Specification::Getrandom => f.write_str("getrandom"),
            Specification::File { path, .. } => write!(f, "file:{}", path.display()),
            Specification::Egd { address, listen } => {
                write!(f, "egd:{address}{}", if *listen { LISTEN } else { "" })
            }
            Specification::Chacha20 { seed } => write!(f, "chacha20:{seed}"),
            Specification::Tested { source, .. } => source.fmt(f),
        }
    }
}

impl FromStr for Specification {
    type Err = SpecificationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| SpecificationError::Text { text: text.into(), reason })
    }
}

fn parse(text: &str) -> Result<Specification, &'static str> {
    let (kind, rest) = match text.split_once(':') {
        Some((kind, rest)) => (kind, Some(rest)),
        None => (text, None),
    };
    match (kind, rest) {
        ("getrandom", None) => Ok(Specification::Getrandom),
        ("getrandom", Some(_)) => Err("nothing goes after getrandom"),
        ("file", Some(path)) if !path.is_empty() => {
            Ok(Specification::File { path: path.into(), repeat: false })
        }
        ("file", _) => Err("the path is missing"),
        ("egd", Some(rest)) => {
            let address = rest.strip_suffix(LISTEN);
            let listen = address.is_some();
            let address = address.unwrap_or(rest).parse()?;
            match address {
                EgdAddress::Udp { local: Some(_), .. } if listen => {
                    Err("local= is for a daemon that we connect to")
                }
                address => Ok(Specification::Egd { address, listen }),
            }
        }
        ("egd", None) => Err("the address is missing"),
        ("chacha20", Some(seed)) => Ok(Specification::Chacha20 { seed: parse_seed(seed)? }),
        ("chacha20", None) => Err("the seed is missing"),
        _ => Err("unknown kind"),
    }
}

fn parse_seed(text: &str) -> Result<u32, &'static str> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a seed is a number from 0 to 4294967295")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::egd::Local;

    fn reason(text: &str) -> &'static str {
        match text.parse::<Specification>() {
            Err(SpecificationError::Text { text: named, reason }) if named == text => reason,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn tcp(host: &str, port: u16, listen: bool) -> Specification {
        Specification::Egd { address: EgdAddress::Tcp { host: host.into(), port }, listen }
    }

    fn udp(host: &str, port: u16, own: Option<&str>, own_port: u16) -> Specification {
        let local = Local { host: own.map(str::to_owned), port: own_port };
        let address = EgdAddress::Udp { host: host.into(), port, local: Some(local) };
        Specification::Egd { address, listen: false }
    }

    #[test]
    fn each_form_is_understood() {
        for (text, expected) in [
            ("getrandom", Specification::Getrandom),
            ("file:/a:b,c", Specification::File { path: "/a:b,c".into(), repeat: false }),
            ("egd:tcp:localhost:7000", tcp("localhost", 7000, false)),
            ("egd:tcp:[::1]:7000,listen", tcp("::1", 7000, true)),
            (
                "egd:udp:10.0.0.1:9",
                Specification::Egd {
                    address: EgdAddress::Udp { host: "10.0.0.1".into(), port: 9, local: None },
                    listen: false,
                },
            ),
            ("egd:udp:h:9,local=[::1]:10", udp("h", 9, Some("::1"), 10)),
            ("egd:udp:[::1]:9,local=:0", udp("::1", 9, None, 0)),
            (
                "egd:unix:/run/egd:1,listen",
                Specification::Egd { address: EgdAddress::Unix("/run/egd:1".into()), listen: true },
            ),
            ("chacha20:42", Specification::Chacha20 { seed: 42 }),
            ("chacha20:0xffffffff", Specification::Chacha20 { seed: u32::MAX }),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", "unknown kind"),
            ("urandom", "unknown kind"),
            ("/dev/urandom", "unknown kind"),
            ("getrandom:", "nothing goes after getrandom"),
            ("file", "the path is missing"),
            ("file:", "the path is missing"),
            ("egd", "the address is missing"),
            ("egd:/run/egd", "after egd: comes unix:, tcp: or udp:"),
            ("egd:unix:", "the path is missing"),
            ("egd:unix:,listen", "the path is missing"),
            ("egd:tcp:localhost", "the port is missing"),
            ("egd:tcp::7000", "the host is missing"),
            ("egd:udp:[]:7000", "the host is missing"),
            ("egd:udp:localhost:0", "a port is a number from 1 to 65535"),
            ("egd:udp:localhost:65536", "a port is a number from 1 to 65535"),
            ("egd:udp:localhost:7000,server", "a port is a number from 1 to 65535"),
            ("egd:udp:h:9,local=10.0.0.1", "after local= comes HOST:PORT or :PORT"),
            ("egd:udp:h:9,local=:x", "a local port is a number from 0 to 65535"),
            ("egd:udp:h:9,local=:10,listen", "local= is for a daemon that we connect to"),
            ("egd:tcp:h:9,local=:10", "an IPv6 address goes in [brackets]"),
            ("egd:tcp:::1:7000", "an IPv6 address goes in [brackets]"),
            ("egd:tcp:[[x]:7000", "brackets go around the whole host"),
            ("chacha20", "the seed is missing"),
            ("chacha20:", "a seed is a number from 0 to 4294967295"),
            ("chacha20:-1", "a seed is a number from 0 to 4294967295"),
            ("chacha20:4294967296", "a seed is a number from 0 to 4294967295"),
        ] {
            assert_eq!(reason(text), expected, "{text}");
        }
    }

    #[test]
    fn an_error_names_the_text_and_every_form() {
        let message = "urandom".parse::<Specification>().unwrap_err().to_string();
        for part in [
            "\"urandom\"",
            "getrandom",
            "file:PATH",
            "egd:unix:PATH",
            "egd:tcp:HOST:PORT",
            "egd:udp:HOST:PORT",
            ",listen",
            "chacha20:SEED",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }

    #[test]
    fn only_files_are_repeated() {
        let file: Specification = "file:/x".parse().unwrap();
        let repeated = Specification::File { path: "/x".into(), repeat: true };
        assert_eq!(file.repeating(), Ok(repeated));
        let error = Specification::Chacha20 { seed: 1 }.repeating().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use --file-loop with the source chacha20:1; expected file:PATH"
        );
    }

    #[test]
    fn sources_are_opened_by_their_descriptions() {
        use crate::source::ReadOutcome;
        let open = |text: &str| {
            text.parse::<Specification>().unwrap().open(Waker::new().unwrap()).unwrap()
        };
        for text in ["getrandom", "file:/dev/urandom", "chacha20:0"] {
            assert_eq!(open(text).read(&mut [0; 16]), ReadOutcome::Bytes(16), "{text}");
        }
        for text in ["egd:unix:/nonexistent/egd", "egd:tcp:localhost:1", "egd:udp:localhost:1"] {
            assert_eq!(open(text).read(&mut [0; 16]), ReadOutcome::Pending, "{text}");
        }
    }

    fn hosts() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9.-]{1,20}", any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string())]
    }

    fn locals() -> impl Strategy<Value = Option<Local>> {
        let local = (proptest::option::of(hosts()), any::<u16>());
        proptest::option::of(local.prop_map(|(host, port)| Local { host, port }))
    }

    fn addresses() -> impl Strategy<Value = EgdAddress> {
        let with_port = (hosts(), 1..=u16::MAX, any::<bool>());
        prop_oneof![
            "[ -~]{1,30}"
                .prop_filter("a path that ends like this cannot be told apart", |path| {
                    !path.ends_with(LISTEN)
                })
                .prop_map(|path| EgdAddress::Unix(path.into())),
            with_port.prop_map(|(host, port, udp)| match udp {
                true => EgdAddress::Udp { host, port, local: None },
                false => EgdAddress::Tcp { host, port },
            }),
            (hosts(), 1..=u16::MAX, locals()).prop_map(|(host, port, local)| EgdAddress::Udp {
                host,
                port,
                local
            }),
        ]
    }

    fn specifications() -> impl Strategy<Value = Specification> {
        prop_oneof![
            Just(Specification::Getrandom),
            "\\PC{1,30}".prop_map(|path| Specification::File { path: path.into(), repeat: false }),
            (addresses(), any::<bool>()).prop_map(|(address, listen)| {
                let asks = matches!(address, EgdAddress::Udp { local: Some(_), .. });
                Specification::Egd { address, listen: listen && !asks }
            }),
            any::<u32>().prop_map(|seed| Specification::Chacha20 { seed }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_understood_again(specification in specifications()) {
            prop_assert_eq!(specification.to_string().parse(), Ok(specification));
        }

        #[test]
        fn any_text_is_understood_or_refused(text in "(egd:|file:|chacha20:|tcp:|udp:|unix:|\\[|\\]|,listen|[0-9a-z:])*") {
            if let Ok(specification) = text.parse::<Specification>() {
                prop_assert_eq!(specification.to_string().parse(), Ok(specification));
            }
        }
    }
}
