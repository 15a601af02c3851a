//! What another user put into a folder in which root writes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::harness::Tests;
use super::{PROGRAM, stderr};

/// A user and group of nobody's.
const USER: &str = "1500";

/// What is planted by which commands, the words of the run, and what it says. `V` is a file of root's, `W` a folder of
/// root's; what is written goes to names in the shared folder.
const PLANTED: &[(&str, &str, &[&str], &str)] = &[
    ("a link at -o", "ln -s V a.ndjson", &["-o", "a.ndjson"], "it is a link of user 1500"),
    (
        "a link at a .parquet",
        "ln -s V b.parquet",
        &["-o", "b.parquet"],
        "it is a link of user 1500",
    ),
    (
        "a link to nothing yet",
        "ln -s V-new c.parquet",
        &["-o", "c.parquet"],
        "it is a link of user 1500",
    ),
    (
        "a link at the metadata",
        "ln -s V d.ndjson.meta.json",
        &["-o", "d.ndjson"],
        "is a link, which is not followed",
    ),
    (
        "a folder for the parts, with a link as journal",
        "mkdir -m 777 .e.parquet.parts && ln -s V .e.parquet.parts/journal.ndjson",
        &["-o", "e.parquet"],
        "it is a folder of user 1500, not of user 0, in a folder that others may write to (mode 1777)",
    ),
    (
        "a link as folder for the parts",
        "ln -s W .f.parquet.parts",
        &["-o", "f.parquet"],
        "it is a link of user 1500",
    ),
    ("a link as folder of results", "ln -s W g", &["-o", "g/"], "it is a link of user 1500"),
    ("a folder of results", "mkdir -m 777 h", &["-o", "h/"], "it is a folder of user 1500"),
    (
        "a link on the way",
        "ln -s W i",
        &["-o", "i/x.ndjson"],
        "it is a link of user 1500 in a folder that others may write to",
    ),
    ("a pipe at -o", "mkfifo -m 666 j.parquet", &["-o", "j.parquet"], "not a regular file"),
    (
        "a pipe as part",
        "mkdir -m 777 .k.parquet.parts && mkfifo -m 666 .k.parquet.parts/part-00000.parquet",
        &["-o", "k.parquet"],
        "it is a folder of user 1500",
    ),
    (
        "a file at -o",
        "touch l.ndjson && chmod 666 l.ndjson",
        &["-o", "l.ndjson"],
        "it is a file of user 1500",
    ),
    (
        "a second name of a file of root's at --status",
        "ROOT ln V m.status",
        &["-o", "m.ndjson", "--status", "m.status"],
        "it has several names (hard links)",
    ),
    (
        "a link at --status",
        "ln -s V n.status",
        &["-o", "n.ndjson", "--status", "n.status"],
        "it is a link of user 1500",
    ),
    (
        "a file at --status",
        "touch o.status && chmod 666 o.status",
        &["-o", "o.ndjson", "--status", "o.status"],
        "it is a file of user 1500",
    ),
    (
        "a pipe at --status",
        "mkfifo -m 666 p.status",
        &["-o", "p.ndjson", "--status", "p.status"],
        "it is a pipe of user 1500",
    ),
    (
        "a second name of a journal of root's",
        "ROOT mkdir q && printf '{\"run\":{}}\\n' > q/journal.ndjson && chmod 777 q && ln q/journal.ndjson q2",
        &["-o", "q/"],
        "it has several names (hard links), in a folder that others may write to (mode 777)",
    ),
];

pub fn planted(tests: &mut Tests) {
    for (what, script, words, expected) in PLANTED {
        tests.run(&format!("as root, {what} is refused"), || {
            refused(script, words, expected);
        });
    }
    tests.run("root works in a folder of everybody's where nothing is in the way", works);
    tests.run("root follows a link of root's there", own_link);
    tests.run("--status is opened with the rights of --user", status_of_user);
    tests.run("journals of steps are kept in no folder of others", states);
    tests.run("no command of root's writes through a link of another user's", commands);
    tests.run("a measurement is read with the rights of --user", measurement_of_user);
    tests.run("a descriptor that root opened is a --status of --user", descriptor_of_user);
}

