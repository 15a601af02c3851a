#!/usr/bin/env python3
"""Compares the numbers of a report with those that DuckDB gives for the SQL under each table.

    check_report.py PAGE.html TABLES

Runs in the folder of the results. Every table with SQL must have the rows that the SQL gives, in the same order, to the
last decimal that is shown; TABLES is the least number of such tables. Exits with 1 and a message at the first difference.
"""

import math
import re
import sys
from html.parser import HTMLParser

import duckdb
import numpy

MISSING = "\u2013"


class Page(HTMLParser):
    """The tables, the SQL under them, and the definitions."""

    def __init__(self):
        super().__init__()
        self.tables, self.sql, self.more, self.text = {}, {}, {}, []
        self.table = self.cell = self.code = None
        self.definitions = None
        self.paragraph = None
        self.everything = ""

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.table = attributes["id"]
            self.tables[self.table] = []
        elif tag == "tr" and self.table:
            self.tables[self.table].append([])
        elif tag in ("td", "th") and self.table:
            self.cell = []
        elif tag == "pre":
            self.code = (attributes.get("id"), [])
        elif tag == "p" and attributes.get("class") == "more":
            self.paragraph = []

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.tables[self.table][-1].append("".join(self.cell))
            self.cell = None
        elif tag == "table":
            self.last, self.table = self.table, None
        elif tag == "pre":
            name, text = self.code
            text = "".join(text)
            if name:
                self.sql[name.removesuffix("-sql")] = text
            elif text.startswith("CREATE VIEW"):
                self.definitions = text
            self.code = None
        elif tag == "p" and self.paragraph is not None:
            found = re.match(r"and ([0-9,]+) more", "".join(self.paragraph))
            if found:
                self.more[self.last] = int(found[1].replace(",", ""))
            self.paragraph = None

    def handle_data(self, data):
        self.everything += data
        if self.cell is not None:
            self.cell.append(data)
        if self.code is not None:
            self.code[1].append(data)
        if self.paragraph is not None:
            self.paragraph.append(data)


def printable(text):
    """As the page shows a text: characters that are not visible are escaped."""
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    out = []
    for c in text:
        visible = c.isprintable() and not 0x2066 <= ord(c) <= 0x2069
        out.append(c if visible else named.get(c, "\\u{%x}" % ord(c)))
    return "".join(out)


def same(shown, value):
    """Whether a cell shows a value of DuckDB, as exactly as it shows anything."""
    if value is None or value == "":
        return shown == MISSING
    if isinstance(value, str):
        return shown == printable(value)
    text = shown.replace(",", "")
    scale = 1.0
    if text.endswith(" %"):
        text, scale = text.removesuffix(" %"), 100.0
    decimals = len(text.partition(".")[2])
    value = float(value) * scale
    # Half of the last place, and the rounding of floats.
    return math.isfinite(value) and abs(float(text) - value) <= 0.5000001 * 10**-decimals + 1e-9


def bootstrap(page, connection):
    """The interval of a bootstrap over networks, again with other random numbers."""
    found = re.search(
        r"with networks drawn instead of targets, the interval is ([0-9.]+)\s% to ([0-9.]+)\s%", page.everything
    )
    table = next((name for name in page.sql if name.startswith("t-networks-")), None)
    if not found or not table:
        return False
    # All networks, not only the affected ones.
    every = page.sql[table].replace("HAVING hit > 0", "HAVING judged > 0")
    rows = connection.execute(every).fetchall()
    judged, hit = (numpy.array([row[at] for row in rows], dtype=float) for at in (2, 3))
    random = numpy.random.default_rng(7)
    drawn = random.multinomial(len(rows), numpy.full(len(rows), 1 / len(rows)), size=4000)
    shares = 100 * (drawn @ hit) / (drawn @ judged)
    theirs = numpy.quantile(shares, [0.025, 0.975])
    ours = numpy.array([float(found[1]), float(found[2])])
    width = theirs[1] - theirs[0]
    if (abs(ours - theirs) > 0.12 * width + 0.02).any():
        sys.exit(f"the bootstrap gives {ours}, another one {theirs}")
    return True


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: check_report.py PAGE.html TABLES")
    page = Page()
    with open(sys.argv[1], encoding="utf-8") as file:
        page.feed(file.read())
    connection = duckdb.connect(config={"threads": 1})
    for statement in page.definitions.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    cells = 0
    for name, sql in page.sql.items():
        try:
            rows = connection.execute(sql).fetchall()
        except duckdb.Error as why:
            sys.exit(f"{name}: {why}\n{sql}")
        shown = page.tables[name][1:]
        more = page.more.get(name, 0)
        if len(rows) != len(shown) + more:
            sys.exit(f"{name}: {len(shown)} rows and {more} more, but {len(rows)} of DuckDB\n{sql}\n{rows[:5]}")
        for ours, theirs in zip(shown, rows):
            if len(ours) != len(theirs):
                sys.exit(f"{name}: {len(ours)} columns, {len(theirs)} of DuckDB")
            for mine, value in zip(ours, theirs):
                if not same(mine, value):
                    sys.exit(f"{name}: {mine!r} is shown, DuckDB has {value!r}\n{ours}\n{theirs}\n{sql}")
                cells += 1
    if len(page.sql) < int(sys.argv[2]):
        sys.exit(f"only {len(page.sql)} tables have SQL: {sorted(page.sql)}")
    again = bootstrap(page, connection)
    print(f"{len(page.sql)} tables, {cells} cells{', a bootstrap' if again else ''}")


main()
