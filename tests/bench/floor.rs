//! The floor under the speed of a run: what this machine can do if nothing is done but connecting.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Connections in flight, here and in the runs that are compared with it.
pub const CONCURRENCY: usize = 1000;

/// A bare event loop that connects to every address and closes as soon as the socket is writable, in one thread.
pub fn floor(addresses: &[SocketAddr]) -> io::Result<Duration> {
    let start = Instant::now();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut open: Vec<Option<TcpStream>> = (0..CONCURRENCY).map(|_| None).collect();
    let mut free: Vec<usize> = (0..CONCURRENCY).collect();
    let mut waiting = addresses.iter();
    let mut left = addresses.len();
    while left > 0 {
        while let Some(slot) = free.pop() {
            let Some(address) = waiting.next() else { break };
            let mut stream = TcpStream::connect(*address)?;
            poll.registry().register(&mut stream, Token(slot), Interest::WRITABLE)?;
            open[slot] = Some(stream);
        }
        poll.poll(&mut events, None)?;
        for event in &events {
            if let Some(stream) = open[event.token().0].take() {
                drop(stream);
                free.push(event.token().0);
                left -= 1;
            }
        }
    }
    Ok(start.elapsed())
}
