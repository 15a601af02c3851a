//! `--metrics`: an HTTP server of one page on a thread of its own. Clients are bounded: in number, in time, and in
//! rate.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::metrics::CONTENT_TYPE;
use super::page;
use crate::barrier::panic_point;
use crate::error::{Doing as _, Error, Result};

/// Maximum number of clients at a time; others wait in the kernel's queue.
const CLIENTS: usize = 8;
/// Time limit of a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum octets of a request.
const REQUEST: usize = 8 << 10;
/// Maximum number of clients per second.
const IN_A_SECOND: u32 = 50;

const LISTENER: Token = Token(CLIENTS);
const WAKE: Token = Token(CLIENTS + 1);

/// A listening server; it serves when run.
pub struct Server {
    poll: Poll,
    listener: TcpListener,
    waker: Arc<Waker>,
    clients: [Option<Client>; CLIENTS],
    second: Instant,
    taken: u32,
}

/// Stops the server when dropped.
pub struct Running(Arc<Waker>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.0.wake() {
            log::warn!("stop the metrics server: {error}");
        }
    }
}

struct Client {
    stream: TcpStream,
    since: Instant,
    request: Vec<u8>,
    /// The rest of the answer, once the request is complete.
    answer: Option<Vec<u8>>,
}

impl Server {
    /// Listens on an address and prints it on standard error.
    ///
    /// # Errors
    /// [`Error::Usage`] if the address cannot be bound, or if it is not a loopback address and `exposed` is false.
    pub fn bind(at: SocketAddr, exposed: bool) -> Result<Self> {
        if !at.ip().to_canonical().is_loopback() && !exposed {
            return Err(Error::Usage(format!(
                "--metrics {at}: other hosts can reach this address; use one of 127.0.0.0/8 or [::1], or add \
                 --metrics-exposed"
            )));
        }
        let failed = |why: io::Error| Error::Usage(format!("listen on --metrics {at}: {why}"));
        let mut listener = TcpListener::bind(at).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let poll = Poll::new().doing(|| "create the event loop of --metrics")?;
        let registry = poll.registry();
        registry
            .register(&mut listener, LISTENER, Interest::READABLE)
            .doing(|| "watch the socket of --metrics")?;
        let waker = Waker::new(registry, WAKE).doing(|| "watch for the end of --metrics")?;
        page::tell(&format!("metrics: http://{address}/metrics"));
        let clients = Default::default();
        let second = Instant::now();
        Ok(Self { poll, listener, waker: Arc::new(waker), clients, second, taken: 0 })
    }

    /// A handle that stops the server when dropped.
    pub fn running(&self) -> Running {
        Running(Arc::clone(&self.waker))
    }

    /// Serves until its [`Running`] is dropped; `page` makes the page.
    pub fn run(mut self, page: &dyn Fn() -> String) {
        if let Err(error) = self.serve(page) {
            log::warn!("--metrics ended early: {error}");
        }
    }

    fn serve(&mut self, page: &dyn Fn() -> String) -> io::Result<()> {
        let mut events = Events::with_capacity(2 * CLIENTS);
        loop {
            // Timers fire slightly after the deadline of a client or the end of a pause.
            let wait = self.is_busy().then_some(Duration::from_millis(200));
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKE => return Ok(()),
                    LISTENER => {}
                    Token(place) => self.client(place, page),
                }
            }
            let now = Instant::now();
            for client in &mut self.clients {
                client.take_if(|client| now.duration_since(client.since) > PATIENCE);
            }
            self.accept(now, page);
        }
    }

    fn is_busy(&self) -> bool {
        self.taken > 0 || self.clients.iter().any(Option::is_some)
    }

    /// Accepts waiting clients, within the limits.
    fn accept(&mut self, now: Instant, page: &dyn Fn() -> String) {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.taken) = (now, 0);
        }
        while self.taken < IN_A_SECOND
            && let Some(place) = self.clients.iter().position(Option::is_none)
        {
            // The next turn sees whether the error persists.
            let Ok((mut stream, _)) = self.listener.accept() else { return };
            self.taken += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(place), interest).is_ok() {
                let (request, answer) = (Vec::new(), None);
                self.clients[place] = Some(Client { stream, since: now, request, answer });
                self.client(place, page);
            }
        }
    }

    fn client(&mut self, place: usize, page: &dyn Fn() -> String) {
        panic_point("metrics");
        if let Some(Some(client)) = self.clients.get_mut(place)
            && client.go_on(page).unwrap_or(true)
        {
            self.clients[place] = None;
        }
    }
}

