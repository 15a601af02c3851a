#!/usr/bin/env python3
"""Reads a Parquet file of `measurements/ecn.toml` as analysts do, and checks what is in it.

    check_parquet.py FILE

pyarrow, DuckDB, polars and pandas each read it. Types and values are checked, and every
condition is computed again by DuckDB, from the SQL that the file carries in its metadata, and
compared row by row. Exits with 1 and a message at the first thing wrong.
"""

import hashlib
import ipaddress
import json
import sys
import tomllib

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

UTC_NS = pa.timestamp("ns", tz="UTC")

TARGET = {
    "ip": pa.string(),
    "port": pa.uint16(),
    "name": pa.string(),
    "prefix": pa.string(),
    "asn": pa.list_(pa.field("item", pa.int64(), nullable=False)),
}

# What the AS table of the test says of all addresses.
ORIGINS = {4: [64496, 64497], 6: [64498]}

# What the engine knows of an attempt: there also when nothing was observed.
ATTEMPT = {
    "ok": pa.bool_(),
    "state": pa.string(),
    "stage": pa.string(),
    "error": pa.string(),
    "started": UTC_NS,
    "ended": UTC_NS,
    "duration": pa.int64(),
    "ip_version": pa.uint8(),
    "source_port": pa.uint16(),
    "observed": pa.bool_(),
}

# What the observer saw, under upstream's names.
FACTS = {
    "sip": pa.string(),
    "dip": pa.string(),
    "proto": pa.uint8(),
    "sp": pa.uint16(),
    "dp": pa.uint16(),
    "pkt_first": UTC_NS,
    "pkt_last": UTC_NS,
    **{f"{what}_{way}": pa.int64() for what in ("pkt", "oct") for way in ("fwd", "rev")},
    **{f"tcp_synflags_{way}": pa.uint16() for way in ("fwd", "rev", "last_fwd", "last_rev")},
    **{f"tcp_{what}_{way}": pa.bool_() for what in ("fin", "rst") for way in ("fwd", "rev")},
    "tcp_synack_ece": pa.bool_(),
    "tcp_synack_cwr": pa.bool_(),
    "tcp_connected": pa.bool_(),
    **{
        f"ecn_{mark}_{on}_{way}": pa.bool_()
        for mark in ("ect0", "ect1", "ce")
        for on in ("syn", "data")
        for way in ("fwd", "rev")
    },
}

CONDITIONS = ["ecn.connectivity", "ecn.negotiation"] + [
    f"ecn.ipmark.{mark}" for mark in ("ect0", "ect1", "ce")
]

STATES = {"ok", "failed", "timeout", "local_error"}

METADATA = [
    "version",
    "measurement",
    "measurement_sha256",
    "conditions_sql",
    "command_line",
    "kernel",
    "interface",
    "started",
    "ended",
    "packets_seen",
    "packets_dropped",
]


class Wrong(Exception):
    """Something in the file is not as it should be."""


def check(condition, message):
    if not condition:
        raise Wrong(message)


def column(name):
    """The column of `verdict` that belongs to a condition."""
    return name.replace(".", "_")


def quoted(text):
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def check_struct(schema, name, expected):
    check(name in schema.names, f"there is no column {name}")
    struct = schema.field(name).type
    check(pa.types.is_struct(struct), f"{name} is {struct}, not a struct")
    fields = {field.name: field.type for field in struct}
    for field, kind in expected.items():
        check(field in fields, f"there is no column {name}.{field}")
        check(fields[field] == kind, f"{name}.{field} is {fields[field]}, not {kind}")
    return fields


def check_schema(schema):
    """Types; gives back the names of the observer's facts."""
    check_struct(schema, "target", TARGET)
    facts = None
    for config in ("zero", "one"):
        fields = check_struct(schema, config, ATTEMPT | FACTS)
        facts = [name for name in fields if name not in ATTEMPT]
    check("conditions" in schema.names, "there is no column conditions")
    kind = schema.field("conditions").type
    check(pa.types.is_list(kind), f"conditions is {kind}, not a list")
    check(kind.value_type == pa.string(), f"conditions is {kind}, not a list of strings")
    names = {column(name): pa.string() for name in CONDITIONS}
    words = pa.dictionary(pa.int32(), pa.string())
    verdict = check_struct(schema, "verdict", dict.fromkeys(names, words))
    insufficient = check_struct(schema, "insufficient", names)
    check(list(verdict) == list(insufficient), "verdict and insufficient have different columns")
    return facts


def check_metadata(file):
    """The run's own data; gives back the measurement and its conditions in SQL."""
    found = file.metadata.metadata or {}
    stored = {}
    for key in METADATA:
        value = found.get(f"pathspider.{key}".encode())
        check(value, f"there is no metadata pathspider.{key}")
        stored[key] = value.decode()
    digest = hashlib.sha256(stored["measurement"].encode()).hexdigest()
    check(stored["measurement_sha256"] == digest, "measurement_sha256 is not the measurement's")
    for key in ("packets_seen", "packets_dropped"):
        check(stored[key].isdigit(), f"{key} is {stored[key]!r}, not a count")
    started, ended = pandas.Timestamp(stored["started"]), pandas.Timestamp(stored["ended"])
    check(started.tz is not None, f"started is {stored['started']!r}, without a time zone")
    check(started <= ended, "the run ended before it started")
    return tomllib.loads(stored["measurement"]), json.loads(stored["conditions_sql"])


