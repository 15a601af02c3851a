//! Charts as SVG: bars, bars and dots with intervals, and lines. They are static, have a title and a description, and
//! use colour only next to a text, a shape or a dash.

use std::fmt::Write as _;

use crate::printable;

/// Width of every chart in its own units, of which a letter is 13 high.
const WIDTH: f64 = 720.0;
/// Where the bars begin: left of it are the names.
const LEFT: f64 = 200.0;
/// The width of the bars' scale.
const SCALE: f64 = 370.0;
/// The height of a row.
const ROW: f64 = 26.0;
/// Characters of a name that fit.
const NAME: usize = 28;

/// What a chart says, for those who do not see it.
#[derive(Debug, Clone, Copy)]
pub struct Says<'a> {
    /// A name that is unique on the page.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// What it finds.
    pub finding: &'a str,
}

/// A row of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its value, on the scale of the chart.
    pub value: f64,
    /// The interval of the value.
    pub interval: Option<[f64; 2]>,
    /// The text next to it.
    pub text: String,
    /// Whether it is drawn in the colour of what is affected.
    pub affected: bool,
}

/// Escapes a text for HTML and SVG.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable::line(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// The beginning of a name that is too long.
fn short(name: &str) -> String {
    let name = printable::line(name);
    match name.char_indices().nth(NAME) {
        None => name.into_owned(),
        Some((at, _)) => format!("{}\u{2026}", name[..at].trim_end()),
    }
}

fn svg(says: Says<'_>, height: f64, body: &str) -> String {
    let Says { id, title, finding } = says;
    let (title, finding) = (escaped(title), escaped(finding));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" focusable=\"false\"><title \
         id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{finding}</desc>{body}</svg>"
    )
}

/// A number of a drawing, with one decimal.
fn n(number: f64) -> String {
    crate::analysis::cell::real(number, 1).trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let anchor =
        if anchor == "start" { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    // Writing to a string cannot fail.
    let _ =
        write!(body, "<text x=\"{}\" y=\"{}\"{anchor}{class}>{}</text>", n(x), n(y), escaped(text));
}

/// The top of the scale: the largest value, with some room.
fn top(rows: &[Row]) -> f64 {
    let most =
        rows.iter().flat_map(|row| [row.value, row.interval.map_or(row.value, |[_, high]| high)]);
    most.fold(0.0f64, f64::max).max(1e-9)
}

/// Bars from zero, with their intervals.
pub fn bars(says: Says<'_>, rows: &[Row]) -> String {
    let top = top(rows);
    let mut body = String::new();
    for (at, row) in rows.iter().enumerate() {
        let y = ROW * at as f64 + 4.0;
        let x = |value: f64| LEFT + SCALE * (value / top).clamp(0.0, 1.0);
        text(&mut body, LEFT - 10.0, y + 14.0, "end", "", &short(&row.name));
        let class = if row.affected { "b" } else { "a" };
        let _ = write!(
            body,
            "<rect class=\"track\" x=\"{LEFT}\" y=\"{0}\" width=\"{SCALE}\" height=\"16\"/><rect class=\"{class}\" x=\"{LEFT}\" \
             y=\"{0}\" width=\"{1}\" height=\"16\"/>",
            n(y),
            n(x(row.value) - LEFT)
        );
        whisker(&mut body, row.interval.map(|ends| ends.map(x)), y + 8.0);
        text(&mut body, LEFT + SCALE + 10.0, y + 13.0, "start", "value", &row.text);
    }
    svg(says, ROW * rows.len() as f64 + 4.0, &body)
}

/// Dots with their intervals, on a scale from zero with a grid.
pub fn dots(says: Says<'_>, rows: &[Row], percent: bool) -> String {
    let top = if percent { round_up(top(rows)).min(1.0) } else { round_up(top(rows)) };
    let height = ROW * rows.len() as f64 + 30.0;
    let bottom = height - 26.0;
    let x = |value: f64| LEFT + SCALE * (value / top).clamp(0.0, 1.0);
    let mut body = String::new();
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let _ = write!(body, "<path class=\"grid\" d=\"M{} 2V{}\"/>", n(x(value)), n(bottom));
        let label = if percent { format!("{} %", trimmed(value * 100.0)) } else { trimmed(value) };
        text(&mut body, x(value), bottom + 18.0, "middle", "dim", &label);
    }
    for (at, row) in rows.iter().enumerate() {
        let y = ROW * at as f64 + 13.0;
        text(&mut body, LEFT - 10.0, y + 5.0, "end", "", &short(&row.name));
        whisker(&mut body, row.interval.map(|ends| ends.map(x)), y);
        let class = if row.affected { "b" } else { "a" };
        let _ = write!(
            body,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"5\"/>",
            n(x(row.value)),
            n(y)
        );
        text(&mut body, LEFT + SCALE + 14.0, y + 5.0, "start", "value", &row.text);
    }
    svg(says, height, &body)
}

fn whisker(body: &mut String, ends: Option<[f64; 2]>, y: f64) {
    if let Some([low, high]) = ends {
        let [low, high] = [n(low), n(high)];
        let (up, down) = (n(y - 4.0), n(y + 4.0));
        let _ = write!(
            body,
            "<path class=\"whisker\" d=\"M{low} {up}V{down}M{low} {y}H{high}M{high} {up}V{down}\"/>",
            y = n(y)
        );
    }
}

