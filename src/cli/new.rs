//! `pathspider new`: writes a measurement template.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Doing as _, Error, Exit, Result};
use crate::files;
use crate::report::page;

/// The template; words in capitals stand for what depends on the name.
static TEMPLATE: &str = include_str!("template.toml");

/// Write a commented measurement as a starting point
///
/// It is complete: `check` finds no mistakes, and it can be run at once. Never overwrites a file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The measurement's name: letters, digits, - and _
    name: String,

    /// The file, or - for standard output [default: NAME.toml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let name = &args.name;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || !name.bytes().all(allowed) {
        let why = format!("`{name}` cannot be a measurement's name: use letters, digits, - and _");
        return Err(Error::Usage(why));
    }
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    let text = text(name, &schema_near(&path));
    if path == Path::new("-") {
        page::print(&text)?;
        return Ok(Exit::Done);
    }
    let shown = path.display();
    let mut file = match files::create_new(&path)? {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let why =
                format!("{shown} already exists and was not changed: choose another file with -o");
            return Err(Error::Usage(why));
        }
        file => file.doing(|| format!("write {shown}"))?,
    };
    file.write_all(text.as_bytes()).doing(|| format!("write {shown}"))?;
    page::print(&format!(
        "Wrote {shown}. Next:\n  pathspider check {shown}\n  pathspider explain {shown}\n  \
         pathspider run {shown} --lab\n"
    ))?;
    Ok(Exit::Done)
}

fn text(name: &str, schema: &str) -> String {
    let label = name.to_ascii_lowercase().replace('-', "_");
    TEMPLATE.replace("SCHEMA", schema).replace("LABEL", &label).replace("NAME", name)
}

/// The path of the schema for editors, relative to the new file: that of the source tree if the file is in its folder of
/// measurements, else the one that the file's comment explains how to create.
fn schema_near(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new(""));
    let of_tree = "../schema/measurement.schema.json";
    match folder.join(of_tree).is_file() {
        true => of_tree.into(),
        false => "measurement.schema.json".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Plan;

    #[test]
    fn the_template_is_valid_under_any_name() {
        for name in ["x", "My-Test_1", "0", "NAMELABEL"] {
            let text = text(name, "s.json");
            let plan = Plan::load(name, &text, &Default::default());
            let plan = plan.unwrap_or_else(|report| panic!("{report}"));
            assert_eq!(plan.name, name);
            assert!(text.starts_with("#:schema s.json\n"), "{text}");
        }
    }
}
