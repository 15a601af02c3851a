//! `[observer]`: resolves the names of functions and groups.

use super::checker::Checker;
use super::file::Observer;
use super::words::Text;
use crate::chain::{self, Chain, Selection};
use crate::connect;
use crate::error::did_you_mean;

impl Checker<'_> {
    pub(super) fn selection(&mut self, observer: &Observer) -> Selection {
        let mut selection = Selection::default();
        let mut placed = Vec::new();
        let grouped = self.groups(&observer.groups, &mut selection);
        for (chain, listed) in observer.chains() {
            for name in listed {
                let text = name.get_ref();
                let Some((_, function)) = chain::function(text) else {
                    self.unknown_function(name, chain);
                    continue;
                };
                if !function.chains.has(chain) {
                    let chains: Vec<Chain> = function.chains.iter().collect();
                    let reads: Vec<&str> = chains.iter().map(|chain| chain.reads()).collect();
                    let keys: Vec<&str> = chains.iter().map(|chain| chain.key()).collect();
                    let message = format!(
                        "{text} reads {}, but {} is for {}",
                        reads.join(" and "),
                        chain.key(),
                        chain.reads()
                    );
                    self.mistake(
                        "E0202",
                        name.span(),
                        message,
                        Some(format!("list it in {}", keys.join(" and "))),
                    );
                } else if placed.contains(&(chain, function.name)) {
                    let message = format!("{text} is in {} already", chain.key());
                    self.mistake("E0204", name.span(), message, Some("remove it here".into()));
                    continue;
                } else {
                    placed.push((chain, function.name));
                    selection.place(function, chain);
                }
                let Some(setup) = function.setup else { continue };
                let listed =
                    observer.chain(Chain::NewFlow).iter().any(|name| name.get_ref() == setup);
                let there = listed || grouped.contains(&setup);
                if !there && !self.was_removed(&["observer".into(), Chain::NewFlow.key().into()]) {
                    let message =
                        format!("{text} needs {setup}, which allocates the fields that it fills");
                    let help = format!("add \"{setup}\" to {}", Chain::NewFlow.key());
                    // A function in several chains needs its set-up function only once.
                    if !self.mistakes.iter().any(|m| m.code == "E0203" && m.message == message) {
                        self.mistake("E0203", name.span(), message, Some(help));
                    }
                }
            }
        }
        let own = self.own_fields(observer);
        selection.define(own);
        selection
    }

    /// Places every function of the groups in all its chains. Returns the functions' names.
    fn groups(&mut self, groups: &[Text], selection: &mut Selection) -> Vec<&'static str> {
        let rows: Vec<_> = chain::GROUPS.iter().map(|group| (group.name, *group)).collect();
        let mut names = Vec::new();
        for written in groups {
            let text = written.get_ref();
            let Some((_, group)) = rows.iter().find(|(name, _)| name == text) else {
                let all: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
                let help = match chain::function(text) {
                    Some((group, _)) => {
                        format!(
                            "this is a function: write its group, \"{}\", or list it in a chain",
                            group.name
                        )
                    }
                    None => did_you_mean(text, all.iter().copied())
                        .unwrap_or_else(|| format!("the groups are: {}", all.join(", "))),
                };
                let message = format!("unknown group of functions `{text}`");
                self.mistake("E0212", written.span(), message, Some(help));
                continue;
            };
            for function in group.functions {
                names.push(function.name);
                function.chains.iter().for_each(|chain| selection.place(function, chain));
            }
        }
        names
    }

    fn unknown_function(&mut self, name: &Text, chain: Chain) {
        let text = name.get_ref();
        let fitting =
            chain::functions().map(|(_, function)| function).filter(|f| f.chains.has(chain));
        let fitting: Vec<&str> = fitting.map(|function| function.name).collect();
        let all = chain::functions().map(|(_, function)| function.name);
        let help = did_you_mean(text, fitting.iter().copied())
            .or_else(|| did_you_mean(text, all))
            .unwrap_or_else(|| format!("functions of {}: {}", chain.key(), fitting.join(", ")));
        let help = match chain::GROUPS.iter().any(|group| group.name == text) {
            true => format!("this is a group: write use = [\"{text}\"]"),
            false => help,
        };
        self.mistake("E0201", name.span(), format!("unknown function `{text}`"), Some(help));
    }
}

/// What to add to a measurement to record a column.
pub(super) fn provider(column: &str, selection: &Selection) -> Option<String> {
    let kinds = connect::KINDS.iter().filter(|kind| kind.columns.contains(&column));
    let kinds: Vec<&str> = kinds.map(|kind| kind.name).collect();
    if !kinds.is_empty() {
        let kinds = kinds.join(", ");
        return Some(format!(
            "connections of kind {kinds} provide it, unless `keep` in [connect.after] omits it"
        ));
    }
    let fields = chain::GROUPS.iter().flat_map(|group| group.fields);
    let field =
        fields.into_iter().find(|field| field.name == column && !selection.has(field.by))?;
    let (_, function) = chain::function(field.by)?;
    let chains: Vec<&str> = function.chains.iter().map(Chain::key).collect();
    let setup = function
        .setup
        .map_or(String::new(), |setup| format!(", and {setup} in {}", Chain::NewFlow.key()));
    Some(format!("{} records it: list it in {}{setup}", function.name, chains.join(" and ")))
}
