//! Confirmation rounds of a target that looked broken or transient.
//!
//! A round probes the target again under every configuration. The record holds the results of the rounds as counts
//! per rule, next to the facts of the first round; so the verdict is a function of the record alone, and
//! `Counts::verdict` agrees with [`Rule::sql`](super::Rule::sql).

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, Int64Array, RecordBatch, StructArray, builder::NullBufferBuilder,
    cast::AsArray as _, types::Int64Type,
};
use arrow_schema::{ArrowError, DataType, Field, Fields};

use super::kernel::cast;
use super::{Asked, COMPARED, INSUFFICIENT, Question, Rule, RuleSource, Rules};

/// The struct of a record with the counts of the rounds, one struct per rule.
pub const CONFIRM: &str = "confirm";

/// The words of a comparing rule if the rounds contradict the first result.
pub const CONFIRMED: [(&str, &str); 2] = [
    ("intermittent", "broken or transient at first, but only in some of the confirmation rounds"),
    ("not_confirmed", "broken or transient at first, but in none of the confirmation rounds"),
];

/// The effect of the rounds on a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The word stands.
    Confirmed,
    /// The word with this index in [`CONFIRMED`] replaces it.
    Instead(usize),
    /// No round was conclusive.
    Nothing,
}

/// The reason for insufficient if no round was conclusive.
pub(super) const INCONCLUSIVE: &str =
    "confirm: offline or insufficient in every confirmation round";

/// The columns of a rule's struct and what they count.
pub const COUNTS: [(&str, &str); 6] = [
    (
        "rounds",
        "Confirmation rounds: how often the target was probed again under every configuration.",
    ),
    ("works", "Rounds in which it worked under both."),
    ("broken", "Rounds in which it worked under the baseline only."),
    ("transient", "Rounds in which it worked under the experiment only."),
    ("offline", "Rounds in which it worked under neither; these are inconclusive."),
    ("insufficient", "Rounds in which facts were missing; these are inconclusive."),
];

/// The results of one target's rounds by one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u16; COUNTS.len()]);

impl Counts {
    /// Counts a round by the rule's word; `None` if the rule does not apply.
    pub fn add(&mut self, word: Option<&str>) {
        let [rounds, words @ ..] = &mut self.0;
        *rounds = rounds.saturating_add(1);
        let known = COMPARED.iter().map(|(word, _)| *word).chain([INSUFFICIENT]);
        if let Some((count, _)) = words.iter_mut().zip(known).find(|(_, k)| Some(*k) == word) {
            *count = count.saturating_add(1);
        }
    }

    /// The effect of the rounds on the word of the first round.
    pub(super) fn verdict(self, first: &str) -> Confirmation {
        let [_, works, broken, transient, ..] = self.0;
        let (same, other) = match first {
            _ if !needs_confirmation(first) => return Confirmation::Confirmed,
            "broken" => (broken, works | transient),
            _ => (transient, works | broken),
        };
        match (same, other) {
            (0, 0) => Confirmation::Nothing,
            (0, _) => Confirmation::Instead(1),
            (_, 0) => Confirmation::Confirmed,
            _ => Confirmation::Instead(0),
        }
    }
}

/// The record field with the rounds of these rules, named by their columns; `None` if there are no rules.
pub fn field(rules: impl IntoIterator<Item = String>) -> Option<Field> {
    let rules = rules.into_iter().map(|rule| Field::new(rule, DataType::Struct(counts()), true));
    let rules: Fields = rules.collect();
    (!rules.is_empty()).then(|| Field::new(CONFIRM, DataType::Struct(rules), false))
}

fn counts() -> Fields {
    COUNTS.iter().map(|(name, _)| Field::new(*name, DataType::Int64, false)).collect()
}

/// The column of a field made by [`field`]: for each record the counts per rule, in the field's order; `None` for a
/// record without confirmation rounds.
///
/// # Errors
/// If the field has another type.
pub fn column(field: &Field, records: &[Option<&[Counts]>]) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(rules) = field.data_type() else {
        return Err(ArrowError::SchemaError(format!("{} is not a struct", field.name())));
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rules.len());
    for rule in 0..rules.len() {
        let of = |record: &Option<&[Counts]>| record.and_then(|counts| counts.get(rule).copied());
        let values = (0..COUNTS.len()).map(|at| {
            let values = records.iter().map(|r| of(r).map_or(0, |counts| counts.0[at].into()));
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        });
        let mut valid = NullBufferBuilder::new(records.len());
        records.iter().for_each(|record| valid.append(of(record).is_some()));
        let values = values.collect();
        columns.push(Arc::new(StructArray::try_new(counts(), values, valid.finish())?));
    }
    Ok(Arc::new(StructArray::try_new_with_length(rules.clone(), columns, None, records.len())?))
}

/// The rounds of a rule in a batch of records.
pub(super) struct Rounds {
    records: StructArray,
    /// Of each count, in the order of [`COUNTS`].
    counts: Vec<Int64Array>,
}

impl Rounds {
    /// Of the rule with this column. Earlier versions stored the counts in other types of integers.
    pub(super) fn of(column: &str, batch: &RecordBatch) -> Result<Self, ArrowError> {
        let missing =
            || ArrowError::SchemaError(format!("the records have no column {CONFIRM}.{column}"));
        let records = batch.column_by_name(CONFIRM).and_then(|confirm| confirm.as_struct_opt());
        let records = records.and_then(|confirm| confirm.column_by_name(column)?.as_struct_opt());
        let records = records.ok_or_else(missing)?;
        let count = |(name, _): &(&str, &str)| {
            let counts = cast(records.column_by_name(name).ok_or_else(missing)?, &DataType::Int64)?;
            counts.as_primitive_opt::<Int64Type>().cloned().ok_or_else(missing)
        };
        let counts = COUNTS.iter().map(count).collect::<Result<_, _>>()?;
        Ok(Self { records: records.clone(), counts })
    }

