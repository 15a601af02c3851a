//! The numbers of a report: what finished results say, as tables.
//!
//! Data flows one way: [`Source`] reads records, [`Account`] counts them in one pass and bounded memory, and [`TABLES`]
//! makes tables of the counts. A table carries the SQL that gives the same rows in DuckDB, after the definitions of
//! [`sql::prelude`]. A page, CSV files and a package are made of the same tables.
//!
//! Nothing here knows HTML. The same input gives the same numbers: there is no clock, and random numbers have a fixed
//! seed.

pub mod about;
pub mod account;
pub mod cell;
pub mod column;
pub mod compare;
pub mod compare_tables;
pub mod groups;
pub mod interval;
mod matched;
pub mod methods;
pub mod network;
mod quote;
pub mod registry;
pub mod series;
pub mod source;
pub mod sql;
pub mod vantage;
pub mod vantage_tables;

mod account_tables;
mod dictionary;
pub mod group_tables;
pub mod label_tables;
mod loss_tables;
pub mod series_tables;

pub use account::Account;
pub use cell::{Cell, Column, Form, Table};
pub use registry::{TABLES, TableDef};
pub use source::Source;
