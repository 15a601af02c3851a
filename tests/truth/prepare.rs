//! `[connect.prepare]` over the lab: names are looked up once, whoever is down is not asked, and what was not asked
//! has no label drawn from it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::support::parallel::at_once;
use crate::support::{namespaces, pathspider, records, stderr, summary};
use serde_json::Value;

/// The summary of a run over the lab, and its records.
type Ran = (Value, Vec<Value>);

/// Options of each run.
const PLAIN: &[&str] = &[];
/// No resolver answers on that port of the lab's prober.
const NO_RESOLVER: &[&str] = &["--resolver", "127.0.0.1:9"];
const PREFER_6: &[&str] = &["--prefer", "6"];

/// The runs with these options, which go on at the same time.
static RUNS: LazyLock<Option<BTreeMap<&[&str], Ran>>> = LazyLock::new(|| {
    let all = [PLAIN, NO_RESOLVER, PREFER_6];
    namespaces().then(|| at_once(all.len(), all, |more| (more, run(more))).into_iter().collect())
});

fn ran(more: &'static [&'static str]) -> Option<&'static Ran> {
    RUNS.as_ref().map(|runs| &runs[more])
}

fn run(more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.ndjson");
    let mut command = pathspider();
    command.args(["run", "tests/prepare/prepare.toml", "--lab", "--format", "json", "-o"]);
    let output = command.arg(&out).args(more).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (summary(&output), records(&out))
}

fn labels(record: &Value) -> Vec<&str> {
    record["conditions"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[test]
fn names_have_addresses_and_who_is_down_is_not_asked() {
    let Some((summary, records)) = ran(PLAIN) else { return };
    assert_eq!(summary["targets"]["read"], records.len());
    assert_eq!(summary["flows"]["of_others"], 0, "the probes' flows are nobody's: {summary}");
    // What each kind of host says of itself by its name, and by its addresses.
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut addressed = named.clone();
    let (mut up, mut down) = (0, 0_u64);
    for record in records {
        let name = record["target"]["name"].as_str().unwrap();
        let prepare = &record["prepare"];
        if name == "no-such-name.invalid" {
            assert!(record["target"]["ip"].is_null(), "{record}");
            assert_eq!(prepare["resolve_error"], "nxdomain");
            for configuration in ["zero", "one"] {
                let attempt = &record[configuration];
                assert_eq!(
                    (attempt["state"].as_str(), attempt["stage"].as_str()),
                    (Some("failed"), Some("resolve"))
                );
                assert_eq!((&attempt["ok"], &attempt["observed"]), (&false.into(), &false.into()));
            }
            assert_eq!(labels(record), ["prepare.connectivity.offline", "prepare.up.insufficient"]);
            continue;
        }
        if let Some(addresses) = prepare["addresses"].as_str() {
            let (first, second) = addresses.split_once(',').unwrap();
            assert_eq!(record["target"]["ip"], first);
            assert!(!first.contains(':') && second.contains(':'), "{addresses}");
            named.insert(name, labels(record));
        } else if !record["target"]["ip"].as_str().unwrap().contains(':') {
            addressed.insert(name, labels(record));
        }
        let states =
            ["zero", "one"].map(|configuration| record[configuration]["state"].as_str().unwrap());
        match prepare["probe_ok"].as_bool().unwrap() {
            true => {
                up += 1;
                assert!(!states.contains(&"skipped"), "{record}");
            }
            false => {
                down += 1;
                assert_eq!(states, ["skipped"; 2], "{record}");
                assert!(
                    record["zero"]["error"].as_str().unwrap().starts_with("the probe before: ")
                );
                assert_eq!(labels(record), ["prepare.connectivity.insufficient", "prepare.up.no"]);
            }
        }
    }
    // In a further round a host that cuts off some connections may cut off the probe.
    let skipped = summary["attempts"]["skipped_by_probe"].as_u64().unwrap();
    assert!((2 * down..2 * down + 10).contains(&skipped), "{down} {summary}");
    assert!(up > 200 && down > 50 && named.len() > 50, "{up} {down} {}", named.len());
    // True of some connections only.
    for varying in ["-cut-off", "-in-turn", "-once", "lossy-1", "lossy-5"] {
        named.retain(|name, _| !name.ends_with(varying));
    }
    for (name, labels) in named {
        if let Some(others) = addressed.get(name) {
            assert_eq!(&labels, others, "{name}");
        }
    }
}

#[test]
fn a_resolver_that_cannot_be_reached_says_nothing_of_targets() {
    let Some((_, records)) = ran(NO_RESOLVER) else { return };
    let mut unknown = 0;
    for record in records.iter().filter(|record| record["target"]["ip"].is_null()) {
        unknown += 1;
        assert_eq!(record["prepare"]["resolve_error"], "unreachable");
        for configuration in ["zero", "one"] {
            let attempt = &record[configuration];
            assert_eq!(
                (attempt["state"].as_str(), attempt["stage"].as_str()),
                (Some("local_error"), Some("resolve"))
            );
            assert!(attempt["ok"].is_null());
        }
        assert!(labels(record).iter().all(|label| label.ends_with(".insufficient")), "{record}");
    }
    assert!(unknown > 50, "{unknown}");
}

#[test]
fn the_other_version_of_ip_can_be_preferred() {
    let Some((_, records)) = ran(PREFER_6) else { return };
    let plain = records.iter().find(|record| {
        record["target"]["name"] == "plain" && !record["prepare"]["addresses"].is_null()
    });
    let plain = plain.unwrap();
    assert_eq!(plain["one"]["ip_version"], 6, "{plain}");
}
