//! A program whose file has capabilities, started by a user who has none; and how it is installed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::harness::Tests;
use super::{PROGRAM, stderr};

const USER: u32 = 1500;

/// A measurement whose program says which environment it has.
const TELLS: &str = r#"
name = "tells"
[config.zero]
[config.one]
steps = [{ command = { run = ["env"], undo = ["true"] } }, { netfilter = { rule = "dscp set 46" } }]
[connect]
kind = "tcp"
timeout = "2s"
[observer]
use = ["basic"]
[[conditions]]
name = "tells.connectivity"
compare = "ok"
"#;

pub fn programs(tests: &mut Tests) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("pathspider");
    fs::write(&program, "").unwrap();
    if !give_capabilities(&program) {
        return tests.skip("programs of a user's PATH", "setcap is not there, or may not be used");
    }
    tests.run("with capabilities of its own, no program is found by the caller's PATH", || {
        fs::remove_file(&program).unwrap();
        fs::copy(PROGRAM, &program).unwrap();
        assert!(give_capabilities(&program));
        path_of_user(folder.path(), &program);
    });
}

fn give_capabilities(program: &Path) -> bool {
    let set = Command::new("setcap").arg("cap_net_raw,cap_net_admin=ep").arg(program).output();
    set.is_ok_and(|output| output.status.success())
}

fn path_of_user(folder: &Path, program: &Path) {
    let home = folder.join("home");
    fs::create_dir(&home).unwrap();
    for tool in ["nft", "env", "true", "unshare"] {
        let path = home.join(tool);
        let log = home.join("log");
        fs::write(&path, format!("#!/bin/sh\necho {tool} >> {}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(home.join("targets.csv"), "127.0.0.1,81\n").unwrap();
    fs::write(home.join("tells.toml"), TELLS).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    let path = format!("{}:/usr/bin:/bin", home.display());
    let run = |program: &Path, capabilities: &[&str], out: &str| -> Output {
        let mut command = Command::new("unshare");
        let script = "ip link set lo up && exec \"$@\"";
        command.args(["-n", "sh", "-c", script, "sh", "setpriv", "--reuid", "1500", "--regid"]);
        command.args(["1500", "--clear-groups"]).args(capabilities);
        command.args(["/usr/bin/env", "-i", &format!("PATH={path}")]);
        command.arg(format!("HOME={}", home.display())).arg(program);
        command.args(["run", "tells.toml", "-i", "lo", "--allow-reserved", "--confirm", "0"]);
        command.args(["--allow-commands", "--targets", "targets.csv", "-o", out]);
        command.current_dir(&home).stdin(Stdio::null()).output().unwrap()
    };
    let output = run(program, &["--inh-caps=-all"], "out.ndjson");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let log = fs::read_to_string(home.join("log")).unwrap_or_default();
    assert_eq!(log, "", "none of the user's programs was started");
    let about = fs::read_to_string(home.join("out.ndjson.meta.json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    let outputs = about["pathspider.command_outputs"].as_str().unwrap();
    let outputs: Vec<serde_json::Value> = serde_json::from_str(outputs).unwrap();
    let variables = outputs.iter().find(|output| output["line"] == "env").unwrap();
    let mut variables: Vec<&str> = variables["stdout"].as_str().unwrap().lines().collect();
    variables.sort_unstable();
    assert_eq!(variables, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);

    // Capabilities that the caller has and passes on are no reason.
    let plain = home.join("plain");
    fs::copy(PROGRAM, &plain).unwrap();
    let passed_on = ["--inh-caps=+net_raw,+net_admin", "--ambient-caps=+net_raw,+net_admin"];
    let output = run(&plain, &passed_on, "out2.ndjson");
    let log = fs::read_to_string(home.join("log")).unwrap_or_default();
    assert!(log.contains("nft"), "PATH is the caller's own: {log}; {}", stderr(&output));
}

pub fn installed(tests: &mut Tests) {
    if Command::new("make").arg("--version").output().is_err() {
        return tests.skip("make install", "make is not there");
    }
    tests.run("make install gives capabilities to a group alone", || {
        let folder = tempfile::tempdir().unwrap();
        let install = |name: &str, group: &str| {
            let root = folder.path().join(name);
            let mut make = Command::new("make");
            make.args(["-s", "install", &format!("PROGRAM={PROGRAM}"), "PREFIX=/opt/x"]);
            make.arg(format!("DESTDIR={}", root.display())).arg(format!("GROUP={group}"));
            make.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
            let output = make.output().unwrap();
            let path = root.join("opt/x/bin/pathspider");
            let capabilities = Command::new("getcap").arg(&path).output().unwrap();
            (output, path, String::from_utf8_lossy(&capabilities.stdout).into_owned())
        };
        let (output, path, capabilities) = install("a", "");
        assert!(output.status.success(), "{}", stderr(&output));
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.mode() & 0o7777, capabilities.as_str()), (0o755, ""));
        assert!(path.with_file_name("../share/man/man1/pathspider.1").exists());
        assert!(path.with_file_name("../share/man/man7/pathspider-results.7").exists());

        let (output, path, capabilities) = install("b", "nogroup");
        assert!(output.status.success(), "{}", stderr(&output));
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid()), (0o750, 0));
        assert_ne!(about.gid(), 0);
        assert!(capabilities.contains("cap_net_admin,cap_net_raw=ep"), "{capabilities}");

        let (output, path, _) = install("c", "no-such-group-here");
        assert!(!output.status.success() && !path.exists());
        assert!(
            stderr(&output).contains("group no-such-group-here does not exist"),
            "{}",
            stderr(&output)
        );
    });
}
