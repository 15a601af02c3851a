//! Times as text: ISO 8601 in UTC with nanoseconds (`2026-03-01T12:00:00.000000123Z`).

use chrono::DateTime;

/// Nanoseconds since 1970 in UTC; `None` if the text is no time of RFC 3339 with its zone, or beyond the years 1677
/// to 2262.
pub fn parse(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

/// Appends a time, in nanoseconds since 1970. Written by hand: records have several each, and the formatter of a
/// general library takes ten times as long.
pub fn append(nanoseconds: i64, out: &mut Vec<u8>) {
    const SECOND: i64 = 1_000_000_000;
    let (seconds, fraction) = (nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let mut number = |value: i64, digits: u32, end: u8| {
        out.extend((0..digits).rev().map(|at| b'0' + (value / 10i64.pow(at) % 10) as u8));
        out.push(end);
    };
    number(year, 4, b'-');
    number(month, 2, b'-');
    number(day, 2, b'T');
    number(second / 3600, 2, b':');
    number(second / 60 % 60, 2, b':');
    number(second % 60, 2, b'.');
    number(fraction, 9, b'Z');
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar. Years begin in March, so that the
/// day that only some have is the last, and are counted in cycles of 400, which have equal lengths.
fn date(days: i64) -> (i64, i64, i64) {
    // 1 March of the year 0 is 719,468 days before 1970.
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chrono formats the same times.
    #[test]
    fn times_are_written_as_chrono_does() {
        let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
        // Steps of 41 days and some nanoseconds: every month of every year, and every digit.
        let steps = (-2600..2600).map(|step| step * 3_542_400_123_456_789);
        // The last day of February of years with and without one, and the days around it.
        let leaps = ["2000", "1900", "2100", "2024", "2023"].into_iter().flat_map(|year| {
            let first = parse(&format!("{year}-02-27T23:59:59.999999999Z")).unwrap();
            (0..4).map(move |day| first + day * 86_400_000_000_000)
        });
        for time in ends.into_iter().chain(steps).chain(leaps) {
            let mut text = Vec::new();
            append(time, &mut text);
            let chrono = DateTime::from_timestamp_nanos(time);
            let chrono = chrono.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
            assert_eq!(String::from_utf8(text).unwrap(), chrono);
            assert_eq!(parse(&chrono), Some(time));
        }
    }

    #[test]
    fn a_time_has_its_zone() {
        let noon = Some(1_804_075_200_000_000_000);
        for (text, time) in [
            ("2027-03-03T12:00:00Z", noon),
            ("2027-03-03t12:00:00.000z", noon),
            ("2027-03-03T14:00:00+02:00", noon),
            ("2027-03-03T12:00:00.000000001Z", noon.map(|noon| noon + 1)),
            ("2027-03-03T12:00:00", None),
            ("2027-03-03", None),
            ("2027-02-30T12:00:00Z", None),
            ("2263-01-01T00:00:00Z", None),
            ("noon", None),
            ("", None),
        ] {
            assert_eq!(parse(text), time, "{text}");
        }
    }
}
