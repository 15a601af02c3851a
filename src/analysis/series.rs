//! Numbers of many records: their quantiles, exact up to a bound on memory.

use crate::targets::scrambled;

/// The numbers of a series are kept up to this many records. Of more, about this many are kept: those of the records with
/// the smallest scrambled position, so the sample depends on the positions alone.
pub const EXACT: u64 = 1 << 21;

/// The numbers of a series.
#[derive(Debug, Clone)]
pub struct Series {
    /// The group of series that share a chart and a table.
    pub group: String,
    /// Its name.
    pub name: String,
    /// The unit of its numbers.
    pub unit: Option<String>,
    /// The SQL expression of a number.
    pub sql: String,
    /// How many numbers there are.
    pub count: u64,
    numbers: Vec<f64>,
    /// Only numbers with at most this scrambled position are kept.
    last: u64,
}

impl Series {
    /// No numbers yet, of that many records in all.
    pub fn new(group: &str, name: &str, unit: Option<&str>, sql: String, records: u64) -> Self {
        let share = EXACT as f64 / records.max(1) as f64;
        let last = if share < 1.0 { (share * u64::MAX as f64) as u64 } else { u64::MAX };
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
            sql,
            count: 0,
            numbers: Vec::new(),
            last,
        }
    }

    /// Adds the number of the record at a position.
    pub fn add(&mut self, position: u64, number: f64) {
        self.count += 1;
        if self.last == u64::MAX || scrambled(position) <= self.last {
            self.numbers.push(number);
        }
    }

    /// The size of the sample, if it is one.
    pub fn sample(&self) -> Option<usize> {
        (self.count > self.numbers.len() as u64).then_some(self.numbers.len())
    }

    /// Sorts the numbers; after the last one was added.
    pub fn close(&mut self) {
        self.numbers.sort_unstable_by(f64::total_cmp);
    }

    /// The numbers below which these shares lie, interpolated between neighbours as by `quantile_cont`.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.numbers.len().checked_sub(1)?;
        let place = share * last as f64;
        let at = |place: f64| self.numbers.get(place as usize).copied();
        let (low, high) = (at(place.floor())?, at(place.ceil())?);
        Some(low + (high - low) * (place - place.floor()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: impl Iterator<Item = u32>, records: u64) -> Series {
        let mut series = Series::new("", "", None, String::new(), records);
        (0..).zip(numbers).for_each(|(at, number)| series.add(at, f64::from(number)));
        series.close();
        series
    }

    #[test]
    fn quantiles_are_those_of_databases() {
        // SELECT quantile_cont(x, [0.1, 0.5, 1]) FROM unnest([4, 1, 3, 2]) t(x)
        let few = of([4, 1, 3, 2].into_iter(), 4);
        let quantiles = [0.1, 0.5, 1.0].map(|share| few.quantile(share).unwrap_or_default());
        assert!((quantiles[0] - 1.3).abs() < 1e-12, "{quantiles:?}");
        assert_eq!((&quantiles[1..], few.sample()), (&[2.5, 4.0][..], None));
        assert_eq!(of(std::iter::empty(), 0).quantile(0.5), None);
    }

    #[test]
    fn of_many_numbers_a_sample_is_kept() {
        // As if these were the first of a list ten times the bound.
        let many = of(0..100_000, 10 * EXACT);
        assert_eq!(many.count, 100_000);
        let sample = many.sample().unwrap_or_default();
        assert!((9_000..11_000).contains(&sample), "{sample}");
        let median = many.quantile(0.5).unwrap_or_default();
        assert!((median - 50_000.0).abs() < 3_000.0, "{median}");
    }
}
