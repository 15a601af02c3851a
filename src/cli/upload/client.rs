//! The observatory's API, version 3: metadata of a file at `/raw/CAMPAIGN/FILE`, its data at the address that the answer to
//! the metadata has as `__data`.
//!
//! The key goes to one host only: redirections are not followed, and an address of another origin is an error.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::error::{Error, Result};
use crate::printable;

/// The longest wait for a connection, and for the answer to a request that was sent.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most octets that are read of an answer.
const LONGEST: u64 = 1 << 20;

/// An address of the observatory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(String);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses the address of raw data.
///
/// # Errors
/// What to write instead.
pub fn base(text: &str) -> Result<Target, String> {
    let uri: Uri = text.parse().map_err(|why| format!("it is not a URL: {why}"))?;
    let host = uri.host().ok_or("must be a URL with a host")?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must have no user and no password: the API key is read from elsewhere".into());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("must end with the path".into());
    }
    let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_here => {}
        _ => {
            return Err(
                "must begin with https://, so that the API key is not sent in the clear".into()
            );
        }
    }
    Ok(Target(text.trim_end_matches('/').to_owned()))
}

impl Target {
    /// An address below this one. The names need no escapes.
    pub(super) fn join(&self, names: &[&str]) -> Self {
        Self(format!("{}/{}", self.0, names.join("/")))
    }

    /// Scheme, host and port.
    fn origin(&self) -> Option<(String, String, u16)> {
        let uri: Uri = self.0.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual);
        let host = uri.host()?.to_ascii_lowercase();
        let has_user = uri.authority()?.as_str().contains('@');
        (!has_user).then_some((scheme, host, port))
    }
}

/// A client with a key.
pub(super) struct Client {
    agent: Agent,
    base: Target,
    key: String,
}

impl Client {
    /// A client that trusts the certificate authorities of this host.
    pub(super) fn new(base: Target, token: String) -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let is_encrypted = base.origin().is_some_and(|(scheme, ..)| scheme == "https");
        if found.certs.is_empty() && is_encrypted {
            return Err(Error::Usage(
                "upload: this host trusts no certificate authority: install ca-certificates".into(),
            ));
        }
        let authorities: Vec<Certificate<'static>> =
            found.certs.iter().map(|of| Certificate::from_der(of).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&authorities))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_recv_body(Some(PATIENCE))
            .user_agent(concat!("pathspider/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, base, key: format!("APIKEY {token}") })
    }

    /// The octets that the observatory has of a file; `None` if it does not know the file.
    pub(super) fn existing(&self, target: &Target) -> Result<Option<u64>> {
        let doing = format!("look for {target}");
        let request = self.agent.get(&target.0).header(header::AUTHORIZATION, &self.key);
        let mut response = request.call().map_err(|why| self.failed(&doing, &why))?;
        if response.status() == 404 {
            return Ok(None);
        }
        let answer = self.answer(&doing, &mut response)?;
        Ok(Some(octets(&answer).unwrap_or_default()))
    }

    /// Puts the metadata of a file; returns where its data go.
    pub(super) fn put_metadata(&self, target: &Target, metadata: &str) -> Result<Target> {
        let doing = format!("put the metadata of {target}");
        let request = self.agent.put(&target.0).header(header::AUTHORIZATION, &self.key);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let mut response = request.send(metadata).map_err(|why| self.failed(&doing, &why))?;
        let answer = self.answer(&doing, &mut response)?;
        let Some(data) = answer.get("__data").and_then(Value::as_str) else {
            return Err(Error::failed(doing, "the answer has no __data, the address for the data"));
        };
        let data = Target(data.to_owned());
        match data.origin() == self.base.origin() && data.origin().is_some() {
            true => Ok(data),
            false => Err(Error::failed(
                doing,
                format!(
                    "the answer wants the data at {}, which is not the host of --url: nothing was sent there",
                    printable::short(&data.0)
                ),
            )),
        }
    }

    /// Puts the data of a file; returns the octets that the observatory says it has.
    pub(super) fn put_data(
        &self,
        target: &Target,
        content: &str,
        file: File,
    ) -> Result<Option<u64>> {
        let doing = format!("put {}", printable::short(&target.0));
        let request = self.agent.put(&target.0).header(header::AUTHORIZATION, &self.key);
        let request = request.header(header::CONTENT_TYPE, content);
        let mut response = request.send(file).map_err(|why| self.failed(&doing, &why))?;
        Ok(octets(&self.answer(&doing, &mut response)?))
    }

    /// The JSON of a good answer.
    fn answer(&self, doing: &str, response: &mut Response<Body>) -> Result<Value> {
        let status = response.status();
        let text = response.body_mut().with_config().limit(LONGEST).read_to_string();
        if !status.is_success() {
            // A server may repeat what it was sent.
            let text = text.unwrap_or_default().replace(&self.key, "APIKEY (not shown)");
            let text = text.replace(self.key.trim_start_matches("APIKEY "), "(not shown)");
            let why = printable::short(text.trim());
            let advice = match status.as_u16() {
                401 | 403 => ": the API key is not right, or may not write to this campaign",
                300..=399 => ": redirections are not followed; write the final address to --url",
                _ => "",
            };
            return Err(Error::failed(
                doing,
                format!("the observatory answers {status}{advice} ({why})"),
            ));
        }
        let text = text.map_err(|why| self.failed(doing, &why))?;
        let is_object = |value: &Value| value.is_object();
        let answer = serde_json::from_str(&text).ok().filter(is_object);
        answer
            .ok_or_else(|| Error::failed(doing, "the answer is not a JSON object: is --url right?"))
    }

    fn failed(&self, doing: &str, why: &ureq::Error) -> Error {
        Error::failed(doing, printable::short(&why.to_string()))
    }
}

/// The octets that the observatory has of a file.
fn octets(answer: &Value) -> Option<u64> {
    answer.get("__data_size")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_encrypted_or_not_at_all() {
        for good in
            ["https://pto.example.org/raw/", "http://127.0.0.1:8000/raw", "http://[::1]/raw"]
        {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in [
            "http://pto.example.org/raw",
            "pto.example.org/raw",
            "ftp://pto.example.org/",
            "https://user:word@pto.example.org/raw",
            "https://pto.example.org/raw?x=1",
            "http://127.0.0.1.example.org/raw",
            "/raw",
            "",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
        let joined = base("https://pto.example.org/raw/").unwrap().join(&["c", "f.ndjson"]);
        assert_eq!(joined.to_string(), "https://pto.example.org/raw/c/f.ndjson");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |text: &str| Target(text.to_owned()).origin();
        assert_eq!(origin("https://A.example/x"), origin("https://a.example:443/y"));
        for other in [
            "http://a.example/",
            "https://a.example:444/",
            "https://b.example/",
            "https://u@a.example/",
            "x",
        ] {
            assert_ne!(origin("https://a.example/"), origin(other), "{other}");
        }
    }
}
