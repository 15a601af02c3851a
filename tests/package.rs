//! `pathspider report --package`: what others read from it, and what a redacted one does not have.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use harness::Tests;
use support::{pathspider, records, stderr};

/// What else a package should say.
const MORE: [&str; 6] =
    ["--orcid", "0000-0002-1825-0097", "--affiliation", "Brown University", "--ror", "05gq02987"];
const AUTHOR: [&str; 4] = ["--author", "Carberry, Josiah", "--license", "CC-BY-4.0"];

fn main() -> ExitCode {
    harness::main(outside, |_| {})
}

fn outside(tests: &mut Tests, namespaces: bool) {
    type Check = (&'static str, fn(&Bench));
    let checks: [Check; 3] = [
        ("other programs read a package", Bench::whole),
        ("a redacted package has nothing that identifies targets or the host", Bench::redacted),
        ("what is missing is named, and nothing is overwritten", Bench::refused),
    ];
    for (name, check) in checks {
        match namespaces {
            true => tests.run(name, || check(&Bench::new())),
            false => tests.skip(name, "no user namespace can be entered here"),
        }
    }
}

/// A result of a lab.
struct Bench {
    folder: tempfile::TempDir,
    result: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("ecn.parquet");
        let mut command = pathspider();
        command.args(["run", "ecn", "--lab", "tests/evidence/lab.toml", "--confirm", "1"]);
        command.args(["--control", "20%", "--contact", "mailto:jo@secret.example", "--evidence"]);
        command.arg(folder.path().join("packets")).arg("-o").arg(&result);
        let ran = command.output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        Self { folder, result }
    }

    fn package(&self, name: &str, more: &[&str]) -> (PathBuf, std::process::Output) {
        let package = self.folder.path().join(name);
        let mut command = pathspider();
        command.env("XDG_CONFIG_HOME", self.folder.path()).arg("report").arg(&self.result);
        let output = command.arg("--package").arg(&package).args(more).output().unwrap();
        (package, output)
    }

    fn made(&self, name: &str, more: &[&str]) -> PathBuf {
        let (package, output) = self.package(name, &[&AUTHOR[..], &MORE, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut sums = Command::new("sha256sum");
        sums.args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&package);
        let sums = sums.output().unwrap();
        assert!(sums.status.success(), "{sums:?}");
        let verified = pathspider().arg("verify").arg(package.join("records.parquet")).output();
        let verified = verified.unwrap();
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        package
    }

    fn whole(&self) {
        let package = self.made("whole", &["--osf"]);
        let same = |name: &str| fs::read(package.join(name)).unwrap();
        assert_eq!(same("records.parquet"), fs::read(&self.result).unwrap());
        let again = self.made("again", &["--osf"]);
        assert_eq!(
            same("SHA256SUMS"),
            fs::read(again.join("SHA256SUMS")).unwrap(),
            "the same files"
        );
        check_package(&package, self.folder.path());
        let upload = pathspider()
            .args([
                "upload",
                "--url",
                "https://pto.example.org/raw",
                "--campaign",
                "ecn",
                "--dry-run",
            ])
            .arg(package.join("observations.ndjson"))
            .output()
            .unwrap();
        let said = String::from_utf8(upload.stdout).unwrap();
        assert!(said.contains("\"_file_type\": \"obs\"") && said.contains("_time_start"), "{said}");
    }

    fn redacted(&self) {
        let package = self.made("redacted", &["--redact", "--osf"]);
        let text = everything(&package);
        // What the result has, and the package must not have.
        let lines = self.folder.path().join("original.ndjson");
        let mut merge = pathspider();
        let merged = merge.arg("merge").arg(&self.result).arg("-o").arg(&lines).output().unwrap();
        assert!(merged.status.success(), "{}", stderr(&merged));
        let folder = self.folder.path().display().to_string();
        let mut secrets = vec!["secret.example".to_owned(), "lab.toml".to_owned(), folder];
        for record in records(&lines) {
            for value in
                [&record["target"]["ip"], &record["target"]["name"], &record["zero"]["sip"]]
            {
                secrets.extend(value.as_str().map(str::to_owned));
            }
        }
        secrets.sort();
        secrets.dedup();
        assert!(secrets.len() > 60, "{secrets:?}");
        let own: Vec<_> = secrets.iter().filter(|secret| has(&text, secret)).collect();
        assert!(own.is_empty(), "{own:?}");
        assert!(text.contains("Redacted: addresses are cut"));
        check_package(&package, self.folder.path());
    }

    fn refused(&self) {
        let (package, output) = self.package("x", &["--license", "CC-BY-4.0"]);
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains("--author") && said.contains("pathspider/publish.toml"), "{said}");
        assert!(!package.exists(), "nothing was made");
        for (more, expected) in [
            (&["--orcid", "0000-0002-1825-0098"][..], "is not one"),
            (&["--license", "CC BY"], "CC-BY-4.0"),
        ] {
            let author = &AUTHOR[..if more[0] == "--license" { 2 } else { 4 }];
            let (_, output) = self.package("x", &[author, more].concat());
            assert_eq!(output.status.code(), Some(2));
            assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        }
        let config = self.folder.path().join("pathspider");
        fs::create_dir(&config).unwrap();
        let file = "license = \"CC0-1.0\"\ntitle = \"Of a file\"\n[[author]]\nname = \"Carberry, Josiah\"\n";
        fs::write(config.join("publish.toml"), file).unwrap();
        let (package, output) = self.package("x", &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let zenodo = fs::read_to_string(package.join(".zenodo.json")).unwrap();
        assert!(zenodo.contains("CC0-1.0") && zenodo.contains("Of a file"), "{zenodo}");
        let before = everything(&package);
        let (_, output) = self.package("x", &AUTHOR);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("choose a new folder"), "{}", stderr(&output));
        assert_eq!(everything(&package), before);
    }
}

/// The text of all files of a package, and of its records.
fn everything(package: &Path) -> String {
    let mut text = String::new();
    let mut folders = vec![package.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            match path.is_dir() {
                true => folders.push(path),
                false => text += &String::from_utf8_lossy(&fs::read(path).unwrap()),
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records.csv");
    let mut export = pathspider();
    export.arg("export").arg(package.join("records.parquet")).arg("-o").arg(&records);
    let exported = export.output().unwrap();
    assert!(exported.status.success(), "{}", stderr(&exported));
    text + &fs::read_to_string(records).unwrap()
}

/// Whether a text has a secret as a word: 192.0.2.1 is not in 192.0.2.10, nor 2001:db8::1 in 2001:db8::10.
fn has(text: &str, secret: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':';
    text.match_indices(secret).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_part);
        let after = text[at + secret.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

fn check_package(package: &Path, folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/venv/bin/python");
    assert!(python.exists(), "no {}: make test-setup", python.display());
    let scratch = folder.join("scratch").join(package.file_name().unwrap());
    fs::create_dir_all(&scratch).unwrap();
    let script = root.join("tests/python/check_package.py");
    let check = Command::new(python).arg(script).arg(package).arg(&scratch).output().unwrap();
    assert!(check.status.success(), "{}{}", String::from_utf8_lossy(&check.stdout), stderr(&check));
}
