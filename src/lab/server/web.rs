//! HTTP of a lab's server: HTTP/1, and HTTP/2 without TLS in both ways of starting it.

use super::http2::Http2;
use super::{GREETING, Session, Then, content};
use crate::connect::http2::PREFACE;

/// Maximum length of a request's header.
const MOST_HEADER: usize = 16 << 10;
const MOST_FIELDS: usize = 64;

/// One connection.
pub(super) struct Web {
    /// Whether it speaks HTTP/2 on request.
    h2: bool,
    /// Whether a client that sends nothing is greeted.
    greets: bool,
    state: State,
}

enum State {
    /// An incomplete request.
    Asked(Vec<u8>),
    Http2(Box<Http2>),
}

impl Web {
    /// For a client without TLS.
    pub(super) fn new(h2: bool) -> Self {
        Self { h2, greets: true, state: State::Asked(Vec::new()) }
    }

    /// HTTP/1 for a client with TLS, where another version is negotiated before.
    pub(super) fn inside_tls() -> Self {
        Self { h2: false, greets: false, state: State::Asked(Vec::new()) }
    }
}

impl Session for Web {
    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Then {
        let buffer = match &mut self.state {
            State::Asked(buffer) => buffer,
            State::Http2(http2) => return http2.data(bytes, out),
        };
        buffer.extend_from_slice(bytes);
        let start = buffer.len().min(PREFACE.len());
        if self.h2 && buffer[..start] == PREFACE[..start] {
            if start == PREFACE.len() {
                return self.go_on_with_http2(None, out);
            }
            return Then::Wait;
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(buffer) {
            Ok(httparse::Status::Partial) if buffer.len() <= MOST_HEADER => Then::Wait,
            Ok(httparse::Status::Complete(length)) => {
                let head = request.method == Some("HEAD");
                let content = content(request.path.unwrap_or_default());
                if self.h2 && wants_http2(&request) {
                    out.extend_from_slice(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
                    );
                    buffer.drain(..length);
                    return self.go_on_with_http2(Some((head, content)), out);
                }
                page("200 OK", head, &content, out);
                Then::Finish
            }
            _ => {
                page("400 Bad Request", false, GREETING, out);
                Then::Finish
            }
        }
    }

    fn closed(&mut self, out: &mut Vec<u8>) {
        if self.greets && matches!(&self.state, State::Asked(buffer) if buffer.is_empty()) {
            out.extend_from_slice(GREETING);
        }
    }
}

impl Web {
    /// The remaining input is HTTP/2. A request before it is answered first; `before` says whether it was a HEAD, and has
    /// the page.
    fn go_on_with_http2(&mut self, before: Option<(bool, Vec<u8>)>, out: &mut Vec<u8>) -> Then {
        let mut http2 = Box::new(Http2::new(out));
        if let Some((head, content)) = before {
            http2.answer(1, head, &content, out);
        }
        let rest = match std::mem::replace(&mut self.state, State::Asked(Vec::new())) {
            State::Asked(rest) => rest,
            State::Http2(_) => Vec::new(),
        };
        let then = http2.data(&rest, out);
        self.state = State::Http2(http2);
        then
    }
}

/// Whether a request asks for an upgrade to HTTP/2 (RFC 7540, 3.2).
fn wants_http2(request: &httparse::Request<'_, '_>) -> bool {
    let field = |name: &str| request.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name));
    let wants = field("upgrade").is_some_and(|field| field.value.eq_ignore_ascii_case(b"h2c"));
    wants && field("http2-settings").is_some()
}

fn page(status: &str, head: bool, content: &[u8], out: &mut Vec<u8>) {
    let length = content.len();
    out.extend_from_slice(
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    );
    if !head {
        out.extend_from_slice(content);
    }
}
