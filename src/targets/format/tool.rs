//! Lists that other tools write: which tools, and how to parse a line of each.
//!
//! Lists with a header are read by their columns ([`roles`](super::roles)). This file has the other forms: words
//! separated by blanks, and nested JSON objects.

use std::borrow::Cow;
use std::collections::{HashSet, hash_map::DefaultHasher};
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::members::Members;
use super::roles::{ADDRESS_WORDS, ZMAP_ADDRESS, ZMAP_PORT, is_word};
use super::{Line, Want};
use crate::targets::address;
use crate::targets::cell::Cell;
use crate::targets::refusal::shown;

/// A tool whose output is read.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// How to make such a list, or where it comes from.
    pub made: &'static str,
    /// What is read from it.
    pub reads: &'static str,
    /// A minimal list.
    pub example: &'static str,
}

/// Every tool whose output is read.
pub static TOOLS: &[Tool] = &[
    Tool {
        name: "zmap",
        made: "`zmap -p 443 -f saddr,sport -o list.csv`, `-O json`",
        reads: "`saddr` is the address, `sport` the port; `daddr` and `dport` are zmap's own and stay columns. Without `sport` \
                the port is that of `--port`; ICMP answers are rejected",
        example: "saddr,sport\n192.0.2.1,443\n",
    },
    Tool {
        name: "zgrab2",
        made: "its input, `ip,domain,tag,port`, with that header or without",
        reads: "address, name and port; `tag` is a column. Networks are rejected",
        example: "192.0.2.1, example.org, web, 443\n",
    },
    Tool {
        name: "zdns",
        made: "`zdns A < names`, `zdns ALOOKUP`, `zdns AAAA`",
        reads: "the name that was queried, and the A and AAAA records of its answers; other answers have no address and are rejected",
        example: "{\"name\":\"example.org\",\"results\":{\"A\":{\"data\":{\"answers\":[{\"answer\":\"192.0.2.1\",\
                  \"name\":\"example.org\",\"type\":\"A\"}]},\"status\":\"NOERROR\"}}}\n",
    },
    Tool {
        name: "massdns, JSON",
        made: "`massdns -o J -t A -r resolvers names`",
        reads: "as zdns",
        example: "{\"name\":\"example.org.\",\"type\":\"A\",\"class\":\"IN\",\"status\":\"NOERROR\",\"data\":{\"answers\":\
                  [{\"ttl\":60,\"type\":\"A\",\"class\":\"IN\",\"name\":\"example.org.\",\"data\":\"192.0.2.1\"}]}}\n",
    },
    Tool {
        name: "massdns, simple",
        made: "`massdns -o S -t A -r resolvers names`",
        reads: "name and address of A and AAAA records; records of an alias's target are rejected, since this form does not say which \
                name was queried",
        example: "example.org. A 192.0.2.1\n",
    },
    Tool {
        name: "masscan, list",
        made: "`masscan -p 443 -oL list 192.0.2.0/24`",
        reads: "address and port of what is `open`; banners are rejected",
        example: "#masscan\nopen tcp 443 192.0.2.1 1700000000\n# end\n",
    },
    Tool {
        name: "masscan, JSON",
        made: "`masscan -p 443 -oJ list.json 192.0.2.0/24`, `-oD`",
        reads: "as its list",
        example: "[\n{   \"ip\": \"192.0.2.1\",   \"timestamp\": \"1700000000\", \"ports\": [ {\"port\": 443, \"proto\": \"tcp\", \
                  \"status\": \"open\", \"reason\": \"syn-ack\", \"ttl\": 54} ] }\n]\n",
    },
    Tool {
        name: "Tranco, Umbrella",
        made: "`top-1m.csv`, out of its zip file",
        reads: "rank and name",
        example: "1,example.org\n",
    },
    Tool {
        name: "Majestic",
        made: "`majestic_million.csv`",
        reads: "`Domain` is the name; everything else becomes columns",
        example: "GlobalRank,TldRank,Domain,TLD,RefSubNets,RefIPs\n1,1,example.org,org,3,4\n",
    },
    Tool {
        name: "CrUX",
        made: "`origin,rank`, from BigQuery or crux-top-lists (`gunzip -c current.csv.gz`)",
        reads: "host and port of the origin, 443 for https and 80 for http",
        example: "origin,rank\nhttps://example.org,1000\n",
    },
];

// --- words ----------------------------------------------------------------------------------

/// Lists of words separated by blanks.
#[derive(Debug)]
pub enum Words {
    /// masscan's list: `open tcp 80 192.0.2.1 1700000000`.
    Masscan,
    /// massdns's simple output: `example.org. A 192.0.2.1`.
    Massdns {
        /// Hashes of the names that aliases point to, in the part of the list that was read.
        aliased: HashSet<u64>,
    },
}

