//! What is concluded of targets whose packets nobody saw: the capture of a run is blinded half-way, from
//! outside, by a filter on its socket that lets nothing through.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use crate::support::{namespaces, pathspider, records};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::Value;
use socket2::{SockFilter, Socket};

#[test]
fn what_nobody_saw_is_insufficient_and_never_a_wrong_label() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("blind.ndjson");
    let mut run = pathspider();
    run.args(["run", "measurements/ecn.toml", "--lab", "--wave", "200", "-v", "-o"]).arg(&out);
    let mut run = run.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    let mut told = String::new();
    // The first wave is seen.
    while !line.contains("wave 2:") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "{told}");
        told.push_str(&line);
    }
    blind(run.id());
    lines.read_to_string(&mut told).unwrap();
    let status = run.wait().unwrap();
    assert_eq!(status.code(), Some(3), "lost packets were not told: {told}");

    let truth = truth();
    let (mut seen, mut unseen) = (0, 0);
    for record in records(&out) {
        let labels = record["conditions"].as_array().unwrap().iter().filter_map(Value::as_str);
        let labels: Vec<&str> = labels.filter(|label| !label.ends_with(".insufficient")).collect();
        let host = record["target"]["name"].as_str().unwrap();
        // Of some hosts the lab states no truth, or another one over IPv6.
        let Some(truth) = truth.get(host) else { continue };
        // A round whose failure nobody saw says nothing: what some rounds would have shown is then not confirmed.
        let rest = |truth: &str| {
            truth.strip_suffix("intermittent").map(|rule| format!("{rule}not_confirmed"))
        };
        for label in &labels {
            let is = |truth: &String| truth == label || rest(truth).as_deref() == Some(*label);
            assert!(truth.iter().any(is), "{host}: {label}");
        }
        if record["one"]["observed"] == true && record["zero"]["observed"] == true {
            seen += 1;
            continue;
        }
        unseen += 1;
        if record["one"]["observed"] == false {
            let about_packets = |label: &&str| !label.starts_with("ecn.connectivity.");
            assert!(!labels.iter().any(about_packets), "{record}");
            for condition in
                ["ecn_negotiation", "ecn_ipmark_ect0", "ecn_ipmark_ect1", "ecn_ipmark_ce"]
            {
                assert!(record["insufficient"][condition].is_string(), "{condition}: {record}");
            }
        }
    }
    assert!(seen >= 24 && unseen >= 24, "{seen} seen, {unseen} not");
}

/// What is true of each host.
fn truth() -> BTreeMap<String, Vec<String>> {
    let output = pathspider().args(["lab", "list", "--format", "json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut truth = BTreeMap::new();
    for host in list["hosts"].as_array().unwrap() {
        let (v4, v6) = (&host["truth_v4"]["ecn"], &host["truth_v6"]["ecn"]);
        if v4.is_array() && v4 == v6 {
            let labels = serde_json::from_value(v4.clone()).unwrap();
            truth.insert(host["name"].as_str().unwrap().to_owned(), labels);
        }
    }
    truth
}

/// Lets no packet through to the packet socket of a process any more.
fn blind(process: u32) {
    let pid = Pid::from_raw(process as i32).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let packet = fs::read_to_string(format!("/proc/{process}/net/packet")).unwrap();
    // The inode is the last column.
    let inodes: Vec<&str> =
        packet.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    let mut blinded = 0;
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(socket) = fs::read_link(&path) else { continue };
        let is = |inode: &&str| socket == Path::new(&format!("socket:[{inode}]"));
        if inodes.iter().any(is) {
            let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let fd: OwnedFd = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).unwrap();
            // Classic BPF: return 0.
            Socket::from(fd).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).unwrap();
            blinded += 1;
        }
    }
    assert!(blinded > 0, "no packet socket: {packet}");
}
