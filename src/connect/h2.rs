//! Kind `h2`: HTTP/2 over TLS, or without.

use super::http;
use super::kind::KindDef;
use super::options::{ALPN, GROUP, METHOD, Options, PATH, READ, TFO, VERSION};
use super::tls;

/// The row of the kind.
pub(super) const KIND: KindDef = KindDef {
    name: "h2",
    doc: "request a page by HTTP/2 over TLS, or without",
    options: &[&TFO, &ALPN, &GROUP, &VERSION, &METHOD, &PATH, &READ],
    versions: &["h2", "h2c", "h2c_upgrade"],
    // HTTP/2 without TLS is on the port of HTTP.
    port_for: |options| is_plain(options).then_some(80),
    start: |options, peer| match is_plain(options) {
        true => http::start(options, peer),
        false => tls::start(options, Some("h2"), peer),
    },
    cost: |options, timeout| match is_plain(options) {
        true => http::cost(options, timeout, tls::MOST_TLS),
        false => tls::cost(options, timeout),
    },
    ..tls::KIND
};

fn is_plain(options: &Options) -> bool {
    options.word(&VERSION).is_some_and(|version| version != "h2")
}
