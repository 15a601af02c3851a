//! Words where a column belongs that are none: without their struct, in double quotes, or of another language.

use sqlparser::ast;

use super::expr::Expr;
use super::typing::Typer;
use super::wording::of_word;

impl Typer<'_> {
    /// A word that is not a column with its struct.
    pub(super) fn bare(&mut self, at: &ast::Expr, name: &str) -> Option<Expr> {
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
            true => format!("write a column with its struct: {}", tables.join(".x, ") + ".x"),
            false => format!("write {}", homes.join(" or ")),
        };
        self.mistake("E0403", at, format!("unknown column `{name}`"), &help)
    }

    /// A word in double quotes.
    pub(super) fn quoted(&mut self, at: &ast::Expr, text: &str) -> Option<Expr> {
        let help = format!("write a text in single quotes: '{}'", text.replace('\'', "''"));
        let message = "in SQL, double quotes are for the names of columns, not for texts";
        self.mistake("E0403", at, message, &help)
    }
}
