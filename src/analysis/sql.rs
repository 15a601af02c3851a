//! The SQL of DuckDB that tables have in common.

use super::network::{V4_LENGTH, V6_LENGTH};
use super::source::Source;

pub use super::quote::{name, text};

/// Macros: the intervals, and the network of an address.
const MACROS: &str = "\
CREATE MACRO label(verdict) AS nullif(verdict, 'insufficient');
CREATE MACRO share(k, n) AS CASE WHEN n > 0 THEN k / n END;
CREATE MACRO wilson_low(k, n) AS CASE WHEN n > 0 THEN greatest(0, (k/n + 1.9207294103/n - 1.9599639845 * sqrt(greatest(0, (k/n*(1-k/n) + 0.9603647052/n)/n))) / (1 + 3.8414588207/n)) END;
CREATE MACRO wilson_high(k, n) AS CASE WHEN n > 0 THEN least(1, (k/n + 1.9207294103/n + 1.9599639845 * sqrt(greatest(0, (k/n*(1-k/n) + 0.9603647052/n)/n))) / (1 + 3.8414588207/n)) END;
CREATE MACRO difference_low(k, n, l, m) AS CASE WHEN n > 0 AND m > 0 THEN k/n - l/m - sqrt((k/n - wilson_low(k, n))^2 + (wilson_high(l, m) - l/m)^2) END;
CREATE MACRO difference_high(k, n, l, m) AS CASE WHEN n > 0 AND m > 0 THEN k/n - l/m + sqrt((wilson_high(k, n) - k/n)^2 + (l/m - wilson_low(l, m))^2) END;
";

/// The definition of the macro `network` for addresses as text.
fn network_macro() -> String {
    format!(
        "CREATE MACRO part6(part) AS CASE WHEN part = '' THEN CAST([] AS VARCHAR[]) ELSE string_split(part, ':') END;\n\
         CREATE MACRO groups6(head, tail) AS list_concat(head, ['0', '0', '0', '0', '0', '0', '0', '0'][1:8 - len(head) - \
         len(tail)], tail);\n\
         CREATE MACRO network(ip) AS CASE WHEN NOT contains(ip, ':') THEN regexp_extract(ip, '^[0-9]+[.][0-9]+[.][0-9]+') \
         || '.0/{V4_LENGTH}' ELSE regexp_replace(regexp_replace(array_to_string(groups6(part6(split_part(ip, '::', 1)), \
         part6(split_part(ip, '::', 2)))[1:3], ':'), '(:0)+$', ''), '^0$', '') || '::/{V6_LENGTH}' END;\n"
    )
}

/// Definitions that the SQL under the tables needs: the views `records` and `about`, and macros.
pub fn prelude(sources: &[Source]) -> String {
    let files: Vec<String> = sources.iter().map(Source::sql).collect();
    let records = match &*files {
        [only] => format!("SELECT * FROM {only}"),
        _ => format!("SELECT * FROM read_parquet([{}], union_by_name = true)", files.join(", ")),
    };
    let about: Vec<String> = sources.iter().map(Source::about_sql).collect();
    let about = about.join(" UNION ALL ");
    format!(
        "CREATE VIEW records AS {records};\nCREATE VIEW about AS {about};\n{MACROS}{}",
        network_macro()
    )
}

/// The same for a comparison of results: a view for each.
pub fn prelude_of(views: &[(&str, &Source)]) -> String {
    let views = views.iter().map(|(name, source)| {
        format!(
            "CREATE VIEW {name} AS SELECT * FROM {} QUALIFY row_number() OVER (PARTITION BY target.ip, target.port, \
             target.name ORDER BY position) = 1;\n",
            source.sql()
        )
    });
    views.collect::<String>() + MACROS + &network_macro()
}
