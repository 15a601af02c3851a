//! The step `sockopt`: options of sockets, by name and typed, or raw by numbers.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use nix::libc;

use crate::step::facts::{Facts, Fault};
use crate::step::family::Family;
use crate::step::kind::{Change, Need, Privilege, Scope, StepDef, StepKind, Together};
use crate::step::setsockopt;

/// The row of the registry.
pub(super) static DEF: StepDef = StepDef {
    name: "sockopt",
    scope: Scope::Socket,
    doc: "set options on each socket before it connects",
    undo: "nothing to undo: they end with the socket",
    example: "{ sockopt = { ip_tos = 184 } }",
    privilege: Privilege::None,
    group: None,
    revert: None,
};

/// What an option takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// A whole number within bounds.
    Integer(RangeInclusive<i64>),
    /// A word.
    Text,
    /// true or false.
    Boolean,
}

/// A value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A word.
    Text(String),
    /// true or false.
    Boolean(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(value) => value.fmt(f),
            Value::Text(value) => value.fmt(f),
            Value::Boolean(value) => value.fmt(f),
        }
    }
}

/// One row of the registry of socket options.
#[derive(Debug, PartialEq, Eq)]
pub struct SockoptDef {
    /// The name in a measurement file.
    pub name: &'static str,
    /// Its name in the kernel's headers.
    pub constant: &'static str,
    /// Its level and number.
    pub number: (i32, i32),
    /// Its level and number on IPv6 sockets, if they differ there.
    pub v6: Option<(i32, i32)>,
    /// The only family whose sockets have it.
    pub family: Option<Family>,
    /// What it does.
    pub doc: &'static str,
    /// The values that it takes.
    pub takes: Takes,
    /// An example of its value, as TOML.
    pub example: &'static str,
    /// What setting it needs.
    pub privilege: Privilege,
}

