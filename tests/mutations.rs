//! Any mutated measurement file has an answer: a plan, or mistakes with places. `PATHSPIDER_MUTATIONS` sets how many files
//! are tried, `PATHSPIDER_SEED` which.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
#![expect(
    clippy::print_stdout,
    reason = "the seed and the counts are for --nocapture and failures"
)]

use std::time::{Duration, Instant};

use arrow_schema::Fields;
use pathspider::measurement::{Plan, SHIPPED};

/// Pieces of TOML, SQL and of our own language, to be put anywhere.
const TOKENS: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "\r\n",
    "#",
    ".",
    "\\",
    "\\u00e9",
    "ä",
    "\u{0}",
    "\u{1F980}",
    "(",
    ")",
    " AND ",
    " NOT ",
    " IN (",
    " BETWEEN ",
    " CASE ",
    " END",
    " NULL",
    "-- ",
    "/*",
    "one.",
    "zero.",
    "seven.",
    "99999999999999999999",
    "0x40",
    "1e400",
    "-",
    "%",
    "|",
    "''",
    "$$",
    "${",
    "${timeout}",
    "${codepoint}",
    "}",
    "::",
    "true",
    "inf",
    "1979-05-27",
    "sweep = { a = [1, 2] }",
    "sweep = { a = \"${codepoint}\" }",
    "extends = \"ecn\"\n",
    "extends = \"dscp\"\n",
    "${codepoint * 4}",
    "${codepoint / 0}",
    "${(",
    "$codepoint",
    "{timeout}",
    "\u{201c}",
    "None",
    " && ",
    "!",
    "[config.eight]\n",
    "eight.",
    "---\n",
    "[params]\n",
    "[config.two]\n",
    "format = 1\n",
];

/// Values to stand for others.
const VALUES: &[&str] = &[
    "0",
    "-1",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "nan",
    "true",
    "\"\"",
    "\"x\"",
    "[]",
    "{}",
    "[[]]",
    "[1, \"two\"]",
    "{ x = {} }",
    "\"${timeout}\"",
    "\"${codepoint}\"",
    "\"${no}\"",
    "\"${codepoint * 9223372036854775807}\"",
    "\"${(1 + 2) * 3 % 0}\"",
    "{ default = [8, 46] }",
    "\"./base.toml\"",
    "\"arm.sh && x\"",
    "\"$${\"",
    "1979-05-27T07:32:00Z",
    "'''\n'''",
    "\"ä\\u00e9\"",
    "[1, 2, 3, 4, 5, 6, 7]",
    "[1, 2, 3, 4, 5, 6, 7, 8]",
    "[\"zero\", \"one\"]",
    "\"1 = 2\"",
];

/// Keys to stand for others.
const KEYS: &[&str] = &[
    "name",
    "format",
    "params",
    "config",
    "zero",
    "one",
    "seven",
    "eight",
    "steps",
    "sweep",
    "sysctl",
    "netfilter",
    "rule",
    "connect",
    "timeout",
    "use",
    "extends",
    "ip4_chain",
    "conditions",
    "compare",
    "between",
    "first_of",
    "when",
    "\"\"",
    "\"ä b\"",
    "a.b",
    "default",
];

/// A random generator (xorshift), so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// One change of bytes, tokens, keys, values or lines.
    fn mutate(&mut self, text: &mut String) {
        let at = text.floor_char_boundary(self.below(text.len() + 1));
        let end = text.ceil_char_boundary((at + self.below(12)).min(text.len()));
        match self.below(7) {
            0 => text.replace_range(at..end, ""),
            1 => text.insert_str(at, self.of(TOKENS)),
            2 => text.replace_range(at..end, self.of(TOKENS)),
            3 => {
                let twice = text[at..end].repeat(2);
                text.replace_range(at..end, &twice);
            }
            4 => {
                let value = self.of(VALUES);
                if let Some(place) = after_equals(text, at) {
                    text.replace_range(place, value);
                }
            }
            5 => {
                let key = self.of(KEYS);
                if let Some(place) = before_equals(text, at) {
                    text.replace_range(place, key);
                }
            }
            _ => {
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let (from, to) = (self.below(lines.len()), self.below(lines.len()));
                let line = lines.remove(from);
                lines.insert(to.min(lines.len()), line);
                if self.below(2) == 0 {
                    lines.insert(from.min(lines.len()), line);
                }
                *text = lines.concat();
            }
        }
    }
}

