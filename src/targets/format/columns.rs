//! Finds the columns of a CSV list by its first line: a header, or the shape of the first record.
//!
//! It never guesses. It rejects a list whose header has no known column, or whose first record is ambiguous; the
//! message says which header to add.

use super::Want;
use super::origin::is_url;
use super::roles::{
    ADDRESS_WORDS, NAME_WORDS, PORT_WORDS, URL_WORDS, ZMAP_ADDRESS, ZMAP_OWN, ZMAP_PORT, is_word,
    unclear_port,
};
use crate::targets::address;
use crate::targets::refusal::shown;

/// How the columns are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// By a header.
    Header,
    /// Lines begin with an address and a port: upstream's `ip,port,name,rank`.
    Upstream,
    /// Lines begin with an address alone; a second field is known only if it is a port.
    Addresses,
    /// zgrab2's `ip,domain,tag,port`.
    Zgrab,
    /// A name or URL and a rank, in either order.
    Ranked,
    /// One name or URL per line.
    Single,
}

/// The columns of a list.
#[derive(Debug)]
pub struct Columns {
    /// The names as the list has them.
    pub names: Vec<String>,
    /// How the columns are known.
    pub shape: Shape,
    /// The index of the address.
    pub addr: Option<usize>,
    /// The index of the port.
    pub port: Option<usize>,
    /// The index of the name.
    pub name: Option<usize>,
    /// The index of a URL, which is also a column of the list's own.
    pub url: Option<usize>,
    /// Whether address and port are those that zmap recorded.
    pub zmap: bool,
    /// The index of zmap's classification of the answer.
    pub class: Option<usize>,
}

/// The hint for a first line that is not understood.
const REMEDY: &str = "write a header above it, of ip, port, domain and further columns";

impl Columns {
    /// From the first line of a list.
    ///
    /// # Errors
    /// The reason that the list cannot be read.
    pub fn of_first_line(fields: &[String], want: Want) -> Result<Self, String> {
        let columns = match is_header(fields) {
            true => Self::of_header(fields)?,
            false => Self::of_record(fields)?,
        };
        let named = columns.name.is_some() || columns.url.is_some();
        match want {
            Want::Addresses if columns.addr.is_none() && columns.url.is_none() => {
                Err("the list has no column of addresses (dip, ip or addr): `pathspider targets resolve` resolves names".into())
            }
            Want::Names if !named => Err("the list has no column of names (domain or name)".into()),
            _ => Ok(columns),
        }
    }

