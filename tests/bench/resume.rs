//! A run of 5,000 targets that is killed a hundred times.
//!
//! `cargo bench --bench resume` builds a lab and, in the prober's namespace, begins `pathspider run ecn`, kills it by
//! SIGKILL at random moments, goes on by `--resume`, and at the end holds the whole to the truth: every target
//! once, every label true. It prints how often the run was killed and how long all of it took.
//!
//! `KILLS` and `TARGETS` in the environment ask for other numbers.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]
#![expect(clippy::unwrap_used, reason = "what goes wrong here ends it")]

#[path = "../resume/kills.rs"]
mod kills;
#[path = "../support/no_strangers.rs"]
mod support;

use std::time::{Duration, Instant};

use pathspider::lab::{self, Lab};

fn main() {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    lab::enter().unwrap();
    let number = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let (targets, wanted) = (number("TARGETS", 5000), number("KILLS", 100));
    let lab = Lab::build(&kills::spec(targets)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("targets.ndjson");
    let truth = kills::list(&lab, &list);
    for output in ["results/", "x.parquet"] {
        let output = folder.path().join(output);
        let began = Instant::now();
        // Slow enough to be killed so often: about two minutes of work.
        let pace = ["--rate", "80", "--wave", "40"];
        let longest = Duration::from_secs(4);
        let (killed, last) =
            kills::kill_and_resume(&list, &output, &pace, wanted, longest, rand::random());
        assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
        assert_eq!(kills::records(&output), truth, "not each target once, with the truth");
        println!(
            "{}: killed {killed} times in {:.0} s; {} targets, each once, every label true",
            output.file_name().unwrap_or_default().to_string_lossy(),
            began.elapsed().as_secs_f64(),
            truth.len()
        );
    }
}
