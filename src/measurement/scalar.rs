//! The values of params and sweeps.

use std::borrow::Cow;
use std::fmt;

use arrow_schema::DataType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::de::{DeInteger, DeValue};

/// A number, a boolean or a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// true or false.
    Boolean(bool),
    /// A text.
    Text(String),
}

impl Scalar {
    /// The word for its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Scalar::Integer(_) => "integer",
            Scalar::Float(_) => "float",
            Scalar::Boolean(_) => "boolean",
            Scalar::Text(_) => "string",
        }
    }

    /// The type of a column of such values.
    pub fn data_type(&self) -> DataType {
        match self {
            Scalar::Integer(_) => DataType::Int64,
            Scalar::Float(_) => DataType::Float64,
            Scalar::Boolean(_) => DataType::Boolean,
            Scalar::Text(_) => DataType::Utf8,
        }
    }

    /// From a value of a document; `None` for arrays, tables, dates, and numbers beyond 64 bits.
    pub(super) fn of(value: &DeValue<'_>) -> Option<Self> {
        Some(match value {
            DeValue::Integer(value) => Scalar::Integer(integer(value)?),
            DeValue::Float(value) => Scalar::Float(value.as_str().parse().ok()?),
            DeValue::Boolean(value) => Scalar::Boolean(*value),
            DeValue::String(value) => Scalar::Text(value.to_string()),
            _ => return None,
        })
    }
}

/// A whole number of a document, if it fits 64 bits.
pub(super) fn integer(value: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(value.as_str(), value.radix()).ok()
}

/// As it appears in a text.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Integer(value) => value.fmt(f),
            Scalar::Float(value) => value.fmt(f),
            Scalar::Boolean(value) => value.fmt(f),
            Scalar::Text(value) => f.write_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a string or a boolean")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(value))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(value))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Boolean(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, a string or a boolean.",
            "type": ["integer", "number", "string", "boolean"],
        })
    }
}
