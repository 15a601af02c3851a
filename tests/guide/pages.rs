//! The pages that users read: the README and the guide, as files of the repository.

use std::fs;
use std::path::Path;

/// A page.
pub struct Page {
    /// Its path in the repository.
    pub file: String,
    /// Its Markdown.
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: String) -> Page {
    let text = fs::read_to_string(root().join(&file)).unwrap();
    Page { file, text }
}

/// The README and every Markdown file of the guide.
pub fn pages() -> Vec<Page> {
    let names = fs::read_dir(root().join("src/guide")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    let guide = names.into_iter().map(|name| format!("src/guide/{name}"));
    std::iter::once("README.md".to_owned()).chain(guide).map(read).collect()
}