/// A folder of everybody's, beside a file and a folder of root's.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(place.folder.path(), 0o755);
        for (name, bits) in [("shared", 0o1777), ("W", 0o755)] {
            fs::create_dir(place.at(name)).unwrap();
            mode(&place.at(name), bits);
        }
        fs::write(place.at("V"), "secret without a newline").unwrap();
        mode(&place.at("V"), 0o600);
        fs::write(place.at("targets.csv"), "127.0.0.1,81\n").unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shared(&self, name: &str) -> PathBuf {
        self.at("shared").join(name)
    }

    /// Does something in the shared folder, as the other user if it does not begin with ROOT.
    fn plant(&self, script: &str) {
        let path = |name: &str| self.at(name).display().to_string();
        let script =
            script.replace("V-new", &path("V-new")).replace(" V ", &format!(" {} ", path("V")));
        let script = script.replace(" W ", &format!(" {} ", path("W")));
        let mut command = match script.strip_prefix("ROOT ") {
            Some(script) => {
                let mut command = Command::new("sh");
                command.args(["-c", script]);
                command
            }
            None => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
                command.args(["sh", "-c", &script]);
                command
            }
        };
        let status = command.current_dir(self.at("shared")).status().unwrap();
        assert!(status.success(), "{script}");
    }

    /// Runs in a network namespace, and with a /run, of its own; names of files are in the shared folder.
    fn run(&self, words: &[&str]) -> Output {
        self.measure("mss", words)
    }

    fn measure(&self, measurement: &str, words: &[&str]) -> Output {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs none /run && ip link set lo up && exec \"$@\"";
        command.args(["-n", "-m", "sh", "-c", script, "sh", PROGRAM, "run", measurement]);
        command.args(["-i", "lo", "--allow-reserved", "--confirm", "0", "--targets"]);
        command.arg(self.at("targets.csv")).args(words).current_dir(self.at("shared"));
        command.env_remove("PATHSPIDER_STATE").stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Everything that is there, with what is in it.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut all, mut folders) = (Vec::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                let text =
                    if kind.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
                all.push((entry.path(), text));
            }
        }
        all.sort();
        all
    }
}

fn refused(script: &str, words: &[&str], expected: &str) {
    let place = Place::new();
    place.plant(&format!("{script} "));
    let before = place.all();
    let output = place.run(words);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(expected), "{error}");
    assert!(place.all() == before, "nothing is made, and nothing written: {error}");
}

fn works() {
    let place = Place::new();
    for words in
        [&["-o", "x.parquet"][..], &["-o", "x.ndjson", "--status", "s"], &["-o", "folder/"]]
    {
        // Twice: what is there then is root's.
        for _ in 0..2 {
            let output = place.run(words);
            let again = words[1] == "folder/" && place.shared("folder/run.json").exists();
            let expected = if again && output.status.code() == Some(2) { 2 } else { 0 };
            assert_eq!(output.status.code(), Some(expected), "{}", stderr(&output));
        }
    }
    let lines = fs::read_to_string(place.shared("s")).unwrap();
    assert_eq!(lines.matches("\"event\":\"end\"").count(), 2, "{lines}");
    assert!(place.shared("folder/records/part-00001.parquet").is_file());
}

