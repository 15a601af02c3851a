//! The engine: makes the connections.
//!
//! [`scheduler`] decides what starts when, without sockets or clock; [`driver`] owns the sockets
//! and does it; [`ports`] gives every attempt a source port that tells its configuration and wave.
//!
//! Imports [`connect`](crate::connect) and [`step`](crate::step); never the observer.

pub mod driver;
pub mod ports;
pub mod scheduler;