impl Words {
    /// By a list's first line.
    pub fn of(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [state, protocol, port, _, time, ..]
                if ["open", "closed", "banner"].contains(state)
                    && protocol.bytes().all(|b| b.is_ascii_alphanumeric())
                    && port.parse::<u16>().is_ok()
                    && time.parse::<u64>().is_ok() =>
            {
                Some(Words::Masscan)
            }
            [owner, kind, _, ..]
                if owner.ends_with('.')
                    && kind.starts_with(|c: char| c.is_ascii_uppercase())
                    && kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) =>
            {
                Some(Words::Massdns { aliased: HashSet::new() })
            }
            _ => None,
        }
    }

    /// Whether such a list contains what is wanted.
    pub fn check(&self, want: Want) -> Result<(), String> {
        match self {
            Words::Masscan if want == Want::Names => Err("masscan's output has no names".into()),
            _ => Ok(()),
        }
    }

    /// Records what a line says about later ones.
    pub fn note(&mut self, line: &str) {
        if let Words::Massdns { aliased } = self
            && let [_, "CNAME" | "DNAME", to, ..] =
                line.split_whitespace().collect::<Vec<_>>().as_slice()
        {
            aliased.insert(hash_of(to));
        }
    }

    /// Parses a line.
    pub fn read<'a>(&mut self, line: &'a str) -> Result<Line<'a>, String> {
        self.note(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        match self {
            Words::Masscan => masscan_words(&words),
            Words::Massdns { aliased } => massdns_words(&words, aliased),
        }
    }
}

fn hash_of(name: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    name.trim_end_matches('.').to_ascii_lowercase().hash(&mut hash);
    hash.finish()
}

fn masscan_words<'a>(words: &[&'a str]) -> Result<Line<'a>, String> {
    match words {
        ["open", protocol, port, addr, time] => {
            let cell = |key: &str, text: &str| (key.into(), Cell::Csv(text.to_owned()));
            let rest = vec![cell("proto", protocol), cell("timestamp", time)];
            Ok(Line { addr: Ok((*addr).into()), port: Some((*port).into()), rest, ..Line::new() })
        }
        ["banner", ..] => Err("a banner: the open port has its own line".into()),
        ["closed", _, port, ..] => Err(format!("port {} is closed", shown(port))),
        _ => Err("not in masscan's form: open tcp 80 192.0.2.1 1700000000".into()),
    }
}

fn massdns_words<'a>(words: &[&'a str], aliased: &HashSet<u64>) -> Result<Line<'a>, String> {
    match words {
        [owner, "A" | "AAAA", addr] => {
            if aliased.contains(&hash_of(owner)) {
                return Err(format!(
                    "{} is the target of an alias, and this form does not say which name was queried: use massdns -o J",
                    shown(owner)
                ));
            }
            let name = owner.trim_end_matches('.').to_owned();
            Ok(Line { addr: Ok((*addr).into()), name: Some(name), ..Line::new() })
        }
        [_, kind, _, ..] => Err(format!("{} is not a record with an address", shown(kind))),
        _ => Err("not in massdns's form: example.org. A 192.0.2.1".into()),
    }
}

// --- objects --------------------------------------------------------------------------------

/// Parses the members of an object.
type ReadObject = for<'a> fn(Members<'a>) -> Result<Line<'a>, String>;

/// The parser for an object in a tool's own form.
pub fn of_object(members: &Members<'_>) -> Option<ReadObject> {
    let begins =
        |key: &str, with: char| members.get(key).is_some_and(|value| value.get().starts_with(with));
    if members.has(ZMAP_ADDRESS) {
        return Some(zmap);
    }
    if members.has("ip") && begins("ports", '[') {
        return Some(masscan);
    }
    if !members.has("name") {
        return None;
    }
    match begins("results", '{') {
        true => Some(zdns),
        false if members.has("status") && (members.has("class") || begins("data", '{')) => {
            Some(dns)
        }
        false => None,
    }
}

fn zmap(mut members: Members<'_>) -> Result<Line<'_>, String> {
    if let Some((other, _)) = members.0.iter().find(|(key, _)| is_word(key, &ADDRESS_WORDS)) {
        return Err(format!("two addresses: {ZMAP_ADDRESS} and {}", shown(other)));
    }
    let ports = members.has(ZMAP_PORT);
    let text = |cell: Option<Cell>| cell.map(Cell::into_text).filter(|text| !text.is_empty());
    let addr = text(members.take(&[ZMAP_ADDRESS])).unwrap_or_default();
    let port = text(members.take(&[ZMAP_PORT]));
    check_zmap(ports, port.as_deref(), members.text("classification").as_deref())?;
    Ok(Line {
        addr: Ok(addr.into()),
        port: port.map(Cow::from),
        rest: members.rest(),
        ..Line::new()
    })
}

/// Rejects answers that zmap received over ICMP: they may come from a router, and have no port.
pub fn check_zmap(ports: bool, port: Option<&str>, class: Option<&str>) -> Result<(), String> {
    match class {
        // The answer to an ICMP echo request comes from the target itself.
        Some(class) if class.starts_with("icmp") && !class.contains("echo") => {
            Err(format!("an ICMP message ({}), not an answer of the target", shown(class)))
        }
        _ if ports && port.is_none() => Err("no sport: not an answer from a port".into()),
        _ => Ok(()),
    }
}

/// A nested object.
fn inside(members: &Members<'_>, key: &str) -> Value {
    let text = members.get(key).map_or("null", |value| value.get());
    serde_json::from_str(text).unwrap_or_default()
}

/// A nested value as a cell.
fn cell(value: &Value) -> Option<Cell> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => Cell::Bool(*value),
        Value::String(text) => Cell::Text(text.clone()),
        Value::Number(number) => Cell::Number(number.to_string()),
        nested => Cell::Nested(nested.to_string()),
    })
}

