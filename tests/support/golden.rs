//! Texts that were agreed, in files. `UPDATE_GOLDENS=1 cargo test` accepts what comes out now.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Compares texts with files, and says at the end what was wrong, all of it.
#[derive(Default)]
pub struct Goldens {
    compared: BTreeSet<PathBuf>,
    wrong: Vec<String>,
}

impl Goldens {
    /// The file has this text. Where goldens are updated, it gets it.
    pub fn compare(&mut self, golden: &Path, text: &str) {
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(golden, text).unwrap();
        }
        let agreed = fs::read_to_string(golden).unwrap_or_default();
        if agreed != text {
            let first = agreed.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
            let (golden, line) = (golden.display(), first + 1);
            self.wrong.push(format!("{golden} is something else from line {line}:\n{text}"));
        }
        self.compared.insert(golden.to_owned());
    }

    /// Something else is wrong.
    pub fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Fails if anything was wrong.
    pub fn end(self) {
        assert!(!self.compared.is_empty(), "nothing was compared");
        let wrong = self.wrong.join("\n");
        assert!(wrong.is_empty(), "not as agreed (UPDATE_GOLDENS=1 accepts):\n{wrong}");
    }

    /// Fails if anything was wrong, or if the folder has a file `*.txt` that was not compared.
    pub fn end_all_of(mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "txt") && !self.compared.contains(&path) {
                self.wrong.push(format!("{} belongs to no case", path.display()));
            }
        }
        self.end();
    }
}
