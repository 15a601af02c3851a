//! Circles among the modules of a room.
//!
//! The children of a module are the nodes, each with everything below it. An edge leads from a child to another one
//! whose items it names, directly or by the re-export of a module above. A module's own file may use its children, and
//! they may use what it defines: that is no edge.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{self, Named};

/// A module: its path below the crate.
type Module = Vec<String>;

/// The source files of a crate.
#[derive(Default)]
pub struct Tree {
    modules: BTreeMap<Module, File>,
}

#[derive(Default)]
struct File {
    paths: Vec<Named>,
    /// The names that `use` declarations give to items of this crate.
    names: BTreeMap<String, Module>,
}

/// A circle: the module whose children are in it, and these with a reason for each edge.
#[derive(Debug, PartialEq, Eq)]
pub struct Circle {
    pub module: String,
    pub edges: Vec<String>,
}

impl Tree {
    /// Adds a file; `file` is its path below `src/`.
    pub fn add(&mut self, file: &str, text: &str) {
        let paths = program::paths(&program::lines(text));
        let module = module(file);
        for end in 1..module.len() {
            self.modules.entry(module[..end].to_vec()).or_default();
        }
        self.modules.insert(module, File { paths, ..File::default() });
    }

    /// Every circle below the rooms.
    pub fn circles(mut self) -> Vec<Circle> {
        self.name_imports();
        let mut levels: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
        for (from, file) in &self.modules {
            for path in &file.paths {
                let Some(to) = self.absolute(from, &path.segments) else { continue };
                let to = self.home(&to, 0);
                let level = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                // Rooms are in layers, and at the end of a path is the module itself.
                let (Some(a), Some(b)) = (from.get(level), to.get(level)) else { continue };
                if level > 0 {
                    let named = path.segments.join("::");
                    let why =
                        format!("{a} -> {b}: src/{}.rs:{} {named}", from.join("/"), path.line);
                    let edges = levels.entry(from[..level].to_vec()).or_default();
                    edges.entry((a.clone(), b.clone())).or_insert(why);
                }
            }
        }
        levels.iter().filter_map(|(level, edges)| circle(&level.join("::"), edges)).collect()
    }

    fn name_imports(&mut self) {
        let all: Vec<(Module, BTreeMap<String, Module>)> = self
            .modules
            .iter()
            .map(|(own, file)| {
                let uses = file.paths.iter().filter(|path| path.is_use);
                let names = uses.filter_map(|path| {
                    Some((path.name.clone(), self.absolute(own, &path.segments)?))
                });
                (own.clone(), names.collect())
            })
            .collect();
        for (own, names) in all {
            self.modules.entry(own).or_default().names = names;
        }
    }

    /// A path from the crate's root; `None` if it leads to another crate.
    fn absolute(&self, own: &Module, segments: &[String]) -> Option<Module> {
        let mut path = own.clone();
        let mut rest = segments;
        match segments.first()?.as_str() {
            "crate" => {
                path.clear();
                rest = &segments[1..];
            }
            "self" => rest = &segments[1..],
            "super" => {
                while let [first, more @ ..] = rest
                    && first == "super"
                {
                    path.pop();
                    rest = more;
                }
            }
            child => {
                path.push(child.to_owned());
                self.modules.contains_key(&path).then_some(())?;
                path.pop();
            }
        }
        path.extend(rest.iter().cloned());
        Some(path)
    }

    /// The module that defines the item at a path, as far as `use` declarations tell.
    fn home(&self, path: &[String], depth: usize) -> Module {
        let mut module = Module::new();
        for segment in path {
            module.push(segment.clone());
            if self.modules.contains_key(&module) {
                continue;
            }
            module.pop();
            let file = self.modules.get(&module);
            let target = file.and_then(|file| file.names.get(segment));
            return match target {
                Some(target) if depth < 8 && target[..] != *path => self.home(target, depth + 1),
                _ => module,
            };
        }
        module
    }
}

/// The edges among children that reach each other.
fn circle(module: &str, edges: &BTreeMap<(String, String), String>) -> Option<Circle> {
    let reaches = |from: &str, to: &str| {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(node) = left.pop() {
            if node == to {
                return true;
            }
            if seen.insert(node) {
                left.extend(edges.keys().filter(|(a, _)| a == node).map(|(_, b)| b.as_str()));
            }
        }
        false
    };
    let bad = edges.iter().filter(|((a, b), _)| reaches(b, a));
    let edges: Vec<String> = bad.map(|(_, why)| why.clone()).collect();
    (!edges.is_empty()).then(|| Circle { module: module.to_owned(), edges })
}

fn module(file: &str) -> Module {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}
