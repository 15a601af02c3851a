//! EDNS of a query to a name server as it is written.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use toml::Spanned;

use crate::connect::edns;
use crate::measurement::words;

/// What a query to a name server says by EDNS (RFC 6891). In [config.NAME.connect], missing keys are those of [connect].
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::measurement) struct Edns {
    /// The largest answer in octets that may come over UDP. An answer that does not fit a packet of the path comes in
    /// fragments (RFC 9715).
    #[serde(default)]
    #[schemars(schema_with = "buffer", example = 4096, extend("default" = 1232))]
    pub(in crate::measurement) buffer: Option<Spanned<i64>>,
    /// The flag DO: DNSSEC records are welcome (RFC 3225).
    #[serde(default, rename = "do")]
    #[schemars(schema_with = "words::boolean", example = true, extend("default" = false))]
    pub(in crate::measurement) dnssec: Option<bool>,
    /// The version of EDNS. Servers answer BADVERS to any but 0.
    #[serde(default)]
    #[schemars(schema_with = "version", example = 1, extend("default" = 0))]
    pub(in crate::measurement) version: Option<Spanned<i64>>,
    /// Pads the query to a multiple of this many octets with the option Padding (RFC 7830); RFC 8467 recommends 128.
    #[serde(default)]
    #[schemars(schema_with = "padding", example = 128)]
    pub(in crate::measurement) padding: Option<Spanned<i64>>,
}

fn buffer(_: &mut SchemaGenerator) -> Schema {
    words::range(&edns::BUFFERS)
}

fn version(_: &mut SchemaGenerator) -> Schema {
    words::range(&edns::VERSIONS)
}

fn padding(_: &mut SchemaGenerator) -> Schema {
    words::range(&edns::BLOCKS)
}
