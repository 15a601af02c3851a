//! Programs of `command` steps: what ran, and what was undone.

use std::fs;
use std::time::Duration;

use pathspider::step::netfilter::Hook;
use pathspider::step::{self, Step};

use super::{apply, command, rule};

pub fn commands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let path = file.display();
    let trace = || fs::read_to_string(&file).unwrap_or_default();
    let one = command(&format!("echo +one >>{path}; echo hello"), &format!("echo -one >>{path}"));
    let two = command(&format!("echo +two >>{path}"), &format!("echo -two >>{path}"));
    let steps = [one.clone(), two.clone()];

    let applied = apply(&steps).unwrap();
    assert_eq!(trace(), "+one\n+two\n");
    let [first, second] = applied.outputs() else { panic!() };
    assert_eq!((first.stdout.as_str(), second.stdout.as_str()), ("hello\n", ""));
    applied.undo().unwrap();
    assert_eq!(trace(), "+one\n+two\n-two\n-one\n");

    fs::remove_file(&file).unwrap();
    drop(apply(&steps).unwrap());
    assert_eq!(trace(), "+one\n+two\n-two\n-one\n");

    // A later step fails; one that fails itself may have done half of its work.
    for (bad, expected) in [
        (rule("nonsense", Hook::Output), "+one\n-one\n"),
        (
            command(&format!("echo +bad >>{path}; exit 3"), &format!("echo -bad >>{path}")),
            "+one\n+bad\n-bad\n-one\n",
        ),
    ] {
        fs::remove_file(&file).unwrap();
        apply(&[one.clone(), bad]).unwrap_err();
        assert_eq!(trace(), expected);
    }

    // What could not be started is not undone.
    fs::remove_file(&file).unwrap();
    let missing = step::Command {
        run: vec!["pathspider-no-such".into()],
        undo: vec!["touch".into(), path.to_string()],
        timeout: Duration::from_secs(30),
    };
    let error = apply(&[Step::Command(missing)]).unwrap_err().to_string();
    assert!(error.starts_with("run the program pathspider-no-such: "), "{error}");
    assert!(!file.exists());

    // A failing undo is told, and the others are undone all the same.
    let stuck = command("true", "echo stuck >&2; exit 4");
    let error = apply(&[one.clone(), stuck.clone()]).unwrap().undo().unwrap_err().to_string();
    assert!(error.contains("undo a command") && error.contains("stuck"), "{error}");
    assert_eq!(trace(), "+one\n-one\n");
    let error = apply(&[stuck, rule("nonsense", Hook::Output)]).unwrap_err().to_string();
    assert!(error.contains("nonsense") && error.contains("not as it was found"), "{error}");
    let none = apply(&[command("true", "")]).unwrap();
    none.undo().unwrap();
}
