//! `pathspider attribution`: the file that says whose the packets of a measurement are (RFC 9511).

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

use crate::cli::options::courtesy;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::files;
use crate::measurement::{self, Overrides, Plan};
use crate::report::page;
use crate::run::about;
use crate::targets::Reader;

/// Days for which a file says that it holds, unless asked otherwise; RFC 9116 advises less than a year.
const DAYS: u64 = 90;

/// Write the probing.txt of a measurement: who asks, why, and where they can be asked to stop (RFC 9511)
///
/// Serve it from the address that measures as https://ADDRESS/.well-known/probing.txt, and from the host that the
/// address's name in the DNS leads to; give `run` its URL by --contact, so that requests by HTTP carry it, too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The measurement: a file, or a name such as `ecn`
    measurement: String,

    /// Where you can be reached, best first: an https, mailto or tel URI; repeatable
    #[arg(long, value_name = "URI", required = true, value_parser = courtesy::contact)]
    contact: Vec<String>,

    /// What the packets are for, in a line [default: the measurement's title]
    #[arg(long, value_name = "TEXT", value_parser = line)]
    description: Option<String>,

    /// Until when this holds: a time such as 2027-01-31T00:00:00Z [default: in 90 days]
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<String>,

    /// Where the file can be had, by https; repeatable
    #[arg(long, value_name = "URI", value_parser = courtesy::contact)]
    canonical: Vec<String>,

    /// Languages that you read, such as en,de
    #[arg(long, value_name = "TAGS", value_parser = tags)]
    languages: Option<String>,

    /// The file, which must not be there yet, or - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Text of one line.
fn line(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must say something".into()),
        text if text.chars().any(char::is_control) => Err("must be a single line".into()),
        text => Ok(text.to_owned()),
    }
}

/// A time as RFC 3339 writes it, with its zone.
fn time(text: &str) -> Result<String, String> {
    let zone = text.get(19..).unwrap_or_default();
    let zoned = zone.ends_with(['Z', 'z']) || zone.contains(['+', '-']);
    match string_to_timestamp_nanos(text) {
        Ok(_) if zoned && text.as_bytes()[10].eq_ignore_ascii_case(&b'T') => Ok(text.to_owned()),
        _ => Err("must be a time as 2027-01-31T00:00:00Z".into()),
    }
}

/// Language tags (RFC 5646), apart by commas.
fn tags(text: &str) -> Result<String, String> {
    let tags: Vec<&str> = text.split(',').map(str::trim).collect();
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match tags.iter().all(|tag| tag.split('-').all(subtag)) {
        true => Ok(tags.join(", ")),
        false => Err("must be language tags apart by commas, as en,de-CH".into()),
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
            return Err(Error::Usage(format!("{shown} exists already and is left as it is")));
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
    // A title may be written over several lines.
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
