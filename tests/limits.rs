//! What an author of a measurement, a list, a capture or a result can make the program hold: each row is a hostile input,
//! read by the program under a limit of address space, with the answer that it must give.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// KiB of address space that the program may have. It needs about half of that for itself.
const MEMORY: u64 = 300_000;

/// Runs the program under the limit.
fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_pathspider")).args(words).current_dir(folder);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// A measurement with something between its name and the rest.
fn measurement(before: &str, after: &str) -> String {
    format!(
        "name = \"x\"\n{before}\n[config.zero]\n[config.one]\n[connect]\nkind = \"tcp\"\n[observer]\n\
         use = [\"basic\"]\n{after}\n"
    )
}

fn list(number: usize, one: impl Fn(usize) -> String) -> String {
    (0..number).map(one).collect()
}

#[test]
fn a_measurement_costs_what_its_text_says() {
    let condition = |n: usize| format!("[[conditions]]\nname = \"a.b{n}\"\ncompare = \"ok\"\n");
    let param = |value: usize| format!("[params]\na = {{ default = \"{}\" }}\n", "x".repeat(value));
    let uses = |number: usize| format!("description = \"{}\"\n", "${a}".repeat(number));
    let sweep = |number: usize| {
        let names = list(number, |n| format!("p{n} = [1, 2], "));
        format!("name = \"x\"\n[config.zero]\n[config.one]\nsweep = {{ {names} }}\n")
    };
    let deep =
        |number: usize| format!("references = {}{}\n", "[".repeat(number), "]".repeat(number));
    let sysctls = list(101, |_| "{ sysctl = { \"net.ipv4.tcp_ecn\" = 1 } },".into());
    let copies = format!(
        "name = \"x\"\n[config.zero]\n[config.one]\nsweep = {{ p = [1, 2, 3, 4, 5, 6, 7] }}\ntitle = \"{}\"\n",
        "y".repeat(200_000)
    );
    let rows: &[(&str, String, Result<(), &str>)] = &[
        ("a param used just often enough", measurement(&(uses(1024) + &param(1024)), ""), Ok(())),
        ("a param used too often", measurement(&(uses(1025) + &param(1024)), ""), Err("E0109")),
        ("200,000 uses of 20 kB", measurement(&(uses(200_000) + &param(20_000)), ""), Err("E0109")),
        ("200,000 unknown names", measurement(&uses(200_000), ""), Err("E0105")),
        // A param's value is a text: what looks like a name in it stays as it is.
        (
            "params that name params",
            measurement(
                "[params]\na = { default = \"xx\" }\nb = { default = \"${a}${a}\" }\nc = { default = \"${b}${b}\" }\n",
                "",
            ),
            Ok(()),
        ),
        ("a sweep of 20,000 names", sweep(20_000), Err("E0109")),
        ("seven copies of a large configuration", copies, Err("E0109")),
        ("1,000 conditions", measurement("", &list(1000, condition)), Ok(())),
        ("1,001 conditions", measurement("", &list(1001, condition)), Err("E0109")),
        (
            "501 entries",
            measurement(
                "",
                &format!(
                    "[[conditions]]\nname = \"a.b\"\nfirst_of = [{}]",
                    list(501, |n| format!("{{ is = \"x{n}\", when = \"one.ok\" }}, "))
                ),
            ),
            Err("E0109"),
        ),
        (
            "101 steps",
            format!("name = \"x\"\n[config.zero]\n[config.one]\nsteps = [{sysctls}]\n"),
            Err("E0109"),
        ),
        (
            "501 params",
            measurement(
                &format!("[params]\n{}", list(501, |n| format!("a{n} = {{ default = 1 }}\n"))),
                "",
            ),
            Err("E0109"),
        ),
        (
            "two million values",
            measurement(&format!("references = [{}]\n", "\"\",".repeat(2_000_000)), ""),
            Err("E0109"),
        ),
        ("arrays 100,000 deep", measurement(&deep(100_000), ""), Err("E0100")),
        (
            "a key 100,000 deep",
            measurement(&(vec!["a"; 100_000].join(".") + " = 1\n"), ""),
            Err("E0"),
        ),
        (
            "an expression 100,000 deep",
            measurement(
                "",
                &format!(
                    "[[conditions]]\nname = \"a.b\"\nfirst_of = [{{ is = \"x\", when = \"{}one.ok{}\" }}]",
                    "(".repeat(100_000),
                    ")".repeat(100_000)
                ),
            ),
            Err("E0406"),
        ),
        (
            "a list of 100,000 numbers",
            measurement(
                "",
                &format!(
                    "[[conditions]]\nname = \"a.b\"\nfirst_of = [{{ is = \"x\", when = \"one.source_port IN ({}1)\" }}]",
                    list(90_000, |n| format!("{n},"))
                ),
            ),
            Err("E0406"),
        ),
        (
            "9 MiB",
            measurement(&format!("# {}\n", "x".repeat(9 << 20)), ""),
            Err("larger than 8 MiB"),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (what, written, expected) in rows {
        fs::write(folder.path().join("x.toml"), written).unwrap();
        let output = run(folder.path(), &["check", "--file-only", "x.toml"]);
        let said = text(&output);
        let (code, part) = match expected {
            Ok(()) => (0, "ok"),
            Err(part) => (2, *part),
        };
        let start: String = said.chars().take(2000).collect();
        assert_eq!(output.status.code(), Some(code), "{what}: {start}");
        assert!(said.contains(part), "{what}: {start}");
        // The place and the remedy of the limits.
        if *expected == Err("E0109") {
            assert!(said.contains("x.toml:") && said.contains("help: "), "{what}: {start}");
        }
    }
}

/// Octets of a gzip or zstd stream that stands for many zeros.
fn packed(zeros: usize, zstd: bool, start: &[u8]) -> Vec<u8> {
    let block = vec![0_u8; 1 << 20];
    let fill = |to: &mut dyn std::io::Write| {
        to.write_all(start).unwrap();
        (0..zeros / block.len()).for_each(|_| to.write_all(&block).unwrap());
    };
    if zstd {
        let mut to = zstd::Encoder::new(Vec::new(), 1).unwrap();
        fill(&mut to);
        return to.finish().unwrap();
    }
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    fill(&mut to);
    to.finish().unwrap()
}

#[test]
fn lists_and_captures_are_streams() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let sparse = |name: &str, start: &[u8], length: u64| {
        let mut file = fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(start).unwrap();
        file.set_len(length).unwrap();
    };
    let pcap = [
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0, 0, 4, 0, 1, 0, 0, 0],
    ]
    .concat();
    // A record of 4 GiB, and of as much as a snap length allows.
    let record =
        |length: u32| [&pcap[..], &[0; 8], &length.to_le_bytes(), &length.to_le_bytes()].concat();
    // A section header, and an interface's block that says it has 2 GiB.
    let section = [0x0a0d_0d0a_u32, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28];
    let section: Vec<u8> = section.iter().flat_map(|word| word.to_le_bytes()).collect();
    let block = [&section[..], &1_u32.to_le_bytes(), &0x8000_0000_u32.to_le_bytes()].concat();
    // More than the limit leaves.
    const LARGE: usize = 160 << 20;
    sparse("line", b"{\"dip\": \"192.0.2.1\"", LARGE as u64);
    write(
        "deep",
        ("{\"dip\": \"192.0.2.1\", \"dp\": 80, \"x\": ".to_owned() + &"[".repeat(900_000) + "\n")
            .as_bytes(),
    );
    sparse("exclude", b"192.0.2.0/24\n", LARGE as u64);
    write("bomb.pcap.gz", &packed(LARGE, false, &pcap));
    write("bomb.pcap.zst", &packed(LARGE, true, &pcap));
    sparse("record.pcap", &record(u32::MAX), LARGE as u64);
    sparse("snap.pcap", &record(0x0004_0000), 1 << 20);
    sparse("block.pcapng", &block, LARGE as u64);
    let rows: &[(&[&str], &[i32])] = &[
        (&["targets", "filter", "line", "-o", "out"], &[2]),
        (&["targets", "filter", "deep", "-o", "out"], &[2]),
        (&["targets", "filter", "--exclude", "exclude", "deep", "-o", "out"], &[2]),
        (&["observe", "bomb.pcap.gz", "-o", "out.ndjson"], &[0, 1, 2, 3]),
        (&["observe", "bomb.pcap.zst", "-o", "out.ndjson"], &[0, 1, 2, 3]),
        (&["observe", "record.pcap", "-o", "out.ndjson"], &[0, 1, 2, 3]),
        (&["observe", "snap.pcap", "-o", "out.ndjson"], &[0, 1, 2, 3]),
        (&["observe", "block.pcapng", "-o", "out.ndjson"], &[0, 1, 2, 3]),
    ];
    for (words, codes) in rows {
        let output = run(folder.path(), words);
        let said: String = text(&output).chars().take(2000).collect();
        if words.contains(&"exclude") {
            assert!(said.contains("line 2: longer than 1 MiB"), "{said}");
        }
        // A failed allocation aborts: no code.
        assert!(
            output.status.code().is_some_and(|code| codes.contains(&code)),
            "{words:?}: {said}"
        );
        assert!(!said.contains("memory allocation"), "{words:?}: {said}");
    }
}
