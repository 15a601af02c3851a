//! Which columns of a list are address, port and name, by their words.

/// Words for each common column. If a line has several of them, the first is used and the others are columns of the
/// list's own.
pub const ADDRESS_WORDS: [&str; 4] = ["dip", "ip", "addr", "address"];
/// Words for the port.
pub const PORT_WORDS: [&str; 2] = ["dp", "port"];
/// Words for the name.
pub const NAME_WORDS: [&str; 4] = ["domain", "name", "host", "hostname"];
/// Words for a URL, which has a host and a port.
pub const URL_WORDS: [&str; 2] = ["origin", "url"];
/// The columns of zmap for the address and port of the host that answered.
pub const ZMAP_ADDRESS: &str = "saddr";
/// See [`ZMAP_ADDRESS`].
pub const ZMAP_PORT: &str = "sport";
/// zmap's own address and port, which are not the target's.
pub const ZMAP_OWN: [&str; 2] = ["daddr", "dport"];

/// Whether a column's name is one of the words.
pub fn is_word(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Rejects keys of which one seems to be a port under an unknown word, if none is a known one: the default port would
/// be wrong.
pub fn unclear_port<'a>(mut keys: impl Iterator<Item = &'a str>) -> Result<(), String> {
    match keys.find(|key| seems_a_port(key)) {
        None => Ok(()),
        Some(key) => Err(format!(
            "the column {} is not understood: is it the target's port? name it port if it is, and leave it out if not",
            crate::targets::refusal::shown(key)
        )),
    }
}

/// Whether one word of a name means port: `dst_port`, `tcpPort`, `dport`, but not `report`.
fn seems_a_port(key: &str) -> bool {
    let mut words = Vec::new();
    let mut before_is_lower = false;
    for letter in key.chars() {
        let begins = !letter.is_alphanumeric() || before_is_lower && letter.is_uppercase();
        if begins || words.is_empty() {
            words.push(String::new());
        }
        before_is_lower = letter.is_lowercase();
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.iter().any(|word| {
        let prefix = word.strip_suffix("ports").or_else(|| word.strip_suffix("port"));
        let known =
            ["", "s", "d", "src", "dst", "tcp", "udp", "source", "dest", "target", "server"];
        prefix.is_some_and(|prefix| known.contains(&prefix)) || *word == "portnumber"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_seem_a_port() {
        for key in
            ["dport", "dst_port", "tcpPort", "Port Number", "open-ports", "DstPort", "port_2"]
        {
            assert!(unclear_port([key].into_iter()).is_err(), "{key}");
        }
        for key in ["report", "airport", "support", "portfolio", "transport", "", "rank", "PORTAL"]
        {
            assert!(unclear_port([key].into_iter()).is_ok(), "{key}");
        }
    }
}