/// Every named option.
pub static SOCKOPTS: &[SockoptDef] = &[
    SockoptDef {
        name: "ip_tos",
        constant: "IP_TOS, IPV6_TCLASS",
        number: (libc::IPPROTO_IP, libc::IP_TOS),
        v6: Some((libc::IPPROTO_IPV6, libc::IPV6_TCLASS)),
        family: None,
        doc: "The TOS byte of IPv4 packets and the traffic class of IPv6 packets: DSCP times four; TCP keeps its two ECN bits to itself.",
        takes: Takes::Integer(0..=255),
        example: "184",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: "ipv6_tclass",
        constant: "IPV6_TCLASS",
        number: (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        v6: None,
        family: Some(Family::V6),
        doc: "The traffic class of IPv6 packets alone, whatever ip_tos says; without ip_tos, IPv4 targets are skipped.",
        takes: Takes::Integer(0..=255),
        example: "184",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: "ip_ttl",
        constant: "IP_TTL, IPV6_UNICAST_HOPS",
        number: (libc::IPPROTO_IP, libc::IP_TTL),
        v6: Some((libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)),
        family: None,
        doc: "The TTL of IPv4 packets and the hop limit of IPv6 packets.",
        takes: Takes::Integer(1..=255),
        example: "64",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: "tcp_maxseg",
        constant: "TCP_MAXSEG",
        number: (libc::IPPROTO_TCP, libc::TCP_MAXSEG),
        v6: None,
        family: None,
        doc: "The MSS that is announced and not exceeded, in bytes.",
        takes: Takes::Integer(88..=32767),
        example: "1000",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: CONGESTION,
        constant: "TCP_CONGESTION",
        number: (libc::IPPROTO_TCP, libc::TCP_CONGESTION),
        v6: None,
        family: None,
        doc: "The congestion control; the kernel must have it.",
        takes: Takes::Text,
        example: "\"cubic\"",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: "tcp_fastopen_connect",
        constant: "TCP_FASTOPEN_CONNECT",
        number: (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
        v6: None,
        family: None,
        doc: "Send data with the SYN where a cookie is known (RFC 7413).",
        takes: Takes::Boolean,
        example: "true",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: "tcp_window_clamp",
        constant: "TCP_WINDOW_CLAMP",
        number: (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP),
        v6: None,
        family: None,
        doc: "The largest receive window that is announced, in bytes.",
        takes: Takes::Integer(0..=1 << 30),
        example: "65535",
        privilege: Privilege::None,
    },
    SockoptDef {
        name: "mark",
        constant: "SO_MARK",
        number: (libc::SOL_SOCKET, libc::SO_MARK),
        v6: None,
        family: None,
        doc: "The firewall mark of the socket's packets, for rules and routes of your own.",
        takes: Takes::Integer(0..=u32::MAX as i64),
        example: "7",
        privilege: Privilege::NetAdmin,
    },
];

/// An option with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sockopt {
    /// One of [`SOCKOPTS`].
    Named(&'static SockoptDef, Value),
    /// `setsockopt(level, name, value)` with an integer, for what has no name here.
    Raw {
        /// The level, SOL_TCP is 6.
        level: i32,
        /// The option's number.
        name: i32,
        /// Its value.
        value: i32,
    },
}

impl SockoptDef {
    /// Its level and number on sockets of a family.
    fn of(&self, family: Family) -> (i32, i32) {
        self.v6.filter(|_| family == Family::V6).unwrap_or(self.number)
    }
}

impl StepKind for Sockopt {
    fn def(&self) -> &'static StepDef {
        &DEF
    }

    fn describe(&self) -> String {
        self.describe()
    }

    fn describe_undo(&self) -> String {
        "nothing: it ends with the socket".into()
    }

    fn written(&self) -> String {
        match self {
            Sockopt::Named(row, _) => row.name.to_owned(),
            Sockopt::Raw { level, name, value } => format!("raw = [{level}, {name}, {value}]"),
        }
    }

    /// What setting it needs; for a raw option this is not known, so it is the most that an option can need.
    fn privilege(&self) -> Privilege {
        match self {
            Sockopt::Named(row, _) => row.privilege,
            Sockopt::Raw { .. } => Privilege::NetAdmin,
        }
    }

    fn needs(&self) -> Vec<Need> {
        match self {
            Sockopt::Named(row, _) if row.privilege == Privilege::NetAdmin => {
                vec![Need::net_admin(row.constant)]
            }
            Sockopt::Named(row, _) if row.name == CONGESTION => {
                let why = format!(
                    "{}, if net.ipv4.tcp_allowed_congestion_control does not list the value",
                    row.constant
                );
                vec![Need { required: false, ..Need::net_admin(why) }]
            }
            Sockopt::Named(..) => Vec::new(),
            Sockopt::Raw { .. } => {
                let why = "an option without a name may need it";
                vec![Need { required: false, ..Need::net_admin(why) }]
            }
        }
    }

    fn only(&self) -> Option<Family> {
        match self {
            Sockopt::Named(row, _) => row.family,
            Sockopt::Raw { level, .. } => match *level {
                libc::IPPROTO_IP => Some(Family::V4),
                libc::IPPROTO_IPV6 => Some(Family::V6),
                _ => None,
            },
        }
    }

    fn inspect(&self, facts: &dyn Facts) -> Option<Fault> {
        match self {
            Sockopt::Named(row, Value::Text(name)) if row.name == CONGESTION => {
                Fault::of_congestion(name, facts)
            }
            _ => None,
        }
    }

    fn change(&self, _: &Together<'_>) -> Option<Box<dyn Change>> {
        None
    }
}

/// The option that takes the name of a congestion control.
pub(crate) const CONGESTION: &str = "tcp_congestion";

impl Sockopt {
    /// What it does, in plain words.
    pub fn describe(&self) -> String {
        match self {
            Sockopt::Named(row, value) => {
                format!("set {} to {value} on each socket before it connects", row.constant)
            }
            Sockopt::Raw { level, name, value } => format!(
                "set option {name} of level {level} to {value} on each socket before it connects"
            ),
        }
    }

    /// Sets it on a socket that has not connected yet. An option that only sockets of the other family have is skipped,
    /// so that one step serves both.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn set(&self, socket: BorrowedFd<'_>, family: Family) -> io::Result<()> {
        match self {
            Sockopt::Named(row, _) if row.family.is_some_and(|only| only != family) => Ok(()),
            Sockopt::Named(row, value) => {
                let (level, name) = row.of(family);
                match value {
                    // Numbers are within the range of their option, which fits 32 bits; a mark is unsigned, and
                    // its bits are kept.
                    Value::Integer(value) => {
                        setsockopt::set(socket, level, name, &(*value as u32).to_ne_bytes())
                    }
                    Value::Boolean(value) => {
                        setsockopt::set(socket, level, name, &u32::from(*value).to_ne_bytes())
                    }
                    Value::Text(value) => setsockopt::set(socket, level, name, value.as_bytes()),
                }
            }
            Sockopt::Raw { level, name, value } => {
                setsockopt::set(socket, *level, *name, &value.to_ne_bytes())
            }
        }
    }

    /// Whether only the sockets of one family have it.
    pub fn is_of_one_family(&self) -> bool {
        matches!(self, Sockopt::Named(row, _) if row.family.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn socket(family: Family) -> Socket {
        let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
        Socket::new(domain, Type::STREAM, None).unwrap()
    }

    fn get(socket: &Socket, (level, name): (i32, i32)) -> Vec<u8> {
        setsockopt::get(socket.as_fd(), level, name, 64).unwrap()
    }

    #[test]
    fn every_option_reads_back_as_it_was_set() {
        for row in SOCKOPTS {
            let value = match row.takes {
                Takes::Integer(_) => Value::Integer(row.example.parse().unwrap()),
                Takes::Boolean => Value::Boolean(row.example.parse().unwrap()),
                Takes::Text => Value::Text(row.example.trim_matches('"').into()),
            };
            let option = Sockopt::Named(row, value.clone());
            for family in [Family::V4, Family::V6] {
                if row.family.is_none_or(|only| only == family) {
                    is_set(row, &option, &value, family);
                }
            }
        }
    }

    fn is_set(row: &SockoptDef, option: &Sockopt, value: &Value, family: Family) {
        let number = row.of(family);
        let socket = socket(family);
        let before = get(&socket, number);
        match option.set(socket.as_fd(), family) {
            Err(why) if row.privilege == Privilege::NetAdmin => {
                // For an ordinary user; a test in a namespace sets it.
                assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{}", row.name);
                return;
            }
            outcome => outcome.unwrap(),
        }
        let now = get(&socket, number);
        let wanted = match value {
            Value::Integer(value) => (*value as u32).to_ne_bytes().to_vec(),
            Value::Boolean(value) => u32::from(*value).to_ne_bytes().to_vec(),
            Value::Text(value) => value.clone().into_bytes(),
        };
        assert!(now.starts_with(&wanted), "{}: {now:?}", row.name);
        // Most hosts use cubic and a TTL of 64 anyway.
        let usual = matches!(row.name, "tcp_congestion" | "ip_ttl");
        assert!(usual || before != now, "{}: {now:?}", row.name);
    }

    #[test]
    fn raw_options_are_set_by_number() {
        let socket = socket(Family::V4);
        let option = Sockopt::Raw { level: 6, name: libc::TCP_FASTOPEN_CONNECT, value: 1 };
        option.set(socket.as_fd(), Family::V4).unwrap();
        assert_eq!(get(&socket, (6, libc::TCP_FASTOPEN_CONNECT)), 1_i32.to_ne_bytes());
        let option = Sockopt::Raw { level: 6, name: 99_999, value: 1 };
        assert_eq!(
            option.set(socket.as_fd(), Family::V4).unwrap_err().raw_os_error(),
            Some(libc::ENOPROTOOPT)
        );
    }

    #[test]
    fn options_of_the_other_family_are_skipped() {
        let class = SOCKOPTS.iter().find(|row| row.name == "ipv6_tclass").unwrap();
        let socket = socket(Family::V4);
        Sockopt::Named(class, Value::Integer(184)).set(socket.as_fd(), Family::V4).unwrap();
    }
}
