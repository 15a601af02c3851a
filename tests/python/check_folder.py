#!/usr/bin/env python3
"""Opens a folder of records as analysts do: by its name alone, in each tool.

    check_folder.py results/records

Every tool must find the same records, and each position once. Exits with 1 and a message otherwise.
"""

import sys

import duckdb
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet

folder = sys.argv[1]
positions = {
    "pandas": pandas.read_parquet(folder)["position"].tolist(),
    "pandas, with pyarrow's types": pandas.read_parquet(folder, dtype_backend="pyarrow")["position"].tolist(),
    "pyarrow's datasets": pyarrow.dataset.dataset(folder).to_table(columns=["position"])["position"].to_pylist(),
    "pyarrow": pyarrow.parquet.read_table(folder)["position"].to_pylist(),
    "polars": polars.read_parquet(folder)["position"].to_list(),
    "polars, lazily": polars.scan_parquet(folder + "/").select("position").collect()["position"].to_list(),
    "DuckDB": [at for (at,) in duckdb.sql(f"SELECT position FROM '{folder}/*.parquet'").fetchall()],
}
expected = sorted(positions["pyarrow"])
if not expected or len(set(expected)) != len(expected):
    sys.exit(f"positions: {expected}")
for tool, found in positions.items():
    if sorted(found) != expected:
        sys.exit(f"{tool} has {len(found)} records, and pyarrow {len(expected)}")
# Rows are in the order of the list within a row group, and the file says so.
for part in pyarrow.dataset.dataset(folder).files:
    file = pyarrow.parquet.ParquetFile(part)
    for number in range(file.num_row_groups):
        group = file.read_row_group(number, columns=["position"])["position"].to_pylist()
        if group != sorted(group) or not file.metadata.row_group(number).sorting_columns:
            sys.exit(f"{part}: row group {number} is not sorted, or does not say so")
