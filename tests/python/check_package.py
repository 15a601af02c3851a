"""Checks a package as other programs read it: Data Package, RO-Crate, CITATION.cff, and the notebook, which is executed.

Without a network. What needs one is named here: the context of RO-Crate is replaced by a mapping of the terms that the
descriptor uses, so that the validator's only complaint may be the context itself; and the profile Process Run Crate 0.6 is
not among those of the validator.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile

import duckdb
import yaml
from frictionless import Package
from rocrate_validator import models, services

package, scratch = sys.argv[1:3]


def data_package():
    descriptor = json.load(open("datapackage.json"))
    # frictionless reads Parquet by another program, and takes a file of JSON lines for a table.
    others = ("records", "observations")
    descriptor["resources"] = [r for r in descriptor["resources"] if r["name"] not in others]
    report = Package.from_descriptor(descriptor).validate()
    errors = report.flatten(["name", "type", "message"])
    assert report.valid and len(report.tasks) > 20, errors


def crate():
    copy = os.path.join(scratch, "crate")
    shutil.copytree(".", copy)
    path = os.path.join(copy, "ro-crate-metadata.json")
    descriptor = json.load(open(path))
    assert descriptor["@context"][0] == "https://w3id.org/ro/crate/1.3/context"
    context = {key: f"http://schema.org/{key}" for entity in descriptor["@graph"] for key in entity if key[0] != "@"}
    types = {t for e in descriptor["@graph"] for t in ([e["@type"]] if isinstance(e["@type"], str) else e["@type"])}
    context.update({t: f"http://schema.org/{t}" for t in types})
    context.update(
        {
            "File": "http://schema.org/MediaObject",
            "Profile": "http://www.w3.org/ns/dx/prof/Profile",
            "conformsTo": "http://purl.org/dc/terms/conformsTo",
            "sha256": "https://w3id.org/ro/terms/workflow-run#sha256",
        }
    )
    descriptor["@context"] = context
    json.dump(descriptor, open(path, "w"))
    settings = models.ValidationSettings(
        rocrate_uri=copy,
        profile_identifier="ro-crate-1.3",
        requirement_severity=models.Severity.RECOMMENDED,
        skip_availability_check=True,
        offline=True,
    )
    issues = {(issue.severity.name, issue.check.identifier, issue.message) for issue in services.validate(settings).get_issues()}
    # The context, as said above; and no address is published unasked.
    known = ("required context", "contactPoint")
    issues = [issue for issue in issues if not any(word in issue[2] for word in known)]
    assert not issues, issues
    # Process Run Crate 0.6, by its text.
    entities = {entity["@id"]: entity for entity in descriptor["@graph"]}
    action = entities[entities["./"]["mentions"]["@id"]]
    assert action["@type"] == "CreateAction" and action["instrument"]["@id"] in entities
    assert entities["./"]["conformsTo"]["@id"] == "https://w3id.org/ro/wfrun/process/0.6"
    listed = {part["@id"] for part in entities["./"]["hasPart"]}
    files = {os.path.relpath(os.path.join(f, n), ".") for f, _, names in os.walk(".") for n in names}
    assert files - listed == {"ro-crate-metadata.json", "SHA256SUMS"}, files ^ listed


def notebook():
    environment = dict(os.environ, HOME=scratch, JUPYTER_RUNTIME_DIR=scratch, IPYTHONDIR=scratch)
    out = os.path.join(scratch, "executed.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "notebook.ipynb", "--output", out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [cell for cell in json.load(open(out))["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 8 and all(cell["outputs"] for cell in cells[1:]), "a cell prints nothing"


def numbers():
    rows = list(csv.DictReader(open("tables/verdicts.csv", newline="")))
    con = duckdb.connect()
    count = con.sql("SELECT count(*) FROM 'records.parquet' WHERE verdict.ecn_connectivity = 'broken'").fetchone()[0]
    assert count > 0 and count == sum(row["ecn_connectivity"] == "broken" for row in rows), count
    labels = con.sql("SELECT count(*) FROM (SELECT unnest(conditions) AS l FROM 'records.parquet' WHERE NOT control) "
                     "WHERE l NOT LIKE '%.insufficient'").fetchone()[0]
    lines = [json.loads(line) for line in open("observations.ndjson")]
    assert len(lines) == labels + 1 and isinstance(lines[-1], dict), (len(lines), labels)
    assert {line[4] for line in lines[:-1]} == set(lines[-1]["_conditions"])
    stored = con.sql("SELECT decode(value) FROM parquet_kv_metadata('records.parquet') "
                     "WHERE decode(key) = 'pathspider.measurement'").fetchone()[0]
    assert open("measurement.toml", newline="").read() == stored, "byte for byte"


os.chdir(package)
citation = yaml.safe_load(open("CITATION.cff"))
assert citation["authors"][0]["family-names"] == "Carberry" and citation["type"] == "dataset", citation
assert json.load(open(".zenodo.json"))["creators"][0]["name"] == "Carberry, Josiah"
numbers()
data_package()
notebook()
crate()
