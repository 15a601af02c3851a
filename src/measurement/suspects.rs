//! Warnings about steps that are valid, but probably do not do what their author intends.

use toml::Spanned;

use super::checker::Checker;
use super::dscp::is_class;
use super::plan::Configuration;
use super::steps::{self, SockoptValue};
use super::words::Text;
use crate::packet::protocol;
use crate::step::sockopt::SOCKOPTS;
use crate::step::{self, Family, Netfilter, Sockopt, Step, netfilter};

/// Codepoints (RFC 2474, 2597, 3246, 5865, 8622) that are not multiples of four: as a TOS byte each would have ECN bits.
const CODEPOINTS: [i64; 10] = [1, 10, 14, 18, 22, 26, 30, 34, 38, 46];

impl Checker<'_> {
    /// Checks the steps of a configuration, before and after their names are resolved.
    pub(super) fn suspects(&mut self, written: &[Spanned<steps::Step>], made: &Configuration) {
        let is_tcp = made.connection.protocol() == protocol::TCP;
        for step in written {
            if let steps::Step::Sockopt(options) = step.get_ref() {
                options.iter().for_each(|(name, value)| self.class(name, value, is_tcp));
            }
        }
        let Some(left_out) = step::left_out(&made.steps) else { return };
        let only = left_out.other();
        let place = written.iter().find_map(|step| one_version(step, only));
        let Some((span, step, help)) = place else { return };
        let message = format!(
            "{step} is for {} only: {} targets are skipped under `{}`",
            only.as_str(),
            left_out.as_str(),
            made.name
        );
        self.mistake("W0202", span, message, Some(help));
    }

    /// A TOS byte or traffic class.
    fn class(&mut self, name: &Text, value: &Spanned<SockoptValue>, is_tcp: bool) {
        let row = SOCKOPTS.iter().find(|row| row.name == name.get_ref());
        let (Some(row), SockoptValue::Integer(byte)) = (row, value.get_ref()) else { return };
        let ecn = byte & 3;
        if !is_class(row) || ecn == 0 || !(is_tcp || CODEPOINTS.contains(byte)) {
            return;
        }
        let bits = if is_tcp { ", which TCP sets itself" } else { "" };
        let message = format!(
            "`{}` is the DSCP times four: {byte} means DSCP {} with the ECN bits {ecn}{bits}",
            row.name,
            byte >> 2
        );
        let (dscp, byte) = match byte {
            1..64 => (*byte, byte << 2),
            _ => (byte >> 2, byte - ecn),
        };
        let mut help = format!("for DSCP {dscp} write {} = {byte}", row.name);
        if byte == ecn << 2 {
            let name = ["", "ect1", "ect0", "ce"][usize::try_from(ecn).unwrap_or_default()];
            help += &format!("; to set ECN bits use a netfilter rule: ecn set {name}");
        }
        self.mistake("W0201", value.span(), message, Some(help));
    }
}

/// If a step, or a part of it, is for one version of IP only: its place, its text, and what to write.
fn one_version(
    step: &Spanned<steps::Step>,
    only: Family,
) -> Option<(std::ops::Range<usize>, String, String)> {
    let both = |what: &str| format!("{what}, or leave it if only {} is intended", only.as_str());
    match step.get_ref() {
        steps::Step::Netfilter(steps::Netfilter { rule: Some(rule), .. }) => {
            let text = rule.get_ref();
            let is_for = |text: &str| {
                let step = Netfilter { rule: text.into(), hook: netfilter::Hook::default() };
                Step::Netfilter(step).only()
            };
            (is_for(text) == Some(only)).then(|| {
                let plain = netfilter::without_version(text);
                let help = match is_for(&plain) {
                    None if plain != *text => format!("write \"{plain}\", which is for both"),
                    _ => both(&format!("add a rule for {}", only.other().as_str())),
                };
                (rule.span(), format!("`{text}`"), help)
            })
        }
        steps::Step::Sysctl(settings) => {
            let mut names = settings.keys();
            let is_for = |name: &&Text| Step::sysctl(name.get_ref(), "").only() == Some(only);
            let name = names.find(is_for)?;
            let help = both(&format!("add the parameter of {}", only.other().as_str()));
            Some((name.span(), format!("`{}`", name.get_ref()), help))
        }
        steps::Step::Sockopt(options) => options.iter().find_map(|(name, value)| {
            let text = name.get_ref();
            let row = SOCKOPTS.iter().find(|row| row.name == text);
            match (row, value.get_ref()) {
                (Some(row), SockoptValue::Integer(byte)) if row.family == Some(only) => {
                    let other = SOCKOPTS.iter().find(|other| other.v6 == Some(row.number));
                    let help = match other {
                        Some(other) => format!("write {} = {byte}, which is for both", other.name),
                        None => both("add the option of the other version"),
                    };
                    Some((name.span(), format!("`{text}`"), help))
                }
                (None, SockoptValue::List(list)) => {
                    let [level, option, value] = list.as_slice() else { return None };
                    let [level, option, value] =
                        [level, option, value].map(|number| i32::try_from(*number).ok());
                    let raw = Sockopt::Raw { level: level?, name: option?, value: value? };
                    (Step::Sockopt(raw).only() == Some(only)).then(|| {
                        let help = both("add the option of the other version");
                        (name.span(), format!("`{text}`"), help)
                    })
                }
                _ => None,
            }
        }),
        _ => None,
    }
}