    /// Of a record; `None` if it has no confirmation rounds.
    pub(super) fn at(&self, row: usize) -> Option<Counts> {
        self.records.is_valid(row).then(|| {
            let mut found = Counts::default();
            for (count, counts) in found.0.iter_mut().zip(&self.counts) {
                *count = u16::try_from(counts.value(row)).unwrap_or(u16::MAX);
            }
            found
        })
    }
}

impl RuleSource {
    /// Whether the rule compares two configurations: with `compare`, or with a `first_of` whose words are all in
    /// [`COMPARED`], works and another one among them.
    pub fn compares(&self) -> bool {
        match &self.question {
            Question::Compare(_) | Question::CompareBetween { .. } => true,
            Question::Value(_) => false,
            Question::FirstOf(choices) => {
                let is = |word: &str| choices.iter().any(|choice| choice.is == word);
                let known = |is: &str| COMPARED.iter().any(|(word, _)| *word == is);
                is("works")
                    && choices.iter().all(|choice| known(&choice.is))
                    && choices.iter().any(|choice| needs_confirmation(&choice.is))
            }
        }
    }
}

impl Rules {
    /// The rules that confirmation rounds confirm: those that compare with an experiment, in records that have
    /// [`CONFIRM`].
    pub fn confirmed(&self) -> impl Iterator<Item = &Rule> {
        self.iter().filter(|rule| rule.confirmed)
    }

    /// The columns of the rules that compare with an experiment.
    pub fn comparing(&self) -> impl Iterator<Item = String> {
        self.iter().filter(|rule| rule.compares()).map(Rule::column)
    }
}

impl Rule {
    /// Whether it compares with an experiment.
    pub(super) fn compares(&self) -> bool {
        !matches!(self.asked, Asked::Online(_)) && self.source.compares()
    }
}

/// Whether a word has to be confirmed.
pub fn needs_confirmation(word: &str) -> bool {
    COMPARED[1..3].iter().any(|(known, _)| *known == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::UInt16Array;

    #[test]
    fn all_conclusive_rounds_decide() {
        let cases = "\
            broken     :                                  -> insufficient\n\
            broken     : broken                           -> broken\n\
            broken     : broken broken broken             -> broken\n\
            broken     : broken offline broken            -> broken\n\
            broken     : insufficient broken -            -> broken\n\
            broken     : works                            -> not_confirmed\n\
            broken     : works works offline              -> not_confirmed\n\
            broken     : transient                        -> not_confirmed\n\
            broken     : works broken                     -> intermittent\n\
            broken     : broken transient                 -> intermittent\n\
            broken     : offline offline                  -> insufficient\n\
            broken     : insufficient offline -           -> insufficient\n\
            transient  : transient transient              -> transient\n\
            transient  : works works                      -> not_confirmed\n\
            transient  : broken                           -> not_confirmed\n\
            transient  : transient works                  -> intermittent\n\
            transient  : offline                          -> insufficient\n\
            works      : broken broken                    -> works\n\
            offline    : works                            -> offline\n";
        for case in cases.lines() {
            let (first, rest) = case.split_once(':').unwrap();
            let (rounds, expected) = rest.split_once("->").unwrap();
            let mut counts = Counts::default();
            let rounds: Vec<&str> = rounds.split_whitespace().collect();
            rounds.iter().for_each(|word| counts.add(Some(*word).filter(|word| *word != "-")));
            assert_eq!(usize::from(counts.0[0]), rounds.len(), "{case}");
            let verdict = match counts.verdict(first.trim()) {
                Confirmation::Confirmed => first.trim(),
                Confirmation::Instead(number) => CONFIRMED[number].0,
                Confirmation::Nothing => INSUFFICIENT,
            };
            assert_eq!(verdict, expected.trim(), "{case}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let field = field(["a".to_owned(), "b".to_owned()]).unwrap();
        let mut once = Counts::default();
        once.add(Some("broken"));
        let counts = [once, Counts::default()];
        let column = column(&field, &[None, Some(&counts), None]).unwrap();
        let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
        let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
        let rounds = |name: &str| Rounds::of(name, &batch).unwrap();
        assert_eq!([0, 1, 2].map(|row| rounds("a").at(row)), [None, Some(once), None]);
        assert_eq!(rounds("b").at(1), Some(Counts::default()));
        assert!(Rounds::of("c", &batch).is_err());
        assert!(super::field([]).is_none());
    }
    #[test]
    fn counts_of_earlier_versions_are_read() {
        let count = |number: u16| Arc::new(UInt16Array::from(vec![number])) as ArrayRef;
        let fields = COUNTS.map(|(name, _)| Field::new(name, DataType::UInt16, false));
        let columns = (1..).take(COUNTS.len()).map(count).collect();
        let of_rule: ArrayRef =
            Arc::new(StructArray::new(Fields::from(fields.to_vec()), columns, None));
        let field = Field::new("a", of_rule.data_type().clone(), true);
        let rules: ArrayRef = Arc::new(StructArray::new(vec![field].into(), vec![of_rule], None));
        let batch = RecordBatch::try_from_iter([(CONFIRM, rules)]).unwrap();
        assert_eq!(Rounds::of("a", &batch).unwrap().at(0), Some(Counts([1, 2, 3, 4, 5, 6])));
    }
}
