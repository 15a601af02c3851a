//! `pathspider attribution`: the file that attributes the packets of a measurement (RFC 9511).

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::cli::options::courtesy;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::field;
use crate::files;
use crate::measurement::{self, Overrides, Plan};
use crate::report::page;
use crate::run::about;
use crate::targets::Reader;

/// Default validity of a file in days; RFC 9116 advises less than a year.
const DAYS: u64 = 90;

/// Write the probing.txt of a measurement: who probes, why, and how to opt out (RFC 9511)
///
/// Serve it from the measuring address as https://ADDRESS/.well-known/probing.txt, and from the host of the address's
/// reverse DNS name. Pass its URL to `run --contact`, so that HTTP requests carry it too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The measurement: a file, or a name such as `ecn`
    measurement: String,

    /// Contact, preferred one first: an https, mailto or tel URI; repeatable
    #[arg(long, value_name = "URI", required = true, value_parser = courtesy::contact)]
    contact: Vec<String>,

    /// Purpose of the packets, in one line [default: the measurement's title]
    #[arg(long, value_name = "TEXT", value_parser = line)]
    description: Option<String>,

    /// Expiry, such as 2027-01-31T00:00:00Z [default: in 90 days]
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<String>,

    /// Canonical https URL of the file; repeatable
    #[arg(long, value_name = "URI", value_parser = courtesy::contact)]
    canonical: Vec<String>,

    /// Languages that you read, such as en,de
    #[arg(long, value_name = "TAGS", value_parser = tags)]
    languages: Option<String>,

    /// Output file, which must not exist yet, or - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Text of one line.
fn line(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must not be empty".into()),
        text if text.chars().any(char::is_control) => Err("must be a single line".into()),
        text => Ok(text.to_owned()),
    }
}

/// A time as RFC 3339 writes it, with its zone.
fn time(text: &str) -> Result<String, String> {
    match field::time::parse(text) {
        Some(_) if text.as_bytes()[10].eq_ignore_ascii_case(&b'T') => Ok(text.to_owned()),
        _ => Err("must be a time such as 2027-01-31T00:00:00Z".into()),
    }
}

/// Language tags (RFC 5646), separated by commas.
fn tags(text: &str) -> Result<String, String> {
    let tags: Vec<&str> = text.split(',').map(str::trim).collect();
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match tags.iter().all(|tag| tag.split('-').all(subtag)) {
        true => Ok(tags.join(", ")),
        false => Err("must be language tags separated by commas, such as en,de-CH".into()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let (origin, text) = measurement::find(&args.measurement)?;
    let columns = Reader::from_targets(Vec::new()).fields();
    let plan = Plan::load_with(&origin, &text, &columns, &Overrides::default())?;
    let text = file(args, &plan, SystemTime::now());
    if args.output.as_os_str() == "-" {
        page::print(&text)?;
        return Ok(Exit::Done);
    }
    let shown = args.output.display();
    let mut file = match files::create_new(&args.output)? {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::Usage(format!("{shown} already exists and was not changed")));
        }
        file => file.doing(|| format!("write {shown}"))?,
    };
    file.write_all(text.as_bytes()).doing(|| format!("write {shown}"))?;
    Ok(Exit::Done)
}

/// The file: fields of RFC 9116, 2.5, and Description of RFC 9511.
fn file(args: &Args, plan: &Plan, now: SystemTime) -> String {
    let mut text = format!("# Packets of the measurement `{}`, sent by pathspider\n", plan.name);
    let mut field = |name: &str, value: &str| text += &format!("{name}: {value}\n");
    args.canonical.iter().for_each(|uri| field("Canonical", uri));
    args.contact.iter().for_each(|uri| field("Contact", uri));
    let later = || about::utc(now + Duration::from_secs(DAYS * 24 * 3600));
    field("Expires", &args.expires.clone().unwrap_or_else(later));
    if let Some(tags) = &args.languages {
        field("Preferred-Languages", tags);
    }
    // A title may span several lines.
    let title = || plan.title.split_whitespace().collect::<Vec<_>>().join(" ");
    field("Description", &args.description.clone().unwrap_or_else(title));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_zones_and_languages_are_tags() {
        for (text, good) in [
            ("2027-01-31T00:00:00Z", true),
            ("2027-01-31T00:00:00+01:00", true),
            ("2027-01-31T00:00:00", false),
            ("2027-01-31", false),
            ("2027-13-31T00:00:00Z", false),
            ("soon", false),
        ] {
            assert_eq!(time(text).is_ok(), good, "{text}");
        }
        assert_eq!(tags("en,de-CH").as_deref(), Ok("en, de-CH"));
        assert!(tags("en,,de").is_err() && tags("English language").is_err());
    }
}
