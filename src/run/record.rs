//! The columns of a record outside the configurations.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};

use super::controls::CONTROL;
use crate::flags;
use crate::measurement::Plan;
use crate::targets::Target;

/// The column of a record's position in the target list.
pub const POSITION: &str = "position";

/// The schema of a record before it is judged.
pub(super) fn record(plan: &Plan, target_fields: &Fields) -> Schema {
    let plain = plan.record_schema(target_fields);
    let mut fields = plain.fields().to_vec();
    let control = Field::new(CONTROL, DataType::Boolean, false);
    let own = [Field::new(POSITION, DataType::UInt64, false), flags::field(), control];
    // After the target.
    let at = fields.len().min(1);
    fields.splice(at..at, own.map(Arc::new));
    Schema::new_with_metadata(fields, plain.metadata().clone())
}

/// The schema of a judged record.
pub fn schema(plan: &Plan, target_fields: &Fields) -> Schema {
    plan.rules.schema(&record(plan, target_fields))
}

/// The address to connect to, if one is known.
pub fn address(target: &Target) -> Option<SocketAddr> {
    target.addr.map(|addr| SocketAddr::new(addr, target.port))
}
