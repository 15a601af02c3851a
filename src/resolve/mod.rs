//! Addresses of names: a stub resolver over UDP and TCP with a rate limit.

pub mod pace;
pub mod question;
pub mod resolver;
pub mod servers;
