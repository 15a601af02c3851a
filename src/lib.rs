//! pathspider asks each target the same question twice, under configuration zero and under
//! configuration one, watches the packets that really crossed the interface, and says what the
//! path did.
//!
//! This library is the program's inside, laid out in layers; a layer imports lower ones only,
//! and `tests/layers.rs` holds every `use crate::` line to the table:
//!
//! | layer | modules |
//! | --- | --- |
//! | 0 | [`barrier`] [`error`] [`field`] [`flags`] [`signals`] [`words`] |
//! | 1 | [`packet`] [`sink`] [`targets`] |
//! | 2 | [`chain`] (packet), [`step`], [`connect`] |
//! | 3 | [`record`] (chain, connect): who fills which column |
//! | 4 | [`rule`] (record) |
//! | 5 | [`measurement`]: the only place where a name becomes a thing |
//! | 6 | [`engine`] (connect, step), [`observer`] (chain, packet): never each other |
//! | 7 | [`merge`] |
//! | 8 | [`lab`] |
//! | 9 | [`cli`] |
//!
//! Only `engine::driver`, `raw` and `socket`, `observer::capture` and `file`, `step` and `lab` touch the operating system;
//! below them time is an argument.

pub mod barrier;
pub mod chain;
pub mod cli;
pub mod connect;
pub mod engine;
pub mod error;
pub mod field;
pub mod flags;
pub mod lab;
pub mod measurement;
pub mod merge;
pub mod observer;
pub mod packet;
pub mod record;
pub mod rule;
pub mod signals;
pub mod sink;
pub mod step;
pub mod targets;
pub mod words;
