//! Adds the ASes that originate each target's prefix to finished records.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StructArray, cast::AsArray as _};
use arrow_schema::{DataType, Fields, Schema, SchemaRef};

use crate::as_table::AsTable;
use crate::error::{Error, Result};
use crate::rule;
use crate::run::networks::{self, ASN, asn_field};
use crate::sink::Metadata;

/// The column of addresses.
const TARGET: &str = "target";

/// An AS table, and records with a column for it.
#[derive(Debug)]
pub struct Origins {
    table: AsTable,
    schema: SchemaRef,
}

impl Origins {
    /// Reads a table for records with these columns. A column `target.asn` of theirs is replaced.
    ///
    /// # Errors
    /// As [`AsTable::open`], and [`Error::Usage`] if records have no target.
    pub fn open(path: &Path, records: &Schema) -> Result<Self> {
        let table = AsTable::open(path)?;
        let none = || Error::Usage("--as-table: these records have no column target.ip".to_owned());
        let at = records.index_of(TARGET).map_err(|_| none())?;
        let DataType::Struct(fields) = records.field(at).data_type() else { return Err(none()) };
        if fields.find("ip").is_none() {
            return Err(none());
        }
        let target = records.field(at).clone().with_data_type(DataType::Struct(with(fields)));
        let mut all = records.fields().to_vec();
        all[at] = Arc::new(target);
        Ok(Self { table, schema: Arc::new(Schema::new(all)) })
    }

    /// The columns with the origins.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Records with their origins.
    ///
    /// # Errors
    /// If they do not have the columns that this was opened with.
    pub fn add(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let failed = |why| Error::failed("add the origins of targets", why);
        let mut columns = records.columns().to_vec();
        let at = self.schema.index_of(TARGET).map_err(failed)?;
        if let Some(target) = columns[at].as_struct_opt() {
            let (fields, members, nulls) = target.clone().into_parts();
            let addresses = match fields.find("ip") {
                Some((ip, _)) => rule::words(&members[ip]).map_err(failed)?,
                None => return Ok(records.clone()),
            };
            let addresses = addresses.iter().map(|text| text?.parse::<IpAddr>().ok());
            let origins = networks::origins(addresses, &self.table);
            let kept = fields.iter().zip(members).filter(|(field, _)| field.name() != ASN);
            let members: Vec<ArrayRef> = kept.map(|(_, member)| member).chain([origins]).collect();
            let target = StructArray::try_new(with(&fields), members, nulls).map_err(failed)?;
            columns[at] = Arc::new(target);
        }
        // Of the batch itself: parts have other descriptions of their columns, or none.
        let mut fields = records.schema().fields().to_vec();
        let target = fields[at].as_ref().clone().with_data_type(columns[at].data_type().clone());
        fields[at] = Arc::new(target);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
    }

    /// The metadata of records with their origins.
    pub fn describe(&self, metadata: &mut Metadata) {
        let of_table = networks::metadata(&self.table);
        metadata.retain(|(key, _)| of_table.iter().all(|(known, _)| known != key));
        metadata.extend(of_table);
    }
}

/// The columns of a target with the origins, as the last one.
fn with(target: &Fields) -> Fields {
    let kept = target.iter().filter(|field| field.name() != ASN).cloned();
    kept.chain([Arc::new(asn_field())]).collect()
}
