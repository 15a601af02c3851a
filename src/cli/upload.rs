//! `pathspider upload`: puts a file of records or observations, with its metadata, into a path transparency observatory.

mod about;
mod client;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::client::{Client, Target};
use crate::error::{Doing as _, Error, Exit, Result};
use crate::files;
use crate::report::page;

/// The variable with the API key.
const TOKEN: &str = "PATHSPIDER_PTO_TOKEN";
/// The most octets of a file with a token.
const LONGEST: u64 = 4096;

/// Upload records or observations to a path transparency observatory (PTO)
///
/// First puts the metadata, then the file, as the API of PTO version 3 has it. FILE is what `run --format pathspider`
/// wrote, or the observations of `report --package`; compressed by bzip2 if its name ends in .bz2. A file that the
/// observatory has already is not sent again. The API key is read from the environment variable PATHSPIDER_PTO_TOKEN or
/// from --token-file, is sent to the host of --url only, and is never printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file: .ndjson or .ndjson.bz2
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The raw data of the observatory, such as https://pto.example.org/raw; http only for this host itself
    #[arg(long, value_name = "URL", value_parser = client::base)]
    url: Target,

    /// The campaign of the observatory that the file belongs to
    #[arg(long, value_name = "NAME", value_parser = name)]
    campaign: String,

    /// The metadata to send: a JSON object [default: made from FILE.meta.json]
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Add a metadata entry, or replace one; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = entry)]
    add: Vec<(String, String)>,

    /// The observatory's type of the file, such as `obs` [default: that of the campaign]
    #[arg(long, value_name = "TYPE")]
    file_type: Option<String>,

    /// Read the API key from this file, which others must not be able to read
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Print the requests, and send nothing. Needs no API key
    #[arg(long)]
    dry_run: bool,
}

/// One segment of a path that needs no escapes.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => {
            Err("must have letters, digits, - _ and . only, and must not begin with a dot".into())
        }
    }
}

/// Parses `KEY=VALUE`, or `KEY:VALUE` as upstream has it.
fn entry(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(['=', ':']).ok_or("must be KEY=VALUE")?;
    match key {
        "" => Err("must have a key".into()),
        key if key.starts_with("__") => Err("the observatory itself sets keys with __".into()),
        key => Ok((key.to_owned(), value.to_owned())),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let file = args.file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let file = name(file).map_err(|why| {
        Error::Usage(format!("upload {}: the name of the file {why}", args.file.display()))
    })?;
    let content = content_type(&file)?;
    let source = files::regular(&args.file).map_err(|why| files::unreadable(&args.file, why))?;
    let length = source.metadata().doing(|| format!("read {}", args.file.display()))?.len();
    let metadata = Value::Object(args.metadata()?);
    let target = args.url.join(&[&args.campaign, &file]);
    if args.dry_run {
        page::print(&format!(
            "PUT {target}\nAuthorization: APIKEY (not shown)\nContent-Type: application/json\n\n{metadata:#}\n\n\
             PUT {target}/data (or the address that the answer has as __data)\n\
             Authorization: APIKEY (not shown)\nContent-Type: {content}\nContent-Length: {length}\n\n({})\n",
            args.file.display()
        ))?;
        return Ok(Exit::Done);
    }
    let client = Client::new(args.url.clone(), args.token()?)?;
    match client.existing(&target)? {
        Some(0) => {
            log::info!("{target}: its metadata are there, and no data: an earlier upload failed")
        }
        Some(octets) => {
            return Err(Error::Usage(format!(
                "upload {}: {target} exists already, with {octets} octets; its data cannot be changed",
                args.file.display()
            )));
        }
        None => {}
    }
    let data = client.put_metadata(&target, &metadata.to_string())?;
    let stored = client.put_data(&data, content, source)?;
    if stored.is_some_and(|stored| stored != length) {
        return Err(Error::Failed(format!(
            "upload {}: {length} octets were sent, and the observatory says that it has {}",
            args.file.display(),
            stored.unwrap_or_default()
        )));
    }
    page::print_json(
        &json!({ "metadata": target.to_string(), "data": data.to_string(), "octets": length }),
    )?;
    Ok(Exit::Done)
}

/// The media type of a file by its name.
fn content_type(file: &str) -> Result<&'static str> {
    match file {
        name if name.ends_with(".bz2") => Ok("application/bzip2"),
        name if name.ends_with(".ndjson") => Ok("application/vnd.mami.ndjson"),
        name => Err(Error::Usage(format!(
            "upload {name}: an observatory takes .ndjson, or .ndjson.bz2: write records with `run --format pathspider`"
        ))),
    }
}

impl Args {
    /// The metadata of the file.
    fn metadata(&self) -> Result<Map<String, Value>> {
        let mut metadata = match &self.metadata {
            Some(path) => about::given(path)?,
            None => about::made(&self.file)?,
        };
        if let Some(of) = &self.file_type {
            metadata.insert("_file_type".into(), of.as_str().into());
        }
        for (key, value) in &self.add {
            metadata.insert(key.clone(), value.as_str().into());
        }
        Ok(metadata)
    }

    /// The API key.
    fn token(&self) -> Result<String> {
        let (token, of) = match &self.token_file {
            Some(path) => (read_token(path)?, path.display().to_string()),
            None => (std::env::var(TOKEN).unwrap_or_default(), TOKEN.to_owned()),
        };
        let token = token.trim();
        match token {
            "" => Err(Error::Usage(format!(
                "upload: no API key: put it into the variable {TOKEN}, or into a file for --token-file"
            ))),
            token if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_owned()),
            // Its text must not be printed.
            _ => Err(Error::Usage(format!(
                "upload: {of} is not an API key: it has other characters"
            ))),
        }
    }
}

/// Reads a file that only its owner may read.
fn read_token(path: &Path) -> Result<String> {
    let file = files::regular(path).map_err(|why| files::unreadable(path, why))?;
    let doing = || format!("read {}", path.display());
    let about = file.metadata().doing(doing)?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Error::Usage(format!(
            "{}: others may read or write it: chmod 600 it",
            doing()
        )));
    }
    let mut token = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, LONGEST), &mut token)
        .doing(doing)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment_of_a_path() {
        for good in ["a", "2026-11.ndjson.bz2", "A_b"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "ä", "a%2f", "a?b", "a#b"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entry_has_a_key_that_can_be_set() {
        assert_eq!(entry("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(entry("a:b"), Ok(("a".into(), "b".into())));
        assert!(entry("__data=x").is_err() && entry("=x").is_err() && entry("x").is_err());
    }
}
