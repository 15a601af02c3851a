//! The servers that are Linux itself: one listening socket for every address of a namespace,
//! and one thread that accepts, greets and waits for the client to be done.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Doing, Result};
use crate::lab::namespace::Namespace;
use crate::lab::spec::Play;
use crate::lab::worker::{self, Stop};

/// What a server says to every client; the data that can carry ECN marks.
pub(crate) const GREETING: &[u8] = b"pathspider lab: hello\r\n";

/// The port of every host.
pub(crate) const PORT: u16 = 80;

/// A client that has not closed by then is given up, so that clients which vanish do not use up
/// the descriptors.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look for such clients, and how long to wait when descriptors ran out.
const SWEEP: Duration = Duration::from_secs(5);
const BREATHER: Duration = Duration::from_millis(10);

/// Starts the responder of a namespace; it listens when this returns.
pub(crate) fn start(namespace: &Namespace, play: Play, stop: &mut Stop) -> Result<JoinHandle<()>> {
    let name = namespace.name().to_owned();
    let mut listener =
        namespace.run(|| listen().doing(|| format!("listen on port 80 of {name}")))?;
    let (poll, stopped) = stop.worker()?;
    poll.registry()
        .register(&mut listener, Token(worker::FIRST), Interest::READABLE)
        .doing(|| "watch the listening socket of a lab server")?;
    namespace.spawn(move || {
        Server { poll, listener, play, clients: Vec::new(), open: 0, starved: false }
            .run(&stopped)
            .doing(|| "serve")
    })
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
    socket.listen(65_535)?;
    Ok(TcpListener::from_std(socket.into()))
}

struct Client {
    stream: TcpStream,
    since: Instant,
}

struct Server {
    poll: mio::Poll,
    listener: TcpListener,
    play: Play,
    /// Indexed by descriptor, which the kernel keeps small and reuses.
    clients: Vec<Option<Client>>,
    open: usize,
    /// The descriptors ran out while connections were waiting to be accepted.
    starved: bool,
}

impl Server {
    fn run(mut self, stopped: &worker::Stopped) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut now = Instant::now();
        let mut swept = now;
        while !stopped.is_set() {
            let wait = match (self.starved, self.open) {
                (true, _) => Some(BREATHER),
                (false, 0) => None,
                (false, _) => Some(SWEEP),
            };
            worker::poll(&mut self.poll, &mut events, wait)?;
            now = Instant::now();
            let mut accept = std::mem::take(&mut self.starved);
            for event in &events {
                match event.token().0 {
                    worker::WAKE => {}
                    worker::FIRST => accept = true,
                    other => self.read(other - worker::FIRST - 1),
                }
            }
            if accept {
                self.accept(now)?;
            }
            if now.duration_since(swept) > SWEEP {
                swept = now;
                self.sweep(now);
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.raw_os_error() {
                    _ if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS) => {
                        self.starved = true;
                        return Ok(());
                    }
                    Some(nix::libc::ECONNABORTED | nix::libc::EINTR) => continue,
                    _ => return Err(error),
                },
            };
            // A fresh socket has room for these bytes; a client that is gone already is not
            // worth a word.
            if self.play == Play::Close || !matches!(stream.write(GREETING), Ok(n) if n > 0) {
                continue;
            }
            let index = stream.as_raw_fd() as usize;
            self.poll.registry().register(
                &mut stream,
                Token(worker::FIRST + 1 + index),
                Interest::READABLE,
            )?;
            if self.clients.len() <= index {
                self.clients.resize_with(index + 1, || None);
            }
            self.clients[index] = Some(Client { stream, since: now });
            self.open += 1;
        }
    }

    /// Reads what the client sends, and closes when it is done.
    fn read(&mut self, index: usize) {
        let Some(slot) = self.clients.get_mut(index) else { return };
        let Some(client) = slot else { return };
        let mut buffer = [0; 2048];
        loop {
            match client.stream.read(&mut buffer) {
                Ok(n) if n > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => break,
            }
        }
        *slot = None;
        self.open -= 1;
    }

    fn sweep(&mut self, now: Instant) {
        for slot in &mut self.clients {
            if slot.as_ref().is_some_and(|client| now.duration_since(client.since) > PATIENCE) {
                *slot = None;
                self.open -= 1;
            }
        }
    }
}
