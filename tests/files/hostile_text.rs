//! Texts that would do something to a terminal, through every command that prints some of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::harness::Tests;
use super::{PROGRAM, pathspider, run};

/// A measurement whose title and description would set a terminal's title, clear it, and turn text around.
const HOSTILE: &str = include_str!("title_escapes.toml");
/// Control characters of either kind, and one that turns the order of letters around.
const EVIL: &str = "\u{1b}]0;pwn\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{7f}";

/// A folder with a hostile name, with hostile files in it.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(files.at("")).unwrap();
        fs::write(files.at("xevil.toml"), HOSTILE).unwrap();
        let broken =
            HOSTILE.replace("\n[observer]", &format!("\ntimeout = \"{EVIL_TOML}\"\n[observer]"));
        fs::write(files.at("broken.toml"), broken).unwrap();
        fs::write(files.at("raw.toml"), format!("name = \"x\" # {EVIL}\ntitle = 7\n")).unwrap();
        let list = format!("{{\"dip\": \"127.0.0.1\", \"dp\": 81, \"note\": \"{EVIL_TOML}\"}}\n");
        let bad = format!("{EVIL},{EVIL}\n{{\"dip\": \"{EVIL_TOML}\", \"dp\": 1}}\n");
        fs::write(files.at("list"), format!("{list}{bad}")).unwrap();
        fs::write(files.at("names"), format!("{EVIL}\nexample{EVIL}.invalid\n")).unwrap();
        fs::write(files.at("exclude"), format!("{EVIL}\n")).unwrap();
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("f{EVIL}")).join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

/// The same in TOML's and JSON's escapes.
const EVIL_TOML: &str = "\\u001b]0;pwn\\u0007\\u001b[2J\\u009b31m\\u202e\\u2066\\u007f";

/// Whether a terminal would obey it, or it changes the order of letters.
fn is_evil(c: char) -> bool {
    let bidi = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    bidi || (c.is_control() && c != '\n')
}

