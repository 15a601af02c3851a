//! Options about the names of targets.

use std::net::SocketAddr;

use clap::ValueEnum;

use crate::resolve::question::Family;
use crate::resolve::servers;
use crate::run::spec::Spec;

/// Options of name look-ups.
#[derive(Debug, clap::Args)]
pub struct Names {
    /// Resolver for the addresses of names, if the measurement has prepare.resolve; if repeated, resolvers take turns
    /// [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = servers::server)]
    resolver: Vec<SocketAddr>,

    /// IP version to use if a name has addresses of both
    #[arg(long, value_enum, value_name = "VERSION", default_value = "4")]
    prefer: Prefer,
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Prefer {
    /// IPv4.
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
}

impl Names {
    /// Copies the options into a run's spec.
    pub fn fill(&self, spec: &mut Spec) {
        spec.resolvers.clone_from(&self.resolver);
        spec.prefer = match self.prefer {
            Prefer::V4 => Family::V4,
            Prefer::V6 => Family::V6,
        };
    }
}
