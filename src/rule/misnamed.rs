//! Words where a column belongs that are none: without their struct, in double quotes, or of another language.

use sqlparser::ast;

use super::columns::About;
use super::expr::{Column, Expr, Node, Type};
use super::typing::Typer;
use super::wording::of_word;
use crate::error::did_you_mean;

impl Typer<'_> {
    /// A word that is not a column with its struct.
    pub(super) fn bare(&mut self, at: &ast::Expr, name: &str) -> Option<Expr> {
        let of_record = self.schema.field_with_name(name).ok().filter(|_| self.columns.has_bare());
        if let Some(field) = of_record
            && let Some(ty) = Type::of(field.data_type())
        {
            let (stored, about) = (field.data_type().clone(), About::ALWAYS);
            let (table, name) = (String::new(), name.to_owned());
            let column = Column { table, name, stored, about, has_flags: false };
            return Some(Expr::new(ty, Node::Column(column)));
        }
        let tables = self.tables();
        let homes =
            tables.iter().filter(|t| self.fields(t).is_some_and(|f| f.find(name).is_some()));
        let homes: Vec<String> = homes.map(|table| format!("`{table}.{name}`")).collect();
        if homes.is_empty()
            && let Some(help) = of_word(name)
        {
            return self.mistake("E0403", at, format!("`{name}` is not a column"), &help);
        }
        let help = match homes.is_empty() {
            true => self.near_bare(name).unwrap_or_else(|| {
                format!("write a column with its struct: {}", tables.join(".x, ") + ".x")
            }),
            false => format!("write {}", homes.join(" or ")),
        };
        self.mistake("E0403", at, format!("unknown column `{name}`"), &help)
    }

    /// A similar column of the record itself, if expressions can refer to those.
    fn near_bare(&self, name: &str) -> Option<String> {
        let fields = self.schema.fields().iter().filter(|_| self.columns.has_bare());
        let fields = fields.filter(|field| Type::of(field.data_type()).is_some());
        did_you_mean(name, fields.map(|field| field.name().as_str()))
    }

    /// A word in double quotes.
    pub(super) fn quoted(&mut self, at: &ast::Expr, text: &str) -> Option<Expr> {
        let help = format!("write a text in single quotes: '{}'", text.replace('\'', "''"));
        let message = "in SQL, double quotes are for the names of columns, not for texts";
        self.mistake("E0403", at, message, &help)
    }
}
