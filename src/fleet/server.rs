//! The NATS server of a hub: its configuration, and which versions fit.

use std::path::Path;

use crate::error::{Error, Result};

/// The oldest version that fits.
const OLDEST: [u32; 3] = [2, 10, 23];

/// The configuration of a server in operator mode. A new agent needs no change of it.
pub struct Settings<'a> {
    /// The folder of the hub.
    pub folder: &'a Path,
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The operator's token.
    pub operator: &'a str,
    /// Key and token of the server's own account.
    pub system: (&'a str, &'a str),
    /// Those of the fleet's account.
    pub account: (&'a str, &'a str),
}

impl Settings<'_> {
    /// The text of the configuration.
    pub fn text(&self) -> String {
        let Self { folder, port, operator, system, account } = self;
        let folder = |name: &str| format!("{:?}", folder.join(name).display().to_string());
        format!(
            "# Made by `pathspider fleet init`.\n\
             listen: \"127.0.0.1:{port}\"\n\
             server_name: pathspider\n\
             operator: {operator}\n\
             system_account: {}\n\
             resolver: {{ type: full, dir: {} }}\n\
             resolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n\
             # What is acknowledged is on disk.\n\
             jetstream: {{ store_dir: {}, max_file_store: 64GB, sync_interval: always }}\n\
             max_payload: 1MB\n\
             write_deadline: \"10s\"\n\
             ping_interval: \"20s\"\n\
             ping_max: 3\n",
            system.0,
            folder("accounts"),
            system.0,
            system.1,
            account.0,
            account.1,
            folder("store"),
        )
    }
}

/// Checks what `nats-server --version` prints; returns the version.
///
/// # Errors
/// If it is too old, and why that matters.
pub fn check_version(printed: &str) -> Result<String> {
    let word = printed.split_whitespace().find_map(|word| word.strip_prefix('v'));
    let numbers: Vec<u32> = word.map_or_else(Vec::new, |word| {
        let word = word.split('-').next().unwrap_or_default();
        word.split('.').map_while(|number| number.parse().ok()).collect()
    });
    let (Some(word), &[major, minor, patch]) = (word, &numbers[..]) else {
        return Err(Error::Usage(format!("start nats-server: {printed:?} is not a version")));
    };
    if [major, minor, patch] < OLDEST {
        let [a, b, c] = OLDEST;
        return Err(Error::Usage(format!(
            "start nats-server: version {word} is too old, {a}.{b}.{c} is the oldest that fits: after a crash, older ones hand \
             out again what was acknowledged, so targets would be probed twice, and they cannot write every message to disk \
             before it is acknowledged. Install the package of nats.io (that of Debian 12 is 2.9), and name it with --server"
        )));
    }
    Ok(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_with_the_reason() {
        for (printed, fits) in [
            ("nats-server: v2.15.1\n", true),
            ("nats-server: v2.10.23", true),
            ("nats-server: v2.11.0-RC.1", true),
            ("nats-server: v3.0.0", true),
            ("nats-server: v2.10.22", false),
            ("nats-server: v2.9.10", false),
            ("nats-server: vX", false),
            ("", false),
        ] {
            assert_eq!(check_version(printed).is_ok(), fits, "{printed}");
        }
        let why = check_version("nats-server: v2.9.10").unwrap_err().to_string();
        assert!(why.contains("2.9.10 is too old") && why.contains("probed twice"), "{why}");
    }

    #[test]
    fn a_configuration_is_for_loopback_and_fsyncs() {
        let settings = Settings {
            folder: Path::new("/h \"b"),
            port: 4222,
            operator: "O.P",
            system: ("AS", "s.j"),
            account: ("AF", "f.j"),
        };
        let text = settings.text();
        assert!(
            text.contains("listen: \"127.0.0.1:4222\"") && text.contains("sync_interval: always")
        );
        assert!(text.contains("store_dir: \"/h \\\"b/store\""), "{text}");
    }
}
