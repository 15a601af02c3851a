//! `[[metrics]]`: checks them, and makes their sources.

use toml::Spanned;

use super::checker::Checker;
use super::conditions::is_word;
use super::file::Metric;
use crate::rule::{MetricSource, column_of};

impl Checker<'_> {
    /// The sources of the metrics that can be compiled; mistakes of the others are recorded.
    pub(super) fn metrics(&mut self, metrics: &[Spanned<Metric>]) -> Vec<MetricSource> {
        let mut sources: Vec<MetricSource> = Vec::new();
        for spanned in metrics {
            let metric = spanned.get_ref();
            let removed = self.was_removed(&["metrics".into()]);
            let Some(name) = &metric.name else {
                if !removed {
                    let help = "write name = \"rtt.difference\"".to_owned();
                    self.mistake("E0103", spanned.span(), "this metric has no `name`", Some(help));
                }
                continue;
            };
            let text = name.get_ref();
            if !text.split('.').all(is_word) {
                let help = "write lower-case letters, digits and _, in parts joined by dots: \"rtt.difference\"";
                let message = format!("`{text}` cannot be the name of a metric");
                self.mistake("E0301", name.span(), message, Some(help.into()));
            }
            if let Some(other) = sources.iter().find(|s| column_of(&s.name) == column_of(text)) {
                let message = match other.name == *text {
                    true => format!("there is already a metric `{text}`"),
                    false => {
                        let column = column_of(text);
                        format!(
                            "`{text}` and `{}` would share the column metric.{column}",
                            other.name
                        )
                    }
                };
                self.mistake("E0302", name.span(), message, Some("give it another name".into()));
                continue;
            }
            let Some(value) = &metric.value else {
                if !removed {
                    let help = "write value = \"one.tcp_handshake_rtt - zero.tcp_handshake_rtt\"";
                    let message = "this metric has no `value`";
                    self.mistake("E0310", spanned.span(), message, Some(help.into()));
                }
                continue;
            };
            sources.push(MetricSource {
                name: text.clone(),
                given: metric.given.as_ref().map(|text| self.sql(text)),
                value: self.sql(value),
                unit: metric.unit.as_ref().map(|text| self.sql(text)),
            });
        }
        sources
    }
}
