//! The page of a report: tables and sentences as one file of HTML.
//!
//! The page loads nothing and runs nothing, and a content security policy says so. Charts are SVG made by [`chart`];
//! each has a table with the same numbers. Text of strangers is escaped twice: control characters and those that change
//! the reading order by [`printable`](crate::printable), HTML by the template.

pub mod chart;
mod comparison;
mod figures;
mod page;
mod sections;
mod style;
mod vantages;

pub use comparison::comparison;
pub use page::{Block, MOST_BYTES, Page, Section, TableView};
pub use sections::of_account;
pub use vantages::vantages;
