//! An observatory of PTO's API, version 3, as far as an upload needs it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Map, Value, json};

/// How it behaves.
pub enum Way {
    Right,
    /// The first data that come get an error.
    FailsOnce,
    /// It wants the data at another host.
    DataAt(String),
    /// It sends every request elsewhere.
    RedirectTo(String),
    /// It rejects the key and repeats what it got.
    Echoes,
    /// It is another kind of server.
    NoJson,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A server; its thread ends with the test program.
pub struct Observatory {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// The files that it has.
#[derive(Default)]
struct Files {
    metadata: HashMap<String, Map<String, Value>>,
    data: HashMap<String, usize>,
    has_failed: bool,
}

impl Observatory {
    pub fn start(way: Way) -> Self {
        Self::serve(way, "http", |stream| Box::new(stream))
    }

    /// One with TLS, and the certificate of its authority.
    pub fn start_encrypted() -> (Self, String) {
        let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(of_authority, KeyPair::generate().unwrap());
        let authority = authority.unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let pem = pem(authority.der());
        let server = Self::serve(Way::Right, "https", move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        });
        (server, pem)
    }

    fn serve(
        way: Way,
        scheme: &str,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let host = if scheme == "https" { "localhost" } else { "127.0.0.1" };
        let base = format!("{scheme}://{host}:{}", listener.local_addr().unwrap().port());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (url, seen) = (format!("{base}/raw"), requests.clone());
        std::thread::spawn(move || {
            let mut files = Files::default();
            for stream in listener.incoming() {
                let mut stream = BufReader::new(wrap(stream.unwrap()));
                // A client that does not trust the certificate goes away.
                while let Some(request) = read(&mut stream) {
                    let (status, body) = answer(&way, &base, &mut files, &request);
                    seen.lock().unwrap().push(request);
                    let more = match &way {
                        Way::RedirectTo(url) => format!("Location: {url}\r\n"),
                        _ => String::new(),
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let stream = stream.get_mut();
                    stream.write_all((head + &body).as_bytes()).unwrap();
                    stream.flush().unwrap();
                }
            }
        });
        Self { url, requests }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// A certificate as text (RFC 7468).
fn pem(der: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for few in line.chunks(3) {
            let bits = few.iter().chain(&[0, 0]).take(3).fold(0, |all, b| all << 8 | u32::from(*b));
            let letters = (0..4).map(|place| LETTERS[(bits >> (18 - 6 * place) & 63) as usize]);
            text.extend(letters.take(few.len() + 1).map(char::from));
            text.extend(std::iter::repeat_n('=', 3 - few.len()));
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

fn answer(way: &Way, base: &str, files: &mut Files, request: &Request) -> (&'static str, String) {
    let path = request.path.clone();
    match (way, request.method.as_str()) {
        (Way::RedirectTo(_), _) => return ("302 Found", String::new()),
        (Way::Echoes, _) => return ("403 Forbidden", format!("{:?}", request.headers)),
        (Way::NoJson, _) => return ("200 OK", "<html>".to_owned()),
        (_, "PUT") => {}
        _ if files.metadata.contains_key(&path) => {}
        _ => return ("404 Not Found", String::new()),
    }
    let file = path.strip_suffix("/data").unwrap_or(&path).to_owned();
    if request.method == "PUT" && file == path {
        files.metadata.insert(file.clone(), serde_json::from_slice(&request.body).unwrap());
    } else if request.method == "PUT" {
        if matches!(way, Way::FailsOnce) && !std::mem::replace(&mut files.has_failed, true) {
            return ("500 Internal Server Error", String::new());
        }
        files.data.insert(file.clone(), request.body.len());
    }
    let mut metadata = files.metadata.get(&file).cloned().unwrap_or_default();
    let data = match way {
        Way::DataAt(url) => format!("{url}{file}/data"),
        _ => format!("{base}{file}/data"),
    };
    metadata.insert("__data".into(), data.into());
    metadata.insert("__data_size".into(), json!(files.data.get(&file).copied().unwrap_or(0)));
    ("200 OK", Value::Object(metadata).to_string())
}
