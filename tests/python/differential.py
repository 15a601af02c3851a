#!/usr/bin/env python3
"""Evaluates conditions and metrics of a Parquet file in DuckDB, compares them with its own columns.

    differential.py FILE

The metadata has JSON objects from a name to SQL: `pathspider.conditions_sql` and
`pathspider.metrics_sql`, of which each must be evaluated, and `pathspider.raw_sql`, of which DuckDB may refuse some, for known
reasons. Exits with 1 if a row differs, or if too many were refused.
"""

import json
import sys

import duckdb
import pyarrow.parquet as pq

# Where DuckDB says that it cannot, instead of giving another answer.
KNOWN = ("Overflow", "Division by zero", "TIMESTAMPTZ_NS", "Could not convert")


def compare(connection, column, sql):
    """The rows that differ: number, ours, DuckDB's."""
    return connection.sql(
        f"SELECT row, {column}, again FROM (SELECT *, {sql} AS again FROM records)"
        f" WHERE again IS DISTINCT FROM {column} ORDER BY row"
    ).fetchall()


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: differential.py FILE")
    path = sys.argv[1]
    metadata = pq.ParquetFile(path).metadata.metadata
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET timezone = 'America/New_York'")
    connection.execute(
        "CREATE TABLE records AS SELECT *, file_row_number AS row"
        " FROM read_parquet(?, file_row_number = true)",
        [path],
    )
    [(rows,)] = connection.sql("SELECT count(*) FROM records").fetchall()
    wrong, refused, counts = [], [], {}
    for kind, table in (("conditions_sql", "verdict"), ("metrics_sql", "metric"), ("raw_sql", "verdict")):
        conditions = json.loads(metadata[f"pathspider.{kind}".encode()])
        counts[kind] = len(conditions)
        for name, sql in conditions.items():
            try:
                differing = compare(connection, f"{table}.{name.replace('.', '_')}", sql)
            except duckdb.Error as error:
                if kind == "raw_sql" and any(known in str(error) for known in KNOWN):
                    refused.append(name)
                else:
                    wrong.append(f"{kind} {name}: {error}\n  {sql}")
                continue
            if differing:
                wrong.append(f"{kind} {name}: {len(differing)} rows: {differing[:2]}\n  {sql}")
    print(
        f"{counts['conditions_sql']} conditions and {counts['metrics_sql']} metrics over {rows} rows,"
        f" {len(wrong)} differ"
    )
    print(f"{counts['raw_sql']} of them as they were written, {len(refused)} refused by DuckDB")
    if 2 * len(refused) > counts["raw_sql"]:
        wrong.append("DuckDB refused more than half of the expressions as they were written")
    if wrong:
        sys.exit("\n".join(wrong[:5]))


if __name__ == "__main__":
    main()