fn own_link() {
    let place = Place::new();
    symlink(place.at("real.parquet"), place.shared("x.parquet")).unwrap();
    let output = place.run(&["-o", "x.parquet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(place.at("real.parquet").is_file() && place.shared("x.parquet").is_symlink());
    // Its second name, which another user may have made.
    fs::hard_link(place.shared("x.parquet"), place.shared("y.parquet")).unwrap();
    let output = place.run(&["-o", "y.parquet"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("a link with several hard links"), "{}", stderr(&output));
}

fn status_of_user() {
    let place = Place::new();
    place.plant("mkdir home && ln -s V home/status ");
    let user = format!("{USER}:{USER}");
    let before = fs::read(place.at("V")).unwrap();
    let words = |status: &'static str| {
        ["-o", "home/x.ndjson", "--status", status, "--user"].map(str::to_owned)
    };
    let run = |status| {
        let words = words(status);
        let words: Vec<&str> = words.iter().map(String::as_str).chain([user.as_str()]).collect();
        place.run(&words)
    };
    let output = run("home/status");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("ermission denied"), "{}", stderr(&output));
    assert_eq!(fs::read(place.at("V")).unwrap(), before);
    let output = run("home/new");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::metadata(place.shared("home/new")).unwrap().uid().to_string(), USER);
    // Neither is the address of --metrics bound with root's rights.
    let output = place.run(&["-o", "home/y.ndjson", "--user", &user, "--metrics", "127.0.0.1:80"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("listen on --metrics 127.0.0.1:80"), "{}", stderr(&output));
    // A folder in which that user may not write.
    let output = run("../W/new");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(!place.at("W/new").exists());
}

/// Each command that writes a file.
fn commands() {
    let place = Place::new();
    place.plant("for n in a b c d e f; do ln -s V $n.ndjson ; done; ln -s V-new new.toml; mkdir man; ln -s V man/pathspider.1 ");
    let made = place.run(&["-o", "../good.parquet"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let capture = place.at("capture.pcap");
    let header = "d4c3b2a1020004000000000000000000ffff000001000000";
    let octet = |at: usize| u8::from_str_radix(&header[at..at + 2], 16).unwrap();
    fs::write(&capture, (0..header.len()).step_by(2).map(octet).collect::<Vec<u8>>()).unwrap();
    let before = place.all();
    let (good, capture) = (place.at("good.parquet"), capture.display().to_string());
    let good = good.display().to_string();
    for words in [
        &["judge", &good, "-o", "a.ndjson"][..],
        &["merge", &good, "-o", "b.ndjson"],
        &["observe", &capture, "-o", "c.ndjson"],
        &["targets", "filter", "../targets.csv", "-o", "d.ndjson"],
        &["targets", "resolve", "../targets.csv", "--resolver", "127.0.0.1:9", "-o", "e.ndjson"],
        &[
            "targets",
            "resolve",
            "../targets.csv",
            "--resolver",
            "127.0.0.1:9",
            "--failures",
            "f.ndjson",
        ],
        &["new", "new", "-o", "new.toml"],
        &["attribution", "mss", "--contact", "mailto:a@example.org", "-o", "a.ndjson"],
        &["man", "man"],
    ] {
        let output = Command::new(PROGRAM).args(words).current_dir(place.at("shared")).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        // Pages that are in nobody's way are written.
        let mut after = place.all();
        after.retain(|(path, _)| before.iter().any(|(known, _)| known == path));
        assert!(after == before, "{words:?}");
        assert!(words[0] == "man" || place.all() == before, "{words:?}");
    }
}

fn measurement_of_user() {
    let place = Place::new();
    let secret = place.at("secret.toml");
    fs::copy("measurements/mss.toml", &secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.display().to_string();
    let user = format!("{USER}:{USER}");
    for words in [
        &["observe", "-i", "lo", "--measurement", &secret][..],
        &["run", &secret, "-i", "lo", "--targets", "targets.csv"],
        &["run", "mss", "-i", "lo", "--targets", &secret],
        &["run", "mss", "-i", "lo", "--targets", "targets.csv", "--exclude", &secret],
    ] {
        let mut command = Command::new("unshare");
        command.args(["-n", PROGRAM]).args(words).args(["--user", &user]);
        let output =
            command.current_dir(place.folder.path()).stdin(Stdio::null()).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{words:?}");
        assert!(stderr(&output).contains("ermission denied"), "{words:?}: {}", stderr(&output));
    }
}

fn descriptor_of_user() {
    let place = Place::new();
    place.plant("mkdir home");
    let mut command = Command::new("unshare");
    let script = format!(
        "ip link set lo up && exec {PROGRAM} run mss -i lo --allow-reserved --confirm 0 --user {USER}:{USER} \
         --targets ../targets.csv -o home/x.ndjson --status /dev/fd/3 3>>../V"
    );
    command.args(["-n", "sh", "-c", &script]).current_dir(place.at("shared"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let status = fs::read_to_string(place.at("V")).unwrap();
    assert!(status.contains("\"event\":\"end\""), "{status}");
}

fn states() {
    let place = Place::new();
    place.plant("mkdir state1; ln -s W state3 ");
    place.plant("ROOT mkdir state2 && chmod 777 state2");
    for state in ["state1", "state2", "state3", "state3/deep/er", "state1/deep"] {
        let output = place.measure("dscp", &["-o", "x.ndjson", "--state", state]);
        assert_ne!(output.status.code(), Some(0), "{state}: {}", stderr(&output));
        assert!(!place.shared("x.ndjson").exists());
        assert!(fs::read_dir(place.at("W")).unwrap().next().is_none(), "{state}");
    }
}