    fn new(names: &[&str], shape: Shape) -> Self {
        let place = |words: &[&str]| position(words, names);
        Self {
            shape,
            addr: place(&ADDRESS_WORDS),
            port: place(&PORT_WORDS),
            name: place(&NAME_WORDS),
            url: place(&URL_WORDS),
            zmap: false,
            class: None,
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn of_header(fields: &[String]) -> Result<Self, String> {
        let names: Vec<&str> = fields.iter().map(String::as_str).collect();
        let mut columns = Self::new(&names, Shape::Header);
        if let Some(zmap) = position(&[ZMAP_ADDRESS], &names) {
            if let Some(other) = columns.addr {
                return Err(format!(
                    "the header has two columns of addresses, {ZMAP_ADDRESS} and {}: leave one out",
                    shown(names[other])
                ));
            }
            columns.zmap = true;
            columns.addr = Some(zmap);
            columns.port = position(&[ZMAP_PORT], &names).or(columns.port);
            columns.class = position(&["classification"], &names);
        } else if columns.addr.is_none()
            && let Some(own) = position(&ZMAP_OWN, &names)
        {
            return Err(format!(
                "the header has {} and no {ZMAP_ADDRESS}: in zmap's output that is the prober's own; add {ZMAP_ADDRESS}, \
                 or name the column of targets ip",
                shown(names[own])
            ));
        }
        if columns.port.is_none() && columns.url.is_none() {
            let own = |name: &&str| columns.zmap && is_word(name, &ZMAP_OWN);
            unclear_port(names.iter().copied().filter(|name| !own(name)))?;
        }
        Ok(columns)
    }

    fn of_record(fields: &[String]) -> Result<Self, String> {
        let filled = |field: &&String| !field.is_empty();
        let first = fields.first().map_or("", String::as_str);
        let second = fields.get(1).filter(filled).map(String::as_str);
        let beyond = fields.iter().skip(2).any(|field| !field.is_empty());
        if is_url(first) {
            return match (second, beyond) {
                (None, false) => Ok(Self::new(&["origin"], Shape::Single)),
                _ => Err(two_ways(first, "origin,rank")),
            };
        }
        if seems_an_address(first) {
            return match second {
                Some(port) if is_number(port) => {
                    Ok(Self::new(&["ip", "port", "name", "rank"], Shape::Upstream))
                }
                Some(name) if seems_a_name(name) => {
                    Ok(Self::new(&["ip", "domain", "tag", "port"], Shape::Zgrab))
                }
                None if !beyond => Ok(Self::new(&["ip", "port", "name", "rank"], Shape::Addresses)),
                _ => Err(two_ways(first, "ip,port,domain,rank or ip,domain,tag,port")),
            };
        }
        match second {
            Some(name) if first.is_empty() && seems_a_name(name) => {
                Ok(Self::new(&["ip", "domain", "tag", "port"], Shape::Zgrab))
            }
            Some(url) if is_number(first) && is_url(url) && !beyond => {
                Ok(Self::new(&["rank", "origin"], Shape::Ranked))
            }
            Some(name) if is_number(first) && is_host(name) && !beyond => {
                Ok(Self::new(&["rank", "name"], Shape::Ranked))
            }
            Some(_) if is_number(first) || seems_a_name(first) => {
                Err(two_ways(first, "name,port or name,rank"))
            }
            None if !beyond && seems_a_name(first) => Ok(Self::new(&["name"], Shape::Single)),
            _ => Err(not_understood(fields)),
        }
    }

    /// Whether a column is one of the common ones. A URL also stays a column of the list's own.
    pub fn is_common(&self, index: usize) -> bool {
        [self.addr, self.port, self.name].contains(&Some(index))
    }

    /// Rejects a record that does not have the shape of the first one, if no header says what it means.
    pub fn check_record(&self, record: &csv::StringRecord) -> Result<(), String> {
        let field = |index: usize| record.get(index).unwrap_or_default();
        let beyond = |from: usize| record.iter().skip(from).any(|field| !field.is_empty());
        let wider = "more fields than the first line, and there is no header that names them";
        match self.shape {
            Shape::Single if beyond(1) => Err(wider.into()),
            Shape::Addresses if field(1).is_empty() && beyond(2) => {
                Err("no port, and there is no header that names the other fields".into())
            }
            Shape::Zgrab if beyond(4) => Err("more fields than ip,domain,tag,port".into()),
            Shape::Zgrab if is_number(field(1)) => Err(format!(
                "{} is not a name: the columns are ip,domain,tag,port",
                shown(field(1))
            )),
            _ => Ok(()),
        }
    }
}

/// Whether a first line is a header: one of its fields is a known word, and no field looks like data. A target may be
/// called `host`, but then the line also has an address or a rank.
fn is_header(fields: &[String]) -> bool {
    let known = |field: &String| {
        [&ADDRESS_WORDS[..], &NAME_WORDS, &URL_WORDS, &ZMAP_OWN, &[ZMAP_ADDRESS]]
            .iter()
            .any(|words| is_word(field, words))
    };
    let of_record =
        |field: &String| address::address(field).is_ok() || is_number(field) || is_url(field);
    fields.iter().any(known) && !fields.iter().any(of_record)
}

/// The index of the first of `words` among `names`.
fn position(words: &[&str], names: &[&str]) -> Option<usize> {
    words.iter().find_map(|word| names.iter().position(|name| word.eq_ignore_ascii_case(name)))
}

fn is_number(field: &str) -> bool {
    field.starts_with(|c: char| c.is_ascii_digit()) && field.parse::<f64>().is_ok()
}

/// Whether the field is an address or was meant as one: `192.0.2`, `192.0.2.1:80`, `192.0.2.0/24`, `fe80::1%eth0`.
fn seems_an_address(field: &str) -> bool {
    let start = field.split(['%', '/']).next().unwrap_or_default();
    let bare = start.trim_start_matches('[');
    let v4 =
        |text: &str| text.contains('.') && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let v6 = |text: &str| {
        text.contains(':') && text.chars().all(|c| c.is_ascii_hexdigit() || ".:[]".contains(c))
    };
    v4(bare) || v6(bare)
}

/// Whether the field consists of letters of a host name; it may still not be a valid one.
fn is_host(field: &str) -> bool {
    field.contains(char::is_alphabetic)
        && !field.contains(|c: char| c.is_whitespace() || "/:;,\"'=@()<>".contains(c))
}

/// Whether it looks like a name with more than one label.
fn seems_a_name(field: &str) -> bool {
    is_host(field) && field.contains('.')
}

fn two_ways(first: &str, headers: &str) -> String {
    format!("what follows {} is ambiguous: write a header above it, {headers}", shown(first))
}

/// The message for a first line that is neither a record nor a known header.
fn not_understood(fields: &[String]) -> String {
    let line = fields.join(",");
    let seems = |start: &str| line.trim_start().starts_with(start);
    if seems(";;") {
        return "massdns's full output is not read: run massdns with -o J".into();
    }
    if seems("<?xml") || seems("<!DOCTYPE") || seems("<nmaprun") || seems("Host: ") {
        return "XML and greppable output are not read: run masscan with -oL or -oJ".into();
    }
    let other = line.contains(['\t', ';']);
    let other = if other { "; fields are separated by commas" } else { "" };
    format!(
        "the header {} is not understood: it has no column of addresses (ip, dip, addr, saddr), names (domain, name, host) or \
         URLs (origin, url); {REMEDY}{other}",
        shown(&line)
    )
}
