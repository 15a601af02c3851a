//! Many vantage points: a campaign gives shards of one list to many agents, and collects their results in one dataset.
//!
//! A unit of work is a shard of a run. The fleet moves shards and files: what is measured, recorded and proven is what
//! [`run`](crate::run) and [`results`](crate::results) do on one machine.
//!
//! | files | what |
//! | --- | --- |
//! | `campaign` `document` `message` | what is agreed: the file, the signed document, messages |
//! | `key` `jwt` `permissions` | who may say what |
//! | `policy` `ledger` `optout` | the agent's own: what its owner allows, what it has done, who opted out |
//! | `transport` | the calls that agents and the coordinator make; `folder` and `nats` answer them |
//! | `agent` `measure` `facts` | the life of a unit |
//! | `hub` `coordinator` `dataset` | the folder of a hub, campaigns, results and their proof |
//! | `server` | the server of `fleet init --local` |
//!
//! Only `nats` knows tokio. Times are arguments, in seconds since 1970.

pub mod agent;
pub mod campaign;
pub mod coordinator;
pub mod dataset;
pub mod document;
pub mod facts;
pub mod folder;
pub mod hub;
pub mod jwt;
pub mod key;
pub mod ledger;
pub mod measure;
pub mod message;
pub mod nats;
pub mod optout;
pub mod permissions;
pub mod policy;
pub mod server;
mod store;
pub mod transport;
