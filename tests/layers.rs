//! Checks the tree against ARCHITECTURE.md: which modules may import which, which files may use the operating system,
//! and how long a file may be.
//!
//! A module may import modules of lower layers, and of its own layer only itself. Inside a room, there is no circle.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/program.rs"]
mod program;

use circles::Tree;

/// Every module below `src/`, by layer.
const LAYERS: [&[&str]; 19] = [
    &["barrier", "field", "flags", "guide", "hex", "printable", "signals", "version", "words"],
    &["error"],
    &["files", "program"],
    &["as_table", "packet", "sink", "targets"],
    &["chain", "locate", "step", "connect", "resolve"],
    &["record"],
    &["rule"],
    &["measurement"],
    &["cost", "privilege"],
    &["engine", "observer"],
    &["merge"],
    &["lab"],
    &["run"],
    &["results", "report"],
    &["analysis", "fleet"],
    &["webpage"],
    &["package"],
    &["cli"],
    &["main"],
];

/// What only some files may use, with those files and folders below `src/`: system calls, clocks, randomness, threads,
/// and the libraries of the command line. A word is one path segment (the first) or several in a row.
const RESTRICTED: &[(&str, &[&str])] = &[
    (
        "Instant::now",
        &[
            "engine/driver",
            "observer/capture",
            "step/",
            "lab/",
            "resolve/",
            "run/",
            "report/",
            "fleet/measure.rs",
            "cli/",
        ],
    ),
    (
        "SystemTime::now",
        &["engine/clocks.rs", "observer/capture", "step/", "run/", "report/", "cli/"],
    ),
    ("std::process", &["step/", "lab/", "cli/", "main.rs", "program.rs", "error.rs"]),
    (
        "std::fs",
        &[
            "files/",
            "package/folder.rs",
            "sink/",
            "targets/scattered.rs",
            "step/",
            "lab/",
            "resolve/servers.rs",
            "privilege/mod.rs",
            "run/available.rs",
            "run/evidence/file.rs",
            "run/interface.rs",
            "run/route.rs",
            "run/site.rs",
            "run/source_ports.rs",
            "report/status.rs",
            "fleet/ledger.rs",
            "cli/",
        ],
    ),
    (
        "std::env",
        &[
            "barrier.rs",
            "program.rs",
            "targets/scattered.rs",
            "measurement/mod.rs",
            "step/state.rs",
            "privilege/mod.rs",
            "report/page.rs",
            "cli/",
        ],
    ),
    (
        "std::thread",
        &[
            "engine/closer.rs",
            "barrier.rs",
            "sink/row_group.rs",
            "observer/capture.rs",
            "observer/offline.rs",
            "step/",
            "lab/",
            "run/feed.rs",
            "run/measure.rs",
            "fleet/nats.rs",
            "cli/",
        ],
    ),
    ("std::net::TcpListener", &[]),
    ("std::net::TcpStream", &["lab/"]),
    ("std::net::UdpSocket", &["engine/raw.rs", "engine/tracer.rs"]),
    ("std::os::unix::net", &["sink/journal.rs"]),
    (
        "rand",
        &[
            "engine/driver",
            "engine/ports.rs",
            "sink/",
            "targets/scattered.rs",
            "resolve/question.rs",
            "run/output.rs",
            "package/redact.rs",
        ],
    ),
    (
        "nix",
        &[
            "signals.rs",
            "engine/clocks.rs",
            "engine/driver",
            "engine/socket.rs",
            "engine/raw.rs",
            "observer/capture.rs",
            "step/",
            "lab/",
            "resolve/",
            "privilege/",
            "run/available.rs",
            "run/clock.rs",
            "run/interface.rs",
            "run/offloads.rs",
            "run/route.rs",
            "run/site.rs",
            "report/status.rs",
            "cli/",
        ],
    ),
    ("rustix", &["files/", "program.rs", "lab/", "privilege/", "engine/raw.rs"]),
    (
        "socket2",
        &[
            "engine/driver",
            "engine/socket.rs",
            "engine/raw.rs",
            "engine/tracer.rs",
            "step/",
            "lab/",
            "cli/fleet/init.rs",
        ],
    ),
    (
        "mio",
        &[
            "engine/driver.rs",
            "engine/ready.rs",
            "engine/tracer.rs",
            "lab/",
            "resolve/resolver.rs",
            "report/server.rs",
        ],
    ),
    ("tokio", &["fleet/nats.rs"]),
    ("async_nats", &["fleet/nats.rs"]),
    ("nkeys", &["fleet/key.rs"]),
    ("pcap", &["observer/capture.rs", "observer/filter.rs", "lab/"]),
    ("signal_hook", &["signals.rs", "cli/"]),
    ("ureq", &["cli/upload/"]),
    ("rustls_native_certs", &["cli/upload/"]),
    ("signal_hook_registry", &["cli/"]),
    ("clap", &["cli/", "report/format.rs"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("console", &["report/"]),
    ("env_logger", &["report/progress.rs"]),
    ("indicatif", &["words.rs", "run/snapshot.rs", "report/", "cli/"]),
];

/// Modules whose children import each other in a circle, as yet.
const CIRCLES: &[&str] = &[];

/// What opens a file by its path alone, through any link and for as long as it takes.
const OPENING: [&str; 9] = [
    "File::open",
    "File::create",
    "File::options",
    "OpenOptions",
    "DirBuilder",
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
    "fs::copy(",
];

/// Where that is allowed: `files` itself, and files of the system (`/proc`, `/sys`, `/run`, `/dev/net/tun`,
/// `/etc/resolv.conf`) or without a name.
const OPENING_ALLOWED: [&str; 11] = [
    "files/",
    "step/",
    "lab/",
    "cli/signals.rs",
    "run/available.rs",
    "run/interface.rs",
    "run/route.rs",
    "run/site.rs",
    "run/source_ports.rs",
    "resolve/servers.rs",
    "targets/scattered.rs",
];

/// What prints without looking at what it prints, which `report::page` does.
const PRINTING: [&str; 4] = ["eprintln!", "eprint!", "println!", "print!"];

const LONGEST_FILE: usize = 600;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The top module that a file of `src/` belongs to.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Everything that is wrong with one file; `file` is its path below `src/`.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let module = module_of(file);
    // lib.rs is the map of all of them and imports none.
    let own = if module == "lib" { Some(0) } else { layer(module) };
    if own.is_none() {
        faults.push(format!("src/{file}: {module} is in no layer"));
    }
    let length = text.lines().count();
    if length >= LONGEST_FILE {
        faults.push(format!("src/{file}: {length} lines, not under {LONGEST_FILE}"));
    }

    let lines = program::lines(text);
    for (number, line) in &lines {
        // Spelled apart, so that a search for the attribute does not find this test.
        if line.contains(concat!("#[", "allow(")) || line.contains(concat!("#![", "allow(")) {
            faults.push(format!("src/{file}:{number}: #[expect(.., reason = \"..\")] instead"));
        }
        let mut not_here = |words: &[&str], instead: &str| {
            // The observer has a type of that name, which opens by `files`.
            let line = line.replace("file::File::open", "");
            for word in words.iter().filter(|word| mentions(&line, word)) {
                faults.push(format!("src/{file}:{number}: {word} is not for this file: {instead}"));
            }
        };
        not_here(&PRINTING, "use report::page");
        if !is_in(file, &OPENING_ALLOWED) {
            not_here(&OPENING, "use files");
        }
    }
    for path in program::paths(&lines) {
        let at = format!("src/{file}:{}", path.line);
        for (word, allowed) in RESTRICTED {
            if has(&path.segments, word) && !is_in(file, allowed) {
                faults.push(format!("{at}: {word} is not for this file"));
            }
        }
        let [root, import, ..] = &path.segments[..] else { continue };
        // The macro of `field` is exported at the crate's root; its name begins with `__`.
        if root != "crate" || import == module || import.starts_with("__") {
            continue;
        }
        match (layer(import), own) {
            (Some(other), Some(own)) if other >= own => {
                faults.push(format!("{at}: {module} may not import {import}"))
            }
            (None, _) => faults.push(format!("{at}: {import} is in no layer")),
            _ => {}
        }
    }
    // A group names several items of one module.
    faults.dedup();
    faults
}

/// Whether a file is one of these files, or in one of these folders.
fn is_in(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file.starts_with(place))
}