/// The value behind the next equals sign: up to the end of its line, or to the next comma.
fn after_equals(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let start = at + text[at..].find("= ")? + 2;
    let end = start + text[start..].find(['\n', ',', '}']).unwrap_or(text.len() - start);
    Some(start..end)
}

/// The key before the next equals sign.
fn before_equals(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let end = at + text[at..].find(" =")?;
    let start = text[..end].rfind([' ', '\n', '{', '.']).map_or(0, |at| at + 1);
    Some(start..end)
}

fn seeds() -> Vec<(&'static str, &'static str)> {
    let mut seeds = SHIPPED.to_vec();
    seeds.push(("exhaustive", include_str!("format/exhaustive.toml")));
    seeds.push((
        "sweep",
        "name = 'sweep'\n[params]\ntimeout = { default = '3s' }\n[config.zero]\n[config.one]\n\
         sweep = { codepoint = [1, 10], ttl = [3, 4] }\n\
         steps = [{ sockopt = { ip_tos = \"${codepoint}\", ip_ttl = '${ttl}' } }]\n\
         [connect]\ntimeout = '${timeout}'\n[observer]\nuse = ['basic', 'tcp']\n\
         [[conditions]]\nname = 'x.${codepoint}.${ttl}'\ncompare = 'ok'\n\
         [[conditions]]\nname = 'y.${codepoint}.${ttl}'\n\
         first_of = [{ is = 'a', when = 'one.ok AND one.ttl = ${ttl}' }, { is = 'b' }]\n",
    ));
    seeds
}

#[test]
fn no_mutation_of_a_measurement_is_a_panic() {
    let count = std::env::var("PATHSPIDER_MUTATIONS").ok().and_then(|n| n.parse().ok());
    let count: usize = count.unwrap_or(4000);
    let seeds = seeds();
    let seed = std::env::var("PATHSPIDER_SEED").ok().and_then(|n| n.parse().ok());
    let seed: u64 = seed.filter(|seed| *seed != 0).unwrap_or(0x9E37_79B9_7F4A_7C15);
    println!("PATHSPIDER_SEED={seed} PATHSPIDER_MUTATIONS={count}");
    let mut random = Random(seed);
    let (mut plans, mut mistakes) = (0u64, 0u64);
    let (mut all, mut slowest) = (Duration::ZERO, (Duration::ZERO, String::new()));
    for round in 0..count {
        let (name, text) = seeds[round % seeds.len()];
        let mut mutated = text.to_owned();
        for _ in 0..1 + random.below(3) {
            random.mutate(&mut mutated);
        }
        let begun = Instant::now();
        let loaded = Plan::load(name, &mutated, &Fields::empty());
        let took = begun.elapsed();
        all += took;
        if took > slowest.0 {
            slowest = (took, mutated.clone());
        }
        let Err(report) = loaded else {
            plans += 1;
            continue;
        };
        assert!(!report.diagnostics.is_empty(), "refused without a reason:\n{mutated}");
        for diagnostic in &report.diagnostics {
            mistakes += 1;
            let span = diagnostic.span.clone();
            // Where the file ends too early, the place is its end.
            // The text of what it extends follows its own.
            let placed =
                report.text.get(span.clone()).is_some_and(|t| !t.is_empty() || span.start > 0);
            assert!(placed || mutated.is_empty(), "{diagnostic:?} has no place in:\n{mutated}");
            assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
        }
        if round % 20 == 0 {
            assert!(report.render(true).contains(name));
        }
    }
    println!("{plans} plans, {mistakes} mistakes");
    // Only shown: how long a check takes depends on the machine.
    println!("{all:?} in all; the slowest took {:?}:\n{}", slowest.0, slowest.1);
    assert!(plans > 0 && mistakes > 0);
}
