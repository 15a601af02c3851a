//! `pathspider lab`: what the lab is made of.

use clap::Subcommand;
use serde_json::json;

use super::{Format, out};
use crate::error::{Exit, Result};
use crate::lab;

/// Look at the lab: hosts in network namespaces, each with a known fault on its path
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the hosts, what each does, and what is true of it
    List {
        /// How the list is written
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let Command::List { format } = args.command;
    let spec = lab::Spec::internet()?;
    match format {
        Format::Json => {
            let hosts = spec.hosts.iter().map(|host| {
                json!({
                    "name": host.name, "title": host.title, "count": host.count,
                    "path": host.path, "path_back": host.path_back, "delay_ms": host.delay_ms,
                    "truth": host.truth,
                })
            });
            out::print_json(&json!({ "hosts": hosts.collect::<Vec<_>>() }))?;
        }
        Format::Text => {
            let mut text = String::new();
            for host in &spec.hosts {
                let (name, count, title) = (&host.name, host.count, &host.title);
                text += &format!("{name} ({count} IPv4, {count} IPv6)\n  {title}\n");
                for labels in host.truth.values() {
                    text += &format!("  {}\n", labels.join(", "));
                }
            }
            out::print(&text)?;
        }
    }
    Ok(Exit::Done)
}
