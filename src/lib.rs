//! pathspider probes each target under two or more configurations, watches the packets that really crossed the
//! interface, and reports what the path did.
//!
//! This library is the implementation of the program, in layers; a layer imports lower ones only, and
//! `tests/layers.rs` checks every `use crate::` line against this table:
//!
//! | layer | modules |
//! | --- | --- |
//! | 0 | [`barrier`] [`field`] [`flags`] [`guide`] [`hex`] [`printable`] [`signals`] [`words`] |
//! | 1 | [`error`] |
//! | 2 | [`files`] [`program`] |
//! | 3 | [`packet`] [`sink`] [`targets`] |
//! | 4 | [`chain`] (packet), [`step`], [`connect`] |
//! | 5 | [`record`] (chain, connect): who fills which column |
//! | 6 | [`rule`] (record) |
//! | 7 | [`measurement`]: the only place where a name becomes a thing |
//! | 8 | [`cost`], [`privilege`], [`resolve`] |
//! | 9 | [`engine`] (connect, step), [`observer`] (chain, packet): never each other |
//! | 10 | [`merge`] |
//! | 11 | [`lab`] |
//! | 12 | [`run`]: one run of one plan over one list |
//! | 13 | [`report`], [`results`] |
//! | 14 | `fleet` (feature `fleet`): many vantage points |
//! | 15 | [`analysis`]: numbers of finished results, as tables |
//! | 16 | [`webpage`]: a page of tables |
//! | 17 | [`package`]: results for publication |
//! | 18 | [`cli`] |
//!
//! Only `files`, `program`, `engine::driver`, `raw`, `socket` and `tracer`, `observer::capture`, `step` and `lab` touch the
//! operating system; below them time is an argument.

pub mod analysis;
pub mod as_table;
pub mod barrier;
pub mod chain;
pub mod cli;
pub mod connect;
pub mod cost;
pub mod engine;
pub mod error;
pub mod field;
pub mod files;
pub mod flags;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod guide;
pub mod hex;
pub mod lab;
pub mod locate;
pub mod measurement;
pub mod merge;
pub mod observer;
pub mod package;
pub mod packet;
pub mod printable;
pub mod privilege;
pub mod program;
pub mod record;
pub mod report;
pub mod resolve;
pub mod results;
pub mod rule;
pub mod run;
pub mod signals;
pub mod sink;
pub mod step;
pub mod targets;
pub mod version;
pub mod webpage;
pub mod words;
