//! A run that is killed at random moments and resumed, until it has come to its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::NO_STRANGERS;
use arrow_array::{cast::AsArray as _, types::Int64Type};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pathspider::lab::{Lab, Spec};
use pathspider::sink::{self, Stored};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A lab of so many targets: a third of them never negotiate ECN.
pub fn spec(targets: usize) -> Spec {
    let internet = Spec::internet().unwrap();
    let truth = |name: &str| {
        let host = internet.hosts.iter().find(|host| host.name == name).unwrap();
        format!("{:?}", host.truth_v4["ecn"])
    };
    let host = |name: &str, count: usize, more: &str| {
        let truth = truth(name);
        format!(
            "[[host]]\nname = {name:?}\ntitle = {name:?}\ncount = {count}\n{more}\ntruth.ecn = {truth}\n"
        )
    };
    let refuse = r#"server = { sysctl = { "net.ipv4.tcp_ecn" = 0 } }"#;
    // As many addresses of each version of IP.
    let refusing = targets / 6;
    let text = host("plain", targets / 2 - refusing, "") + &host("ecn-refused", refusing, refuse);
    Spec::parse("a lab to be killed in", &text).unwrap()
}

/// Lists the lab's targets; gives back what is true of each, by its line.
pub fn list(lab: &Lab, path: &Path) -> BTreeMap<u64, Vec<String>> {
    let mut text = String::new();
    let mut truth = BTreeMap::new();
    for (line, target) in (1..).zip(lab.targets()) {
        writeln!(text, r#"{{"dip": "{}", "dp": {}}}"#, target.addr, target.port).unwrap();
        let mut labels = lab.hosts()[target.host].truth_v4["ecn"].clone();
        labels.sort();
        truth.insert(line, labels);
    }
    fs::write(path, text).unwrap();
    truth
}

/// `pathspider run ecn` over a list.
pub fn command(list: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    // What a killed run left is put back by the next one, out of this folder.
    command.env("PATHSPIDER_STATE", list.with_extension("state"));
    command.args(["run", "ecn", "--format", "json"]).args(NO_STRANGERS);
    command.arg("--targets").arg(list).args(more);
    command
}

/// Begins a run, or goes on with what is there of it.
pub fn go_on(list: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = command(list, more);
    let folder = output.as_os_str().as_encoded_bytes().ends_with(b"/");
    let parts = if folder { output.to_owned() } else { sink::parts_of(output) };
    command.arg(if parts.join(sink::JOURNAL).exists() { "--resume" } else { "-o" }).arg(output);
    command
}

/// Kills a run `kills` times, each time after up to `longest`, which `seed` draws; then lets it come to its end. Says how often it was
/// killed before it came there by itself, and what the last one said.
pub fn kill_and_resume(
    list: &Path,
    output: &Path,
    more: &[&str],
    kills: usize,
    longest: Duration,
    seed: u64,
) -> (usize, Output) {
    eprintln!("the moments come from seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = 0;
    for _ in 0..kills {
        let mut command = go_on(list, output, more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It says something when it has come to its end; until then the moment is all there is.
        let moment = longest.mul_f64(random.random::<f64>());
        let mut word = [PollFd::new(child.stdout.as_ref().unwrap().as_fd(), PollFlags::POLLIN)];
        let ended = poll(&mut word, PollTimeout::try_from(moment).unwrap()).unwrap() > 0;
        if ended {
            return (killed, child.wait_with_output().unwrap());
        }
        child.kill().unwrap();
        child.wait_with_output().unwrap();
        killed += 1;
    }
    (killed, go_on(list, output, more).output().unwrap())
}

/// The labels of the record at each position, of a file or of a folder of parts; a position with two records is
/// a fault.
pub fn records(output: &Path) -> BTreeMap<u64, Vec<String>> {
    let files: Vec<PathBuf> = match output.is_dir() {
        true => sink::parquet_files(output).unwrap(),
        false => vec![output.to_owned()],
    };
    let mut records = BTreeMap::new();
    for file in files {
        let read = Stored::open(&file).unwrap().read(&["position", "conditions"], |batch| {
            let positions = batch["position"].as_primitive::<Int64Type>();
            let labels = batch["conditions"].as_list::<i32>();
            for (position, labels) in positions.values().iter().zip(labels.iter()) {
                let labels = labels.unwrap();
                let labels = labels.as_string::<i32>().iter().flatten().map(str::to_owned);
                let mut labels: Vec<String> = labels.collect();
                labels.sort();
                let twice = records.insert(u64::try_from(*position).unwrap(), labels);
                assert_eq!(twice, None, "line {position} has two records");
            }
            Ok(())
        });
        read.unwrap();
    }
    records
}
