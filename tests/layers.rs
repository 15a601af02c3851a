//! Holds the tree to what ARCHITECTURE.md promises: who may import whom, who may touch the
//! operating system, how long a file may be.
//!
//! A module may import modules of lower layers, and of its own layer none but itself.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every module below `src/`, by layer.
const LAYERS: [&[&str]; 13] = [
    &["barrier", "field", "flags", "guide", "printable", "signals", "words"],
    &["error"],
    &["files", "program"],
    &["packet", "sink", "targets"],
    &["chain", "step", "connect"],
    &["record"],
    &["rule"],
    &["measurement"],
    &["engine", "observer"],
    &["merge"],
    &["lab"],
    &["cli"],
    &["main"],
];

/// What asks the operating system, or reads a clock.
const SYSTEM: [&str; 5] = ["Instant::now", "SystemTime::now", "std::process", "nix::", "socket2::"];

/// Where that is allowed: these files and folders below `src/`.
const SYSTEM_ALLOWED: [&str; 9] = [
    "engine/driver",
    "engine/raw",
    "engine/socket",
    "observer/capture",
    "step/",
    "lab/",
    "cli/",
    "main.rs",
    "program.rs",
];

/// One exception each, with its reason.
const SYSTEM_EXCEPTIONS: [(&str, &str); 3] = [
    // The exit code is a number for the shell, no call.
    ("error.rs", "std::process"),
    // The process id makes the temporary name this run's own.
    ("sink/temporary.rs", "std::process"),
    // The numbers of signals.
    ("signals.rs", "nix::"),
];

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
const OPENING_ALLOWED: [&str; 9] = [
    "files/",
    "step/",
    "lab/",
    "cli/ending.rs",
    "cli/interface.rs",
    "cli/route.rs",
    "cli/source_ports.rs",
    "cli/targets/servers.rs",
    "targets/scattered.rs",
];

/// What prints without looking at what it prints, which `cli::out` does.
const PRINTING: [&str; 4] = ["eprintln!", "eprint!", "println!", "print!"];

const LONGEST_FILE: usize = 600;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The top module that a file of `src/` belongs to.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// The file's lines that are the program: no comments, nothing behind `#[cfg(test)]`.
fn program(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    // Inside a test item: the braces that are still open, `None` before the first.
    let mut test_item: Option<Option<usize>> = None;
    for (number, line) in text.lines().enumerate() {
        let code = code_of(line);
        if let Some(open) = &mut test_item {
            let mut depth = open.unwrap_or(0) + code.matches('{').count();
            let began = open.is_some() || depth > 0;
            depth = depth.saturating_sub(code.matches('}').count());
            let attribute = code.trim().starts_with("#[");
            if (began && depth == 0) || (!began && !attribute && code.trim_end().ends_with(';')) {
                test_item = None;
            } else if began {
                *open = Some(depth);
            }
            continue;
        }
        if code.trim().starts_with("#[cfg(test)]") {
            test_item = Some(None);
        } else if !code.trim().is_empty() {
            lines.push((number + 1, code));
        }
    }
    lines
}

/// A line without its comment.
fn code_of(line: &str) -> &str {
    match line.find("//") {
        // Not the `//` of an address in a string.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    }
}

/// The modules of this crate that a piece of program names: `crate::x`, also in groups
/// (`use crate::{a, b::c}`).
fn imports(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        // `$crate::` in a macro is checked like the rest; `my_crate::` is something else.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = true;
        for (offset, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => item = true,
                c if item && depth == 0 && !c.is_whitespace() => {
                    found.push(word(&group[offset..]));
                    item = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
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

    let lines = program(text);
    let mut whole = String::new();
    let mut starts = Vec::new();
    for (number, line) in &lines {
        starts.push((whole.len(), *number));
        whole.push_str(line);
        whole.push('\n');
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
        not_here(&PRINTING, "use cli::out");
        if !OPENING_ALLOWED.iter().any(|allowed| file.starts_with(allowed)) {
            not_here(&OPENING, "use files");
        }
        if !SYSTEM_ALLOWED.iter().any(|allowed| file.starts_with(allowed)) {
            for system in SYSTEM {
                if mentions(line, system) && !SYSTEM_EXCEPTIONS.contains(&(file, system)) {
                    faults.push(format!("src/{file}:{number}: {system} is not for this file"));
                }
            }
        }
    }
    for import in imports(&whole) {
        // The macro of `field` is exported at the crate's root; its name begins with `__`.
        if import == module || import.starts_with("__") {
            continue;
        }
        let at = import.as_ptr() as usize - whole.as_ptr() as usize;
        let number = starts.iter().rev().find(|(start, _)| *start <= at).map_or(0, |(_, n)| *n);
        match (layer(import), own) {
            (Some(other), Some(own)) if other >= own => {
                faults.push(format!("src/{file}:{number}: {module} may not import {import}"))
            }
            (None, _) => faults.push(format!("src/{file}:{number}: {import} is in no layer")),
            _ => {}
        }
    }
    faults
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

#[test]
fn the_tree_keeps_its_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "the sources are not where they should be");
    let faults: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let file = path.strip_prefix(&root).unwrap().to_str().unwrap();
            // A file of tests may do what tests do, but not be longer.
            let text = fs::read_to_string(path).unwrap();
            let tests = file.ends_with("/tests.rs") || file.contains("/tests/");
            faults(file, &text).into_iter().filter(move |fault| !tests || fault.contains("lines"))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
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
    bad("cli/run.rs", "eprintln!(\"{title}\");", "eprintln! is not for this file: use cli::out");
    bad("merge.rs", "pub use crate::cli::run;", "merge may not import cli");
    bad("step/mod.rs", "use crate::nowhere::X;", "nowhere is in no layer");
    bad("newcomer/mod.rs", "", "newcomer is in no layer");
    bad("engine/scheduler.rs", "let now = Instant::now();", "Instant::now is not for this file");
    bad("merge.rs", "use nix::unistd;", "nix:: is not for this file");
    bad("error.rs", "socket2::Socket::new()", "socket2:: is not for this file");
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
