//! Values of expressions over packets.

/// A value of an expression. The types fit: whoever makes a program has checked them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// It was not captured.
    Unknown,
    /// There is none.
    Null,
    /// A boolean.
    Truth(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
}
