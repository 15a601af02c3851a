//! `[observer.count.NAME]` and the like: columns of the measurement's own.

use toml::Spanned;

use super::checker::Checker;
use super::file::{Observer, Own};
use super::substitute::is_name;
use crate::chain::own::{Fold, Of, OwnField};
use crate::packet::Direction;
use crate::record;
use crate::rule::{packet_condition, packet_value};

/// The words of `direction`.
const DIRECTIONS: [(&str, Direction); 2] =
    [("fwd", Direction::Forward), ("rev", Direction::Reverse)];

impl Checker<'_> {
    /// The columns that can be compiled; mistakes of the others are recorded.
    pub(super) fn own_fields(&mut self, observer: &Observer) -> Vec<OwnField> {
        let mut written: Vec<(Fold, &str, &Spanned<Own>)> = Vec::new();
        for (fold, columns) in &observer.own {
            written.extend(columns.iter().map(|(name, own)| (*fold, name.as_str(), own)));
        }
        written.sort_by_key(|(.., own)| own.span().start);
        let mut fields: Vec<OwnField> = Vec::new();
        for (fold, name, own) in written {
            if let Some(why) = self.taken(name, &fields) {
                let help = "it becomes a column: write lower-case letters, digits and _";
                self.mistake("E0220", own.span(), why, Some(help.into()));
                continue;
            }
            fields.extend(self.own_field(fold, name, own));
        }
        fields
    }

    /// Why a column cannot have this name.
    fn taken(&self, name: &str, fields: &[OwnField]) -> Option<String> {
        let swept = self.swept.iter().flatten().any(|swept| swept.name == name);
        if !is_name(name) {
            Some(format!("`{name}` cannot be the name of a column"))
        } else if record::field(name).is_some() || swept {
            Some(format!("`{name}` is already a column of every configuration"))
        } else if fields.iter().any(|field| field.name == name) {
            Some(format!("there is already a column `{name}`"))
        } else {
            None
        }
    }

    fn own_field(&mut self, fold: Fold, name: &str, own: &Spanned<Own>) -> Option<OwnField> {
        let (place, own) = (own.span(), own.get_ref());
        let direction = own.direction.as_ref().map(|d| self.word(d, "direction", &DIRECTIONS));
        let (key, doc) = Fold::ALL.iter().find(|(f, ..)| *f == fold).map(|(_, k, d)| (*k, *d))?;
        let path = ["observer".to_owned(), key.to_owned(), name.to_owned()];
        let needs = if fold.adds_up() { &own.when } else { &own.value };
        let removed = self.was_removed(&path);
        if needs.is_none() && !removed {
            let (needed, help) = match fold.adds_up() {
                true => ("when", "write when = \"tcp.window = 0\", the packets that count"),
                false => ("value", "write value = \"tcp.window\", what is taken of each packet"),
            };
            self.mistake("E0103", place, format!("`{key}` needs `{needed}`"), Some(help.into()));
        }
        if let (true, Some(value)) = (fold.adds_up(), &own.value) {
            let help = "write the condition as `when`";
            self.mistake(
                "E0220",
                value.span(),
                format!("`{key}` takes no value"),
                Some(help.into()),
            );
        }
        let when = own.when.as_ref().map(|text| {
            let sql = self.sql(text);
            packet_condition(&sql, &mut self.mistakes)
        });
        let value = own.value.as_ref().filter(|_| !fold.adds_up()).map(|text| {
            let sql = self.sql(text);
            (text.span(), packet_value(&sql, &mut self.mistakes))
        });
        let when = match when {
            Some(when) => Some(when?),
            None => None,
        };
        let direction = match direction {
            Some(direction) => Some(direction?),
            None => None,
        };
        let (value, of) = match (fold, value) {
            (Fold::Count, _) => (None, Of::Count),
            (Fold::Any, _) => (None, Of::Truth),
            (_, None) => return None,
            (_, Some((span, value))) => {
                let (value, of) = value?;
                if of == Of::Truth && matches!(fold, Fold::Min | Fold::Max) {
                    let message = format!("`{key}` needs a number, and this is boolean");
                    let help = "`any` says whether it is true of any packet";
                    self.mistake("E0220", span, message, Some(help.into()));
                    return None;
                }
                (Some(value), of)
            }
        };
        if needs.is_none() {
            return None;
        }
        let written = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let doc = own.help.clone().unwrap_or_else(|| {
            let value = own.value.as_ref().map(|v| format!(" Value: {}.", written(v.get_ref())));
            let when = own.when.as_ref().map(|w| format!(" Packets: {}.", written(w.get_ref())));
            let only = own.direction.as_ref().map(|d| format!(" Direction: {}.", d.get_ref()));
            format!(
                "{doc}{}{}{}",
                value.unwrap_or_default(),
                when.unwrap_or_default(),
                only.unwrap_or_default()
            )
        });
        Some(OwnField { name: name.to_owned(), doc, fold, direction, when, value, of })
    }
}
