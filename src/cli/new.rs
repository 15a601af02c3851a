//! `pathspider new`: writes a measurement template.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Doing as _, Error, Exit, Result};
use crate::files;
use crate::report::page;

/// The templates; words in capitals stand for what depends on the name.
static TEMPLATE: &str = include_str!("template.toml");
static LAB: &str = include_str!("lab.template.toml");

/// Write a commented measurement, or a lab, as a starting point
///
/// It is complete: `check` finds no mistakes, and it can be run at once. Never overwrites a file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The measurement's name: letters, digits, - and _
    name: String,

    /// Write a lab for `run --lab FILE` instead of a measurement
    #[arg(long)]
    lab: bool,

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
    let text = if args.lab {
        lab(&schema_near(&path, "lab"))
    } else {
        text(name, &schema_near(&path, "measurement"))
    };
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
    let next = match args.lab {
        true => format!("lab list --lab {shown}\n  pathspider run ecn --lab {shown}"),
        false => format!("explain {shown}\n  pathspider run {shown} --lab"),
    };
    page::print(&format!(
        "Wrote {shown}. Next:\n  pathspider check {shown}\n  pathspider {next}\n"
    ))?;
    Ok(Exit::Done)
}

fn text(name: &str, schema: &str) -> String {
    let label = name.to_ascii_lowercase().replace('-', "_");
    TEMPLATE.replace("SCHEMA", schema).replace("LABEL", &label).replace("NAME", name)
}

fn lab(schema: &str) -> String {
    LAB.replace("SCHEMA", schema)
}

/// The path of the schema for editors, relative to the new file: that of the source tree if the file is in its folder of
/// measurements, else the one that the file's comment explains how to create.
fn schema_near(path: &Path, of: &str) -> String {
    let folder = path.parent().unwrap_or(Path::new(""));
    let of_tree = format!("../schema/{of}.schema.json");
    match folder.join(&of_tree).is_file() {
        true => of_tree,
        false => format!("{of}.schema.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::lab::unknown_labels;
    use crate::measurement::{self, Plan};

    #[test]
    fn the_template_of_a_lab_is_valid_and_its_truth_is_one_that_ecn_can_give() {
        let text = lab("lab.schema.json");
        assert!(text.starts_with("#:schema lab.schema.json\n") && !text.contains("SCHEMA"));
        let spec = crate::lab::Spec::parse("lab.toml", &text).unwrap_or_else(|why| panic!("{why}"));
        assert!(spec.hosts.iter().any(|host| host.mtu.is_some() && !host.icmp));
        let (origin, ecn) = measurement::find("ecn").unwrap_or_else(|why| panic!("{why}"));
        let plan = Plan::load(&origin, &ecn, &Default::default());
        let unknown = unknown_labels(&text, &plan.unwrap_or_else(|report| panic!("{report}")));
        assert!(unknown.is_empty(), "{unknown:?}");
    }

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
