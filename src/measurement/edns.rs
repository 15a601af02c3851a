//! `edns` in `[connect]` and in `packet`: checks the numbers of a query's EDNS.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::checker::Checker;
use super::file::Edns as Written;
use crate::connect::edns::{BLOCKS, BUFFERS, Edns, VERSIONS};

impl Checker<'_> {
    /// The EDNS of a configuration: its own keys, and those of `[connect]` that it does not set. `None` if there is none.
    pub(super) fn edns(
        &mut self,
        base: Option<&Spanned<Written>>,
        own: Option<&Spanned<Written>>,
    ) -> Option<Edns> {
        let written = joined(base.cloned(), own.cloned())?.into_inner();
        let plain = Edns::default();
        let buffer = self.edns_number("buffer", written.buffer, &BUFFERS);
        let version = self.edns_number("version", written.version, &VERSIONS);
        let padding = self.edns_number("padding", written.padding, &BLOCKS);
        Some(Edns {
            buffer: buffer.unwrap_or(plain.buffer),
            dnssec: written.dnssec.unwrap_or(plain.dnssec),
            version: version.and_then(|version| u8::try_from(version).ok()).unwrap_or_default(),
            padding,
        })
    }

    fn edns_number(
        &mut self,
        name: &str,
        written: Option<Spanned<i64>>,
        range: &RangeInclusive<i64>,
    ) -> Option<u16> {
        let written = written?;
        self.range(name, written.span(), *written.get_ref(), range)?;
        u16::try_from(*written.get_ref()).ok()
    }
}

/// The keys of both tables; `own` takes precedence.
pub(super) fn joined(
    base: Option<Spanned<Written>>,
    own: Option<Spanned<Written>>,
) -> Option<Spanned<Written>> {
    let (base, own) = match (base, own) {
        (Some(base), Some(own)) => (base, own),
        (base, own) => return own.or(base),
    };
    let (span, base, own) = (own.span(), base.into_inner(), own.into_inner());
    let joined = Written {
        buffer: own.buffer.or(base.buffer),
        dnssec: own.dnssec.or(base.dnssec),
        version: own.version.or(base.version),
        padding: own.padding.or(base.padding),
    };
    Some(Spanned::new(span, joined))
}