def label(condition, verdict):
    """What stands in `conditions` for a verdict."""
    return f"{condition['name']}{':' if 'value' in condition else '.'}{verdict}"


def check_rows(table, measurement, facts):
    """Values, one row at a time, as pyarrow gives them."""
    conditions = measurement["conditions"]
    for name in CONDITIONS:
        check(name in [c["name"] for c in conditions], f"the measurement has no condition {name}")
    # Nanoseconds do not fit Python's datetime.
    plain = {}
    for config in ("zero", "one"):
        for key in ("started", "ended", "pkt_first", "pkt_last"):
            times = table.column(config).combine_chunks().field(key).cast(pa.int64())
            plain[config, key] = times.to_pylist()
    names = [name for name in facts if name not in ("pkt_first", "pkt_last")]
    for config in ("zero", "one"):
        struct = table.column(config).combine_chunks()
        keys = [key for key in ATTEMPT if key not in ("started", "ended")] + names
        columns = {key: struct.field(key).to_pylist() for key in keys}
        for row in range(table.num_rows):
            here = f"row {row}, {config}"
            value = {key: values[row] for key, values in columns.items()}
            time = {key: times[row] for (which, key), times in plain.items() if which == config}
            check(value["state"] in STATES, f"{here}: state is {value['state']!r}")
            if value["state"] == "local_error":
                check(value["ok"] is None, f"{here}: ok is not NULL after a local error")
            else:
                expected = value["state"] == "ok"
                check(value["ok"] == expected, f"{here}: {value['state']} but ok={value['ok']}")
                check(value["source_port"], f"{here}: no source port")
                check(time["started"] is not None, f"{here}: no start")
                check(time["ended"] is not None, f"{here}: no end")
            if time["started"] is not None and time["ended"] is not None:
                took = time["ended"] - time["started"]
                check(value["duration"] == took, f"{here}: {value['duration']} ns, not {took}")
                check(time["started"] <= time["ended"], f"{here}: ended before it started")
            if value["ok"]:
                # A server that is very slow is there, though it takes longer to close than anybody waits.
                late = value["error"] == "Peer did not close in time" and value["stage"] == "response"
                check(value["error"] is None or late, f"{here}: ok, but {value['error']}")
            check(value["observed"] is not None, f"{here}: observed is NULL")
            if not value["observed"]:
                some = [key for key in names if value[key] is not None]
                some += [key for key in ("pkt_first", "pkt_last") if time[key] is not None]
                check(not some, f"{here}: not observed, but facts in {', '.join(some)}")
                continue
            check(value["pkt_fwd"] > 0, f"{here}: observed, but no packet forward")
            check(time["pkt_first"] <= time["pkt_last"], f"{here}: last packet before first")
            check(value["sp"] == value["source_port"], f"{here}: a flow of another source port")
            if value["tcp_connected"]:
                check(value["tcp_synflags_rev"] is not None, f"{here}: connected without SYN-ACK")

    targets = table.column("target").to_pylist()
    labels = table.column("conditions").to_pylist()
    verdicts = table.column("verdict").to_pylist()
    insufficient = table.column("insufficient").to_pylist()
    for row, target in enumerate(targets):
        check(target["ip"] and target["port"], f"row {row}: a target without address or port")
        address = ipaddress.ip_address(target["ip"])
        length = 24 if address.version == 4 else 56
        prefix = str(ipaddress.ip_network((address, length), strict=False))
        check(target["prefix"] == prefix, f"row {row}: {target['prefix']} is not {prefix}")
        origins = ORIGINS[address.version]
        check(target["asn"] == origins, f"row {row}: the origins are {target['asn']}")
        expected = set()
        for condition in conditions:
            name = column(condition["name"])
            verdict, reason = verdicts[row][name], insufficient[row][name]
            both = verdict is not None and reason is not None
            check(not both, f"row {row}: {name} is {verdict} and insufficient ({reason})")
            if verdict is not None:
                expected.add(label(condition, verdict))
        got = labels[row] or []
        check(len(got) == len(set(got)), f"row {row}: a condition twice: {got}")
        check(set(got) == expected, f"row {row}: conditions {sorted(got)}, verdict {sorted(expected)}")


def check_sql(path, name, sql):
    """Computes a condition's verdict again in DuckDB and compares it in every row."""
    name = column(name)
    wrong = duckdb.sql(
        f"SELECT target.ip, target.port, verdict.{name}, again FROM ("
        f"SELECT *, {sql} AS again FROM read_parquet({quoted(path)})"
        f") WHERE again IS DISTINCT FROM verdict.{name}"
    ).fetchall()
    check(not wrong, f"{name}: DuckDB disagrees in {len(wrong)} rows: {wrong[:3]}\n{sql}")


