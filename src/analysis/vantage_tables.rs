//! The tables about several vantage points.

use super::cell::{Cell, Form, Table, thousands};
use super::sql::{name, text};
use super::vantage::{CLASSES, COMPARED, CONCURRENT, LEAST, Seen, Vantages};

/// What each vantage point says of a condition.
pub fn points(of: &Vantages, seen: &Seen) -> Table {
    let rows = of.names.iter().zip(&seen.points).map(|(name, point)| {
        vec![
            Cell::text(&**name),
            Cell::Count(point.conclusive),
            Cell::Count(point.broken),
            Cell::share(point.broken, point.conclusive),
            Cell::Count(point.others_work),
            Cell::Count(point.alone),
            Cell::share(point.alone, point.others_work),
            Cell::text(if point.is_cause() { "yes" } else { "no" }),
        ]
    });
    let columns = [
        ("vantage point", Form::Text),
        ("conclusive", Form::Count),
        ("broken", Form::Count),
        ("share", Form::Share),
        ("others work", Form::Count),
        ("broken here", Form::Count),
        ("of these", Form::Share),
        ("left out", Form::Text),
    ];
    let column = name(&seen.condition.column);
    let names: Vec<String> =
        of.names.iter().enumerate().map(|(at, name)| format!("({at}, {})", text(name))).collect();
    let sql = format!(
        "WITH t AS (SELECT v, verdict.{column} AS w, count(*) FILTER (w = 'works') OVER p - CAST(w = 'works' AS INTEGER) AS ow, \
         count(*) FILTER (w = 'broken') OVER p - CAST(w = 'broken' AS INTEGER) AS ob FROM seen WHERE w IN ('works', 'broken') AND {} \
         WINDOW p AS (PARTITION BY target.ip, target.port, target.name)), s AS (SELECT v, count(*) AS conclusive, count(*) FILTER (w = \
         'broken') AS broken, count(*) FILTER (ow > ob AND ow + ob > 1) AS others, count(*) FILTER (ow > ob AND ow + ob > 1 AND w = \
         'broken') AS alone FROM t GROUP BY v)\nSELECT name, coalesce(conclusive, 0), coalesce(broken, 0), share(broken, conclusive), \
         coalesce(others, 0), coalesce(alone, 0), share(alone, others), CASE WHEN others >= {COMPARED} AND 2 * alone >= others THEN \
         'yes' ELSE 'no' END FROM (VALUES {}) AS names(v, name) LEFT JOIN s USING (v) ORDER BY v",
        of.others_sql,
        names.join(", ")
    );
    let caption = format!("{}: what each vantage point says", seen.condition.name);
    Table::new(format!("points-{}", seen.condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql)
        .with_note(format!(
            "\u{201c}Others work\u{201d} are targets that work from most of the other vantage points. A vantage point from which half \
             of these are broken (of {COMPARED} at least) explains them by itself, and is left out of the classes."
        ))
}

/// The SQL of what the vantage points say of each target: masks without those that are left out.
fn said(of: &Vantages, seen: &Seen) -> String {
    let column = name(&seen.condition.column);
    let causes: Vec<String> = seen
        .points
        .iter()
        .enumerate()
        .filter(|(_, point)| point.is_cause())
        .map(|(at, _)| at.to_string())
        .collect();
    let kept = match causes.is_empty() {
        true => of.others_sql.to_owned(),
        false => format!("{} AND v NOT IN ({})", of.others_sql, causes.join(", ")),
    };
    let count = |word: &str| format!("count(*) FILTER (verdict.{column} = '{word}' AND {kept})");
    format!(
        "SELECT {} AS works, {} AS broken, {} AS unstable, max(epoch_ns(zero.started)) - min(epoch_ns(zero.started)) AS apart, \
         string_agg(vantage, ', ' ORDER BY v) FILTER (verdict.{column} = 'broken' AND {kept}) AS points FROM seen GROUP BY target.ip, \
         target.port, target.name",
        count("works"),
        count("broken"),
        count("intermittent")
    )
}

/// Targets by class.
pub fn classes(of: &Vantages, seen: &Seen) -> Table {
    let rows = CLASSES.iter().zip(seen.classes).map(|((class, meaning), count)| {
        vec![
            Cell::text(*class),
            Cell::Count(count),
            Cell::share(count, of.targets),
            Cell::text(*meaning),
        ]
    });
    let values: Vec<String> = CLASSES
        .iter()
        .enumerate()
        .map(|(at, (class, meaning))| format!("({at}, '{class}', {})", text(meaning)))
        .collect();
    let sql = format!(
        "WITH said AS ({}), classes AS (SELECT CASE WHEN unstable > 0 THEN 'unstable' WHEN works > 0 AND broken > 0 THEN CASE WHEN \
         coalesce(apart, 0) <= {CONCURRENT} THEN 'path_dependent' ELSE 'not_concurrent' END WHEN broken >= {LEAST} THEN 'site' WHEN \
         works >= {LEAST} THEN 'works' ELSE 'insufficient' END AS class FROM said)\nSELECT names.class, count(classes.class) AS n, \
         share(n, {}), meaning FROM (VALUES {}) AS names(place, class, meaning) LEFT JOIN classes USING (class) GROUP BY place, \
         names.class, meaning ORDER BY place",
        said(of, seen),
        of.targets,
        values.join(", ")
    );
    let caption = format!("{}: {} targets by class", seen.condition.name, thousands(of.targets));
    let columns = [
        ("class", Form::Text),
        ("targets", Form::Count),
        ("share", Form::Share),
        ("meaning", Form::Text),
    ];
    Table::new(format!("classes-{}", seen.condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql)
}

/// Path-dependent targets by the vantage points from which they are broken.
pub fn sets(of: &Vantages, seen: &Seen) -> Table {
    let mut rows: Vec<(String, u64)> = Vec::new();
    for (set, count) in &seen.sets {
        let names = of.names.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        rows.push((names.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", "), *count));
    }
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let rows = rows.into_iter().map(|(names, count)| vec![Cell::text(names), Cell::Count(count)]);
    let sql = format!(
        "SELECT points, count(*) AS n FROM ({}) WHERE works > 0 AND broken > 0 AND unstable = 0 AND coalesce(apart, 0) <= \
         {CONCURRENT} GROUP BY points ORDER BY n DESC, points",
        said(of, seen)
    );
    let caption = format!(
        "{}: {} path-dependent targets by the vantage points from which they are broken",
        seen.condition.name,
        thousands(total)
    );
    let columns = [("broken from", Form::Text), ("targets", Form::Count)];
    Table::new(format!("sets-{}", seen.condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql)
}

/// All tables about the vantage points.
pub fn all(of: &Vantages) -> Vec<Table> {
    let tables =
        of.conditions.iter().flat_map(|seen| [classes(of, seen), points(of, seen), sets(of, seen)]);
    tables.collect()
}