fn masscan(mut members: Members<'_>) -> Result<Line<'_>, String> {
    let ports = inside(&members, "ports");
    let ports: Vec<&Map<String, Value>> =
        ports.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
    let state =
        |port: &Map<String, Value>| port.get("status").and_then(Value::as_str).map(str::to_owned);
    let open: Vec<_> = ports.iter().filter(|port| state(port).as_deref() == Some("open")).collect();
    let Some((first, others)) = open.split_first() else {
        return Err(match ports.iter().find_map(|port| state(port)) {
            Some(state) => format!("its port is {}, not open", shown(&state)),
            None if ports.iter().any(|port| port.contains_key("service")) => {
                "a banner: the open port has its own object".into()
            }
            None => "no port".into(),
        });
    };
    let number =
        |port: &Map<String, Value>| port.get("port").map(Value::to_string).unwrap_or_default();
    let addr = members.take(&["ip"]).map(Cell::into_text).unwrap_or_default();
    let also = others.iter().map(|port| (addr.clone(), Some(number(port)))).collect::<Vec<_>>();
    let port = number(first);
    let more: Vec<(std::sync::Arc<str>, Cell)> = match also.is_empty() {
        true => {
            members.0.retain(|(key, _)| key != "ports");
            let more = first.iter().filter(|(key, _)| *key != "port");
            more.filter_map(|(key, value)| Some((key.as_str().into(), cell(value)?))).collect()
        }
        false => Vec::new(),
    };
    let mut rest = members.rest();
    for (key, cell) in more {
        if !rest.iter().any(|(own, _)| *own == key) {
            rest.push((key, cell));
        }
    }
    Ok(Line { addr: Ok(addr.into()), port: Some(port.into()), also, rest, ..Line::new() })
}

fn zdns(members: Members<'_>) -> Result<Line<'_>, String> {
    let results = inside(&members, "results");
    let modules: Vec<&Value> = results.as_object().into_iter().flat_map(Map::values).collect();
    answered(members, "results", &modules)
}

fn dns(members: Members<'_>) -> Result<Line<'_>, String> {
    let whole = serde_json::json!({
        "data": inside(&members, "data"), "status": inside(&members, "status"),
    });
    answered(members, "data", &[&whole])
}

/// A queried name, and the addresses of the answers (each with `data` and `status`).
fn answered<'a>(
    mut members: Members<'a>,
    answers_in: &str,
    answers: &[&Value],
) -> Result<Line<'a>, String> {
    let name = members.take(&["name"]).map(Cell::into_text).unwrap_or_default();
    members.0.retain(|(key, _)| key != answers_in);
    let mut found: Vec<&str> = Vec::new();
    for answer in answers {
        let data = &answer["data"];
        let records = data["answers"].as_array().into_iter().flatten();
        let records = records.filter(|record| {
            record["type"].as_str().is_some_and(|kind| ["A", "AAAA"].contains(&kind))
        });
        let addresses = records
            .filter_map(|record| record["answer"].as_str().or_else(|| record["data"].as_str()));
        let plain = ["ipv4_addresses", "ipv6_addresses"];
        let plain = plain.iter().filter_map(|key| data[*key].as_array()).flatten();
        for address in addresses.chain(plain.filter_map(Value::as_str)) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    let name = name.trim_end_matches('.').to_owned();
    let mut line = Line { name: Some(name), answered: true, rest: members.rest(), ..Line::new() };
    match found.split_first() {
        Some((first, others)) => {
            line.addr = Ok((*first).to_owned().into());
            line.also = others.iter().map(|addr| ((*addr).to_owned(), None)).collect();
        }
        None => {
            let mut states: Vec<&str> =
                answers.iter().filter_map(|answer| answer["status"].as_str()).collect();
            states.dedup();
            let states = if states.is_empty() { "no status".into() } else { states.join(", ") };
            line.addr = Err(format!("no address in the answer ({states})"));
        }
    }
    Ok(line)
}

/// The addresses and ports after the first.
pub fn further(also: &[(String, Option<String>)], port: u16) -> Result<Vec<(IpAddr, u16)>, String> {
    also.iter()
        .map(|(addr, own)| {
            let own = own.as_deref().map(address::port).transpose()?;
            Ok((address::address(addr)?, own.unwrap_or(port)))
        })
        .collect()
}