def check_conditions(path, measurement, conditions_sql):
    """Every condition of the file, and no other, in the order of the measurement."""
    names = [condition["name"] for condition in measurement["conditions"]]
    check(list(conditions_sql) == names, f"conditions_sql has {list(conditions_sql)}, not {names}")
    for name, sql in conditions_sql.items():
        check_sql(path, name, sql)


def check_differences(path):
    """Differences of round trips are the same in every tool: none computes them modulo 2^64."""
    both = polars.read_parquet(path).unnest("zero", "one", separator=".")
    found = {
        "polars": (both["one.tcp_handshake_rtt"] - both["zero.tcp_handshake_rtt"]).drop_nulls().to_list(),
        "DuckDB": [
            difference
            for (difference,) in duckdb.sql(
                "SELECT one.tcp_handshake_rtt - zero.tcp_handshake_rtt AS d"
                f" FROM read_parquet({quoted(path)}) WHERE d IS NOT NULL"
            ).fetchall()
        ],
    }
    zero, one = (
        pq.read_table(path).column(config).combine_chunks().field("tcp_handshake_rtt")
        for config in ("zero", "one")
    )
    found["pyarrow"] = [d for d in pc.subtract(one, zero).to_pylist() if d is not None]
    zero, one = zero.to_pylist(), one.to_pylist()
    truth = sorted(b - a for a, b in zip(zero, one) if a is not None and b is not None)
    check(truth and truth[0] < 0, "no round trip is shorter under the experiment")
    for tool, differences in found.items():
        check(sorted(differences) == truth, f"{tool}: other differences of round trips")


def check_duckdb(path, rows):
    source = f"read_parquet({quoted(path)})"
    [(count, ok, backwards)] = duckdb.sql(
        "SELECT count(*), count(*) FILTER (one.ok), count(*) FILTER (zero.ended < zero.started)"
        f" FROM {source}"
    ).fetchall()
    check(count == rows, f"DuckDB reads {count} rows, not {rows}")
    check(backwards == 0, f"DuckDB finds {backwards} attempts that ended before they started")
    kinds = duckdb.sql(
        "SELECT typeof(target.ip), typeof(target.port), typeof(one.ok), typeof(one.started),"
        f" typeof(one.source_port), typeof(one.pkt_fwd), typeof(conditions) FROM {source} LIMIT 1"
    ).fetchall()
    for row in kinds:
        times = row[3]
        check(times.startswith("TIMESTAMP"), f"DuckDB takes times for {times}")
        expected = ("VARCHAR", "USMALLINT", "BOOLEAN", times, "USMALLINT", "BIGINT", "VARCHAR[]")
        check(row == expected, f"DuckDB's types are {row}, not {expected}")
    return ok


def check_polars(path, rows, ok):
    frame = polars.read_parquet(path)
    check(frame.height == rows, f"polars reads {frame.height} rows, not {rows}")
    one = frame["one"].struct.unnest()
    utc = polars.Datetime("ns", "UTC")
    check(one.schema["started"] == utc, f"polars takes times for {one.schema['started']}")
    check(one.schema["tcp_synflags_fwd"] == polars.UInt16, "polars takes flags for something else")
    check(frame.schema["conditions"] == polars.List(polars.String), "polars: conditions")
    verdict = frame["verdict"].struct.unnest()["ecn_connectivity"]
    check(verdict.dtype == polars.Categorical, f"polars takes verdicts for {verdict.dtype}")
    check(one["ok"].sum() == ok, f"polars counts {one['ok'].sum()} connections, DuckDB {ok}")


def check_pandas(path, rows, ok):
    frame = pandas.read_parquet(path)
    check(len(frame) == rows, f"pandas reads {len(frame)} rows, not {rows}")
    typed = pandas.read_parquet(path, dtype_backend="pyarrow")
    verdict = typed["verdict"].struct.field("ecn_connectivity").astype("category")
    check("works" in verdict.cat.categories, "pandas has no category for a verdict")
    one = pandas.json_normalize(frame["one"].tolist())
    if rows:
        count = int((one["ok"] == True).sum())  # noqa: E712, NULLs are not False
        check(count == ok, f"pandas counts {count} connections, DuckDB {ok}")
        check(str(one["started"].dtype) != "object", "pandas does not know times for times")


def check_file(path):
    file = pq.ParquetFile(path)
    facts = check_schema(file.schema_arrow)
    measurement, conditions_sql = check_metadata(file)
    table = file.read()
    check_rows(table, measurement, facts)
    ok = check_duckdb(path, table.num_rows)
    check_polars(path, table.num_rows, ok)
    check_pandas(path, table.num_rows, ok)
    check_differences(path)
    check_conditions(path, measurement, conditions_sql)
    return table.num_rows


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_parquet.py FILE")
    path = sys.argv[1]
    try:
        rows = check_file(path)
    except Wrong as wrong:
        sys.exit(f"{path}: {wrong}")
    print(f"{path}: {rows} rows, as they should be")


if __name__ == "__main__":
    main()
