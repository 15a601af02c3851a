//! The engine: makes the connections.
//!
//! [`scheduler`] decides what starts when, without sockets or clock; [`driver`] does it, with a `connection` for each attempt
//! (its machine `guarded`) in one of its `slots`, over a `socket` that is `ready`, or over the `raw` sockets of packets made by hand, whose resets
//! the `closer` sends; the `tracer` sends copies of packets with a limited TTL; [`ports`] gives every attempt
//! a source port of its own, drawn anew for each wave; `clock` detects steps of the system's clock, `pauses` detects that
//! the program was stopped or the machine asleep, and a [`disturbance`] invalidates a wave.
//!
//! Imports [`connect`](crate::connect), [`locate`](crate::locate), [`step`](crate::step) and [`packet`](crate::packet); never the
//! observer.

mod clock;
mod clocks;
mod closer;
mod connection;
pub mod disturbance;
pub mod driver;
mod guarded;
mod pauses;
pub mod ports;
mod raw;
mod ready;
pub mod scheduler;
mod slots;
mod socket;
mod tracer;