/// Whether a path contains a word of [`RESTRICTED`].
fn has(path: &[String], word: &str) -> bool {
    let word: Vec<&str> = word.split("::").collect();
    match &word[..] {
        [first] => path.first().is_some_and(|segment| segment == first),
        _ => path.windows(word.len()).any(|part| part == word),
    }
}

/// Whether a path is named, and not one that only ends like it.
fn mentions(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file below `src/`, with its text and whether it is one of tests.
fn all() -> Vec<(String, String, bool)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "the sources are not where they should be");
    let read = |path: &PathBuf| {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let tests = file.ends_with("/tests.rs") || file.contains("/tests/");
        (file, fs::read_to_string(path).unwrap(), tests)
    };
    files.iter().map(read).collect()
}

#[test]
fn files_follow_the_rules_of_their_layer() {
    let faults: Vec<String> = all()
        .iter()
        .flat_map(|(file, text, tests)| {
            // A file of tests may do what tests do, but not be longer.
            faults(file, text).into_iter().filter(move |fault| !tests || fault.contains("lines"))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// So that the table says what is, and not what once was.
#[test]
fn every_place_of_a_restricted_word_uses_it() {
    let files: Vec<_> = all()
        .into_iter()
        .map(|(file, text, _)| (file, program::paths(&program::lines(&text))))
        .collect();
    let uses = |word: &str, place: &str| {
        files
            .iter()
            .filter(|(file, _)| file.starts_with(place))
            .any(|(_, paths)| paths.iter().any(|path| has(&path.segments, word)))
    };
    let idle: Vec<_> = RESTRICTED
        .iter()
        .flat_map(|(word, places)| places.iter().map(move |place| (word, place)))
        .filter(|(word, place)| !uses(word, place))
        .collect();
    assert!(idle.is_empty(), "not used there: {idle:?}");
}

#[test]
fn no_room_has_a_circle() {
    let mut tree = Tree::default();
    all().iter().filter(|(.., tests)| !tests).for_each(|(file, text, _)| tree.add(file, text));
    let circles = tree.circles();
    let (known, new): (Vec<_>, Vec<_>) =
        circles.iter().partition(|circle| CIRCLES.contains(&circle.module.as_str()));
    let new: Vec<_> = new
        .iter()
        .map(|circle| format!("in {}:\n  {}\n", circle.module, circle.edges.join("\n  ")))
        .collect();
    assert!(new.is_empty(), "\n{}", new.concat());
    let known: Vec<_> = known.iter().map(|circle| circle.module.as_str()).collect();
    assert_eq!(known, CIRCLES, "only these are left of the known circles");
}

#[test]
fn circles_are_found_and_nothing_else() {
    let circles = |files: &[(&str, &str)]| {
        let mut tree = Tree::default();
        files.iter().for_each(|(file, text)| tree.add(file, text));
        let circles = tree.circles().into_iter();
        circles
            .map(|circle| format!("{}: {}", circle.module, circle.edges.len()))
            .collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    let b = ("r/b.rs", "use super::a::A;");
    // Directly, by the root, by a re-export, by a third file, and out of a folder.
    assert_eq!(circles(&[("r/a.rs", "use super::b;"), b]), ["r: 2"]);
    assert_eq!(circles(&[("r/a.rs", "fn f(x: crate::r::b::B) {}"), b]), ["r: 2"]);
    let mods = ("r/mod.rs", "mod a;\nmod b;\npub use b::{C, B as D};");
    assert_eq!(circles(&[mods, ("r/a.rs", "use super::D;"), b]), ["r: 2"]);
    assert_eq!(
        circles(&[("r/a.rs", "use super::c::X;"), b, ("r/c.rs", "use super::b::B;")]),
        ["r: 3"]
    );
    let folder = ("r/a/x.rs", "use crate::r::b;");
    assert_eq!(circles(&[("r/a.rs", "mod x;"), folder, b]), ["r: 2"]);
    // One way; with the module above; in tests; in another room; a field of the same name.
    assert_eq!(circles(&[("r/a.rs", ""), b]), none);
    assert_eq!(
        circles(&[("r/mod.rs", "use b::B;\npub struct A;"), ("r/b.rs", "use super::A;")]),
        none
    );
    assert_eq!(circles(&[("r/a.rs", "#[cfg(test)]\nuse super::b;"), b]), none);
    assert_eq!(circles(&[("s/a.rs", "use crate::r::b;"), b]), none);
    assert_eq!(circles(&[("r/a.rs", "self.super::b"), b]), none);
}

#[test]
fn bad_lines_are_found() {
    let bad = |file: &str, text: &str, what: &str| {
        let faults = faults(file, text);
        assert_eq!(faults.len(), 1, "{file}: {text}: {faults:?}");
        assert!(faults[0].contains(what), "{faults:?}");
    };
    bad(
        "chain/tcp.rs",
        "use crate::observer::Flow;",
        "chain/tcp.rs:1: chain may not import observer",
    );
    bad("targets/list.rs", "use std::{fmt, fs};", "std::fs is not for this file");
    bad("merge.rs", "mio::Poll::new()", "mio is not for this file");
    bad("rule/mod.rs", "use clap::Args;", "rule/mod.rs:1: clap is not for this file");
    bad("chain/tcp.rs", "\nuse crate::step;", "tcp.rs:2: chain may not import step");
    bad("engine/driver.rs", "use crate::observer::X;", "engine may not import observer");
    bad("observer/mod.rs", "use crate::engine;", "observer may not import engine");
    bad(
        "sink/mod.rs",
        "use crate::{\n    error::Error,\n    packet::{A, B},\n};",
        "sink/mod.rs:3: sink may not import packet",
    );
    bad("field.rs", "    let x = crate::error::y();", "field may not import error");
    bad("cli/new.rs", "std::fs::write(path, text)", "fs::write( is not for this file: use files");
    bad("sink/mod.rs", "let file = File::open(path)?;", "File::open is not for this file");
    bad(
        "cli/run.rs",
        "eprintln!(\"{title}\");",
        "eprintln! is not for this file: use report::page",
    );
    bad("merge.rs", "pub use crate::cli::run;", "merge may not import cli");
    bad("step/mod.rs", "use crate::nowhere::X;", "nowhere is in no layer");
    bad("newcomer/mod.rs", "", "newcomer is in no layer");
    bad("engine/scheduler.rs", "let now = Instant::now();", "Instant::now is not for this file");
    bad("merge.rs", "use nix::unistd;", "nix is not for this file");
    bad("error.rs", "socket2::Socket::new()", "socket2 is not for this file");
    bad("error.rs", concat!("#[", "allow(dead_code)]"), "instead");
    bad("error.rs", &"\n".repeat(600), "600 lines");
    bad("merge.rs", "#[cfg(test)]\nmod tests;\nuse crate::lab;", "merge.rs:3");
    bad("merge.rs", "#[cfg(test)]\nfn x() {\n  if y { z() }\n}\nuse crate::lab;", "merge.rs:5");
}

#[test]
fn good_lines_are_not() {
    let good = |file: &str, text: &str| {
        let faults = faults(file, text);
        assert!(faults.is_empty(), "{file}: {text}: {faults:?}");
    };
    good("chain/tcp.rs", "use crate::packet::{Tcp, flag};\nuse crate::field::fields;");
    good("chain/tcp.rs", "use crate::chain::Chain;");
    good("engine/driver.rs", "use crate::{connect, step::Step};\nInstant::now();");
    good("merge.rs", "//! See [`cli`](crate::cli).\n/// [x](crate::lab)\n// crate::cli");
    good("merge.rs", "#[cfg(test)]\nmod tests {\n    use crate::cli;\n    fn x() {}\n}\n");
    good("merge.rs", "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\n");
    good("merge.rs", "unix::now(); my_crate::cli::run();");
    good("main.rs", "use crate::cli;\nuse std::process::ExitCode;");
    good("field.rs", "pub use crate::__fields as fields;");
}