impl Client {
    /// Reads and answers as far as possible; returns whether the client is done.
    fn go_on(&mut self, page: &dyn Fn() -> String) -> io::Result<bool> {
        let mut buffer = [0; 2048];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                // Read whatever follows the request; unread data would cause a reset on close.
                Ok(_) if self.answer.is_some() => {}
                Ok(length) => {
                    self.request.extend_from_slice(&buffer[..length]);
                    self.answer = answer(&self.request, page);
                    self.send()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.send()?;
        Ok(false)
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        while !answer.is_empty() {
            match self.stream.write(answer) {
                Ok(length) => drop(answer.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if answer.is_empty() {
                self.stream.shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }
}

/// The answer to a request (RFC 9112); `None` while it is incomplete.
fn answer(request: &[u8], page: &dyn Fn() -> String) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let (status, text, head) = match parsed.parse(request) {
        Ok(httparse::Status::Partial) if request.len() <= REQUEST => return None,
        Ok(httparse::Status::Partial) => ("431 Request Header Fields Too Large", None, false),
        Err(_) => ("400 Bad Request", None, false),
        Ok(httparse::Status::Complete(_)) => {
            let head = parsed.method == Some("HEAD");
            let path = parsed.path.and_then(|path| path.split('?').next());
            match (parsed.method, path) {
                (Some("GET" | "HEAD"), Some("/metrics")) => ("200 OK", Some(page()), head),
                (Some("GET" | "HEAD"), _) => ("404 Not Found", None, head),
                _ => ("405 Method Not Allowed", None, false),
            }
        }
    };
    let kind = if text.is_some() { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let text = text.unwrap_or_else(|| format!("{status}; metrics are at /metrics\n"));
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let length = text.len();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n"
    );
    if !head {
        answer += &text;
    }
    Some(answer.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Plain;

    use super::*;

    fn page() -> String {
        "the page\n".into()
    }

    fn said(request: &str) -> String {
        answer(request.as_bytes(), &page).map_or("nothing yet".into(), |answer| {
            String::from_utf8(answer).unwrap().lines().next().unwrap().to_owned()
        })
    }

    #[test]
    fn only_the_page_is_served() {
        assert_eq!(said("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(said("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(said("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(said("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(said("\u{1}\u{2}\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(said("GET /metrics HTTP/1.1\r\nHost:"), "nothing yet");
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(REQUEST));
        assert_eq!(said(&long), "HTTP/1.1 431 Request Header Fields Too Large");
        let head = answer(b"HEAD /metrics HTTP/1.1\r\n\r\n", &page).unwrap();
        assert!(head.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn exposed_addresses_need_consent() {
        let refused =
            |at: &str| Server::bind(at.parse().unwrap(), false).err().unwrap().to_string();
        for at in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            assert!(refused(at).contains("--metrics-exposed"), "{at}");
        }
        assert!(Server::bind("127.0.0.1:0".parse().unwrap(), false).is_ok());
        assert!(Server::bind("0.0.0.0:0".parse().unwrap(), true).is_ok());
    }

    #[test]
    fn silent_clients_time_out_and_others_are_served() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let at = server.listener.local_addr().unwrap();
        let running = server.running();
        std::thread::scope(|scope| {
            scope.spawn(move || server.run(&page));
            // More clients than are accepted at a time.
            let idle: Vec<Plain> = (0..2 * CLIENTS).map(|_| Plain::connect(at).unwrap()).collect();
            let mut client = Plain::connect(at).unwrap();
            client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert!(
                text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("the page\n"),
                "{text}"
            );
            drop((idle, running));
        });
    }
}
