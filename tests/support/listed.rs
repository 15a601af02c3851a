//! The targets of a lab in a list, for runs in the namespaces that a test made.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use pathspider::lab::Lab;

/// A folder with `targets.ndjson` in it.
pub struct Listed {
    pub folder: tempfile::TempDir,
    pub list: PathBuf,
    pub interface: String,
}

impl Listed {
    pub fn new(lab: &Lab) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("targets.ndjson");
        let mut text = String::new();
        for target in lab.targets() {
            writeln!(text, r#"{{"dip": "{}", "dp": {}}}"#, target.addr, target.port).unwrap();
        }
        fs::write(&list, text).unwrap();
        Self { folder, list, interface: lab.interface().to_owned() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
