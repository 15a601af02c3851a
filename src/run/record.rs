//! The columns of a record outside the configurations.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{RecordBatch, cast::AsArray as _};
use arrow_schema::{DataType, Field, Fields, Schema};

use super::controls::CONTROL;
use crate::flags;
use crate::measurement::Plan;
use crate::targets::{Positions, Target};

/// The column of a record's position in the target list.
pub const POSITION: &str = "position";

/// The schema of a record before it is judged.
pub(super) fn record(plan: &Plan, target_fields: &Fields) -> Schema {
    let plain = plan.record_schema(target_fields);
    let mut fields = plain.fields().to_vec();
    let control = Field::new(CONTROL, DataType::Boolean, false);
    let own = [Field::new(POSITION, DataType::Int64, false), flags::field(), control];
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

/// The positions of stored records, if they are valid. Earlier versions stored them unsigned.
pub fn positions(batch: &RecordBatch) -> Option<Vec<u64>> {
    let column = batch.column_by_name(POSITION)?;
    let positions: Vec<u64> = match column.as_primitive_opt::<UInt64Type>() {
        Some(unsigned) => unsigned.values().to_vec(),
        None => {
            let signed = column.as_primitive_opt::<Int64Type>()?.values();
            signed.iter().map(|at| u64::try_from(*at).ok()).collect::<Option<_>>()?
        }
    };
    positions.iter().all(|position| *position <= Positions::MOST).then_some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, UInt64Array};

    #[test]
    fn positions_are_read_whatever_version_wrote_them() {
        let of = |column: ArrayRef| {
            positions(&RecordBatch::try_from_iter([(POSITION, column)]).unwrap())
        };
        assert_eq!(of(Arc::new(Int64Array::from(vec![3, 1]))), Some(vec![3, 1]));
        assert_eq!(of(Arc::new(UInt64Array::from(vec![3, 1]))), Some(vec![3, 1]));
        assert_eq!(of(Arc::new(Int64Array::from(vec![3, -1]))), None);
        assert_eq!(of(Arc::new(UInt64Array::from(vec![u64::MAX]))), None);
    }
}
