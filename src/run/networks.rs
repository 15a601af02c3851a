//! The network of each target: its prefix, and the ASes that originate it.
//!
//! Both are columns of `target`, after those of the list. Faults are properties of networks, and analysts group by these
//! two first.

use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{ArrayRef, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields};
use ipnet::IpNet;

use super::spec::Spec;
use crate::as_table::{AsTable, Source};
use crate::error::{Error, Result};
use crate::sink::Metadata;
use crate::targets::{self, Target};

/// The column of a target's prefix.
pub const PREFIX: &str = "prefix";

/// The column of the ASes that originate a target's prefix.
pub const ASN: &str = "asn";

/// What is known of the networks of targets.
#[derive(Debug)]
pub struct Networks {
    /// Lengths of prefixes, of IPv4 and of IPv6.
    lengths: (u8, u8),
    table: Option<AsTable>,
}

impl Networks {
    /// Reads the AS table of a run, if it has one.
    ///
    /// # Errors
    /// As [`AsTable::open`].
    pub fn open(spec: &Spec) -> Result<Self> {
        let table = spec.as_table.as_ref().map(Source::open).transpose()?;
        Ok(Self { lengths: spec.prefix_lengths, table })
    }

    /// The columns of `target` in a run: those of the list, and of networks. A column `prefix` of the list's own stays.
    ///
    /// # Errors
    /// [`Error::Usage`] if the list has a column of the AS table's name.
    pub fn fields(spec: &Spec, list: &Fields) -> Result<Fields> {
        if spec.as_table.is_some() && list.find(ASN).is_some() {
            return Err(Error::Usage(format!(
                "--as-table: the list has a column `{ASN}` already; rename it, or leave the option out"
            )));
        }
        Ok(Self::with(list, spec.as_table.is_some()))
    }

    fn with(list: &Fields, has_table: bool) -> Fields {
        let prefix = Field::new(PREFIX, DataType::Utf8, true);
        let prefix = list.find(PREFIX).is_none().then_some(prefix);
        let more = prefix.into_iter().chain(has_table.then(asn_field)).map(Arc::new);
        list.iter().cloned().chain(more).collect()
    }

    /// The struct `target`, a row per target; `list` are the columns of the list.
    ///
    /// # Errors
    /// If `list` does not fit the targets.
    pub(super) fn columns(&self, list: &Fields, targets: &[Target]) -> Result<StructArray> {
        let addresses = || targets.iter().map(|target| target.addr);
        let (_, mut columns, nulls) = targets::columns(list, targets)?.into_parts();
        if list.find(PREFIX).is_none() {
            columns.push(Arc::new(prefixes(addresses(), self.lengths)));
        }
        if let Some(table) = &self.table {
            columns.push(origins(addresses(), table));
        }
        StructArray::try_new(Self::with(list, self.table.is_some()), columns, nulls)
            .map_err(|why| Error::failed("build the columns of networks", why))
    }

    /// The AS that originates an address's network, if there is a table; the first of several.
    pub(super) fn origin(&self, address: IpAddr) -> Option<u32> {
        self.table.as_ref()?.origins(address).first().copied()
    }

    /// The metadata of the AS table.
    pub(super) fn metadata(&self) -> Metadata {
        self.table.as_ref().map(metadata).unwrap_or_default()
    }
}

/// The field of [`ASN`].
pub fn asn_field() -> Field {
    let item = Field::new_list_field(DataType::Int64, false);
    Field::new(ASN, DataType::List(Arc::new(item)), true)
}

/// The origins of each address; NULL without an address, or if no network of the table has it.
pub fn origins(addresses: impl Iterator<Item = Option<IpAddr>>, table: &AsTable) -> ArrayRef {
    let item = Field::new_list_field(DataType::Int64, false);
    let mut lists = ListBuilder::new(Int64Builder::new()).with_field(item);
    for address in addresses {
        let origins = address.map(|address| table.origins(address)).unwrap_or_default();
        origins.iter().for_each(|number| lists.values().append_value((*number).into()));
        lists.append(!origins.is_empty());
    }
    Arc::new(lists.finish())
}

/// What says in metadata which table was used.
pub fn metadata(table: &AsTable) -> Metadata {
    let about = table.about();
    [
        ("as_table_format", about.format.to_owned()),
        ("as_table_networks", about.networks.to_string()),
        ("as_table_bytes", about.bytes.to_string()),
        ("as_table_sha256", about.sha256.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn prefixes(addresses: impl Iterator<Item = Option<IpAddr>>, (v4, v6): (u8, u8)) -> StringArray {
    let prefix = |address: IpAddr| {
        let length = if address.is_ipv4() { v4 } else { v6 };
        IpNet::new(address, length).ok().map(|net| net.trunc().to_string())
    };
    addresses.map(|address| address.and_then(prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array as _;
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;

    use crate::targets::Reader;

    fn targets() -> Vec<Target> {
        let of = |addr: Option<&str>| {
            let addr = addr.map(|addr| addr.parse().unwrap());
            Target { addr, ..Target::new([0; 4].into(), 80, None) }
        };
        [Some("192.0.2.200"), Some("2001:db8:0:ff::1"), None].map(of).into()
    }

    #[test]
    fn targets_have_their_prefix_and_all_origins() {
        let table = AsTable::parse(b"192.0.2.0/24 64496_64497\n").unwrap();
        let list = Reader::from_targets(Vec::new()).fields();
        let networks = Networks { lengths: (24, 56), table: Some(table) };
        let columns = networks.columns(&list, &targets()).unwrap();
        let spec = Spec { as_table: Some(Source::File("x".into())), ..Spec::default() };
        assert_eq!(columns.fields(), &Networks::fields(&spec, &list).unwrap());
        let prefix = columns.column_by_name(PREFIX).unwrap().as_string::<i32>().clone();
        let found: Vec<_> = prefix.iter().collect();
        assert_eq!(found, [Some("192.0.2.0/24"), Some("2001:db8::/56"), None]);
        let asn = columns.column_by_name(ASN).unwrap().as_list::<i32>().clone();
        assert_eq!(asn.value(0).as_primitive::<Int64Type>().values(), &[64496, 64497]);
        assert!(asn.is_null(1) && asn.is_null(2));
        assert_eq!(networks.metadata()[0], ("as_table_format".into(), "pyasn".into()));
        // Without a table, and with other lengths.
        let networks = Networks { lengths: (16, 32), table: None };
        let columns = networks.columns(&list, &targets()).unwrap();
        assert!(columns.column_by_name(ASN).is_none() && networks.metadata().is_empty());
        let prefix = columns.column_by_name(PREFIX).unwrap().as_string::<i32>().clone();
        assert_eq!(prefix.value(1), "2001:db8::/32");
    }

    #[test]
    fn columns_of_the_list_are_not_replaced() {
        let list: Fields =
            [PREFIX, ASN].map(|name| Field::new(name, DataType::Utf8, true)).into_iter().collect();
        assert_eq!(Networks::fields(&Spec::default(), &list).unwrap(), list);
        let spec = Spec { as_table: Some(Source::File("x".into())), ..Spec::default() };
        let why = Networks::fields(&spec, &list).unwrap_err().to_string();
        assert!(why.contains("a column `asn` already"), "{why}");
    }
}