/// A number without trailing zeros.
fn trimmed(number: f64) -> String {
    let decimals = match number.abs() {
        large if large >= 100.0 => 0,
        large if large >= 1.0 => 1,
        large if large >= 0.01 => 3,
        _ => 5,
    };
    let text = crate::analysis::cell::real(number, decimals);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The next of 1, 2, 4, 5, 8 and 10 times a power of ten.
fn round_up(number: f64) -> f64 {
    let power = 10f64.powi(number.max(1e-9).log10().floor() as i32);
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps
        .iter()
        .map(|step| step * power)
        .find(|top| *top >= number * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// A line: a name, and points of the distribution from the smallest to the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// The number below which each of equally many shares of the numbers lie, from 0 to 1.
    pub quantiles: Vec<f64>,
}

/// How dashes are called.
const DASHES: [&str; 4] = ["solid", "dashed", "dotted", "dash-dotted"];

/// Cumulative distributions, between their 1 % and 99 % quantiles: on a logarithmic scale if all numbers are
/// positive and differ by more than a factor of 20.
pub fn distributions(says: Says<'_>, lines: &[Line], unit: &str) -> String {
    let (left, width, high, bottom) = (60.0, 640.0, 14.0, 264.0);
    let inner = |line: &Line| {
        let last = line.quantiles.len().saturating_sub(1);
        let cut = last / 100;
        line.quantiles[cut.min(last)..=last - cut.min(last)].to_vec()
    };
    let all: Vec<f64> =
        lines.iter().filter(|line| !line.quantiles.is_empty()).flat_map(inner).collect();
    let (mut least, mut most) =
        all.iter().fold((f64::MAX, f64::MIN), |(a, b), number| (a.min(*number), b.max(*number)));
    if all.is_empty() || most <= least {
        (least, most) = if all.is_empty() { (0.0, 1.0) } else { (least - 1.0, most + 1.0) };
    }
    let log = least > 0.0 && most / least > 20.0;
    let scaled = |number: f64| if log { number.max(least).log10() } else { number };
    let (from, to) = (scaled(least), scaled(most));
    let x = |number: f64| left + width * ((scaled(number) - from) / (to - from)).clamp(0.0, 1.0);
    let y = |share: f64| bottom - (bottom - high) * share;
    let mut body = String::new();
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{left} {}H{}\"/>",
            n(y(share)),
            n(left + width)
        );
        text(&mut body, left - 8.0, y(share) + 4.0, "end", "dim", &format!("{} %", 25 * quarter));
    }
    for tick in ticks(least, most, log) {
        let _ = write!(body, "<path class=\"axis\" d=\"M{} {bottom}v5\"/>", n(x(tick)));
        text(&mut body, x(tick), bottom + 20.0, "middle", "dim", &trimmed(tick));
    }
    for (at, line) in lines.iter().take(DASHES.len()).enumerate() {
        let last = line.quantiles.len().saturating_sub(1).max(1) as f64;
        let inside = |number: &f64| (least..=most).contains(number);
        let points = line.quantiles.iter().enumerate().filter(|(_, number)| inside(number));
        let points: Vec<String> = points
            .map(|(at, number)| format!("{},{}", n(x(*number)), n(y(at as f64 / last))))
            .collect();
        let _ = write!(body, "<polyline class=\"l{at}\" points=\"{}\"/>", points.join(" "));
        let legend = 306.0;
        let place = left + at as f64 * 165.0;
        let _ = write!(body, "<path class=\"l{at}\" d=\"M{} {legend}h34\"/>", n(place));
        text(
            &mut body,
            place + 42.0,
            legend + 4.0,
            "start",
            "",
            &format!("{} ({})", short(&line.name), DASHES[at]),
        );
    }
    if least < 0.0 && most > 0.0 {
        let _ = write!(body, "<path class=\"axis\" d=\"M{} {high}V{bottom}\"/>", n(x(0.0)));
    }
    if !unit.is_empty() {
        text(&mut body, left + width, bottom + 36.0, "end", "dim", unit);
    }
    svg(says, 318.0, &body)
}

/// Places of an axis: powers of ten (and halves of them) or about six equal steps.
fn ticks(least: f64, most: f64, log: bool) -> Vec<f64> {
    if log {
        let decades = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
        let few = most / least < 1e4;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = decades.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        return all.filter(|tick| (least..=most).contains(tick)).collect();
    }
    let step = round_up((most - least) / 6.0);
    let first = (least / step).ceil() as i64;
    let last = (most / step).floor() as i64;
    (first..=last).map(|at| at as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAYS: Says<'_> = Says { id: "a", title: "<t>", finding: "f & g" };

    #[test]
    fn what_strangers_wrote_is_escaped() {
        let row = Row {
            name: "\"><script>\u{202e}".into(),
            value: 1.0,
            interval: Some([0.5, 1.0]),
            text: "<b>".into(),
            affected: true,
        };
        for svg in [bars(SAYS, std::slice::from_ref(&row)), dots(SAYS, &[row], true)] {
            assert!(
                !svg.contains("<script") && !svg.contains("<b>") && !svg.contains('\u{202e}'),
                "{svg}"
            );
            assert!(
                svg.contains("&lt;script&gt;\\u{202e}")
                    && svg.contains("<desc id=\"a-d\">f &amp; g"),
                "{svg}"
            );
        }
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.019, 0.5, 3.0, 72.0, 100.0].map(round_up), [0.02, 0.5, 4.0, 80.0, 100.0]);
        assert_eq!(ticks(0.5, 120.0, true), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks(-3.0, 3.0, false), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_line_without_numbers_is_no_line() {
        let lines = [Line { name: "x".into(), quantiles: Vec::new() }];
        assert!(!distributions(SAYS, &lines, "ms").contains("NaN"));
        let one = [Line { name: "x".into(), quantiles: vec![2.0, 2.0] }];
        assert!(!distributions(SAYS, &one, "ms").contains("NaN"));
    }
}