/// Runs a command and looks at every octet that it says; gives back both streams.
fn says(mut command: Command, expected: &[i32]) -> String {
    let output = command.output().unwrap();
    let (out, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let words: Vec<_> = command.get_args().collect();
    for text in [&out, &error] {
        let evil: Vec<char> = text.chars().filter(|c| is_evil(*c)).collect();
        assert!(evil.is_empty(), "{words:?} {evil:?}: {text:?}");
    }
    let code = output.status.code().unwrap();
    assert!(expected.contains(&code), "{words:?}: {code}\n{out}\n{error}");
    out + &error
}

pub fn printed(tests: &mut Tests) {
    tests.run("no command prints control characters of a file's texts and names", || {
        let files = Files::new();
        let (good, broken, raw) =
            (files.text("xevil.toml"), files.text("broken.toml"), files.text("raw.toml"));
        let (list, names, exclude) =
            (files.text("list"), files.text("names"), files.text("exclude"));
        let written = ["\\u{1b}]0;pwn\\u{7}", "\\u{202e}"];
        let folder = files.text("");
        let say = |words: &[&str], code: i32| {
            let mut command = pathspider(words);
            command.env("PATHSPIDER_MEASUREMENTS", &folder);
            says(command, &[code])
        };
        for text in [
            say(&["explain", &good], 0),
            say(&["list", "measurements"], 0),
            say(&["check", "--file-only", &good], 0),
            say(&["check", "--file-only", &raw], 2),
            say(&["explain", &broken], 2),
        ] {
            for written in written {
                assert!(text.contains(written), "{written} is shown: {text}");
            }
        }
        for words in [
            &["explain", &good, "--format", "json"][..],
            &["list", "measurements", "--format", "json"],
            &["attribution", &good, "--contact", "mailto:a@example.org"],
        ] {
            say(words, 0);
        }
        for words in [
            &["check", "--file-only", &raw, "--format", "json"][..],
            &["check", &files.text("nothing.toml")],
            &["explain", &files.text("nothing")],
            &["judge", &list, "-o", "-"],
            &["merge", &list, "-o", "-"],
            &["observe", &list, "-o", "-"],
            &["observe", &list, "-o", &files.text("x.csv")],
            &["run", &broken, "--targets", &list],
            &["run", "mss", "--targets", &files.text("nothing")],
            &["targets", "filter", &files.text("nothing")],
            &["targets", "filter", &list, "--exclude", &exclude],
            &["explain", &good, "--targets", &files.text("nothing")],
            &["new", EVIL],
            &["run", "mss", EVIL],
            &[EVIL],
        ] {
            say(words, 2);
        }
        // The list is told line by line; what is kept is JSON.
        let text = say(&["targets", "filter", &list, "-o", "-"], 0);
        assert!(text.contains("\\u001b]0;pwn"), "{text}");
        let mut resolve = pathspider(&["targets", "resolve", &names, "--resolver", "127.0.0.1:9"]);
        resolve.args(["--timeout", "10ms", "--retries", "0"]);
        says(resolve, &[0, 1, 2, 3]);
    });
}

pub fn shown_by_a_run(tests: &mut Tests) {
    tests.run("a run, and what judges and merges it, prints no control characters", || {
        let files = Files::new();
        let (good, list) = (files.text("xevil.toml"), files.text("list"));
        let results = files.text("x.parquet");
        let common = |output: &str| -> Command {
            let mut command = run(files.folder.path(), &good, &["-o", output]);
            let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let at = words.iter().position(|word| word == "--targets").unwrap();
            command = pathspider(&[]);
            command.args(&words[..=at]).arg(&list).args(&words[at + 2..]);
            command.env("PATHSPIDER_STATE", files.folder.path().join("state"));
            command
        };
        let mut status = common(&results);
        status.args(["--status", "-"]);
        says(status, &[0]);
        let text = says(common(&files.text("y.ndjson")), &[0]);
        assert!(text.contains("\\u{1b}]0;pwn"), "the title is shown: {text}");
        let mut json = common("-");
        json.args(["--format", "json"]);
        let text = says(json, &[0]);
        assert!(text.contains("\\u001b]0;pwn"), "the note is shown: {text}");
        let mut dry = common(&results);
        dry.arg("--dry-run");
        says(dry, &[0]);
        for words in [
            &["judge", &results, "-o", "-"][..],
            &["judge", &results, "-o", &files.text("z.ndjson"), "--format", "json"],
            &["judge", &results, "-o", &files.text("z.ndjson")],
            &["merge", &results, "-o", &files.text("m.ndjson")],
            &["merge", &results, "-o", "-", "--format", "json"],
        ] {
            says(pathspider(words), &[0]);
        }
        says(pathspider(&["judge", &results, "-o", &results]), &[2]);
        terminal(&files, &common(&files.text("t.parquet")));
    });
}

/// On a terminal there are styles and a bar, and nothing of a stranger's.
fn terminal(files: &Files, run: &Command) {
    let script = |program: &str, words: Vec<String>| {
        let line = [vec![program.to_owned()], words].concat();
        let quoted: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
        let mut command = Command::new("script");
        command.args(["-qec", &quoted.join(" "), "/dev/null"]);
        command.env("TERM", "xterm").env("PATHSPIDER_STATE", files.folder.path().join("state"));
        command.stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR")).output()
    };
    let words = run.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    for words in [words, vec!["explain".to_owned(), files.text("xevil.toml")]] {
        let Ok(output) = script(PROGRAM, words) else {
            return eprintln!("script(1) is not there: no terminal was looked at");
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("\\u{1b}]0;pwn\\u{7}"), "{text:?}");
        for evil in
            ["\u{1b}]", "\u{1b}[2J", "\u{1b}[31m", "\u{7}", "\u{9b}", "\u{202e}", "\u{2066}"]
        {
            assert!(!text.contains(evil), "{evil:?}: {text:?}");
        }
    }
}
